//! The command that writes a record.

use redis::{Cmd, cmd};

use super::{Mode, Settings};
use crate::record::{Envelope, Record};

/// Before the name of a CloudEvent's attribute in binary mode, as in its binding for Kafka. There is none for Redis.
const ATTRIBUTE: &str = "ce_";

/// The command for this record.
pub(super) fn command(settings: &Settings, record: &Record) -> Cmd {
    let key = settings.key.render(record);
    let mut command = cmd(settings.mode.command());
    command.arg(&*key);
    if settings.mode != Mode::Stream {
        command.arg(&record.body[..]);
        return command;
    }
    if let Some(length) = settings.max_length {
        // Redis trims whole nodes of its tree: an exact length would cost much more.
        command.arg("MAXLEN").arg("~").arg(length);
    }
    command.arg("*");
    let Record { kind, id, key, namespace, job, .. } = record;
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            command.arg(name).arg(value);
        }
    };
    field("id", id);
    field("kind", kind.name());
    field("key", key);
    field("namespace", namespace);
    field("job", job);
    field("cluster", settings.cluster.as_deref().unwrap_or_default());
    match &record.envelope {
        Envelope::None => {}
        Envelope::CloudEvent => field("content_type", "application/cloudevents+json"),
        Envelope::Attributes(attributes) => {
            field("content_type", "application/json");
            for (name, value) in attributes.iter() {
                field(&format!("{ATTRIBUTE}{name}"), value);
            }
        }
    }
    command.arg("body").arg(&record.body[..]);
    command
}
