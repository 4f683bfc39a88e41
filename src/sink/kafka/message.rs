//! What a record is as a message of Kafka: topic, key and headers.

use std::borrow::Cow;

use rdkafka::message::{Header, OwnedHeaders};

use super::Config;
use crate::{
    kind::Kind,
    record::{Envelope, Record},
};

/// Which names of topics Kafka takes (`Topic.isValid`).
pub(super) const TOPIC: &str = "1 to 249 letters, digits, . _ and -";

/// Before the name of a CloudEvent's attribute in binary mode (Kafka protocol binding 1.0.2, section 3.2.3.1).
const ATTRIBUTE: &str = "ce_";

/// Where a record goes, and what goes with its body.
pub(super) struct Message<'a> {
    pub(super) topic: Cow<'a, str>,
    pub(super) key: Cow<'a, str>,
    pub(super) headers: OwnedHeaders,
    /// Bytes of key, headers and body. On the wire it is somewhat larger.
    pub(super) bytes: usize,
}

impl<'a> Message<'a> {
    /// # Errors
    /// Kafka has no topic of such a name: why, for a dead letter.
    pub(super) fn of(record: &'a Record, config: &'a Config, cluster: Option<&str>) -> Result<Self, String> {
        let topic = config.topic.render(record);
        if !is_topic(&topic) {
            return Err(format!("{topic:?} cannot be the name of a topic (SINK_KAFKA_TOPIC): Kafka takes {TOPIC}"));
        }
        let key = config.key.as_ref().map_or(Cow::Borrowed(&*record.key), |key| key.render(record));
        let (headers, bytes) = headers(record, cluster);
        Ok(Message { bytes: bytes + key.len() + record.body.len(), topic, key, headers })
    }
}

/// Whether a topic can have this name.
pub(super) fn is_topic(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(allowed)
}

/// The headers, and how many bytes their names and values have.
fn headers(record: &Record, cluster: Option<&str>) -> (OwnedHeaders, usize) {
    let Record { kind, id, namespace, job, .. } = record;
    let mut all: Vec<(Cow<'_, str>, &str)> = vec![
        ("id".into(), id),
        ("kind".into(), Kind::name(*kind)),
        ("namespace".into(), namespace),
        ("job".into(), job),
        ("cluster".into(), cluster.unwrap_or_default()),
    ];
    let content_type = match &record.envelope {
        Envelope::None => "application/json",
        Envelope::CloudEvent => "application/cloudevents+json",
        Envelope::Attributes(attributes) => {
            all.extend(attributes.iter().map(|(name, value)| (format!("{ATTRIBUTE}{name}").into(), &**value)));
            "application/json"
        }
    };
    all.push(("content-type".into(), content_type));
    all.retain(|(_, value)| !value.is_empty());
    let bytes = all.iter().map(|(name, value)| name.len() + value.len()).sum();
    let headers = all.iter().fold(OwnedHeaders::new_with_capacity(all.len()), |headers, (name, value)| {
        headers.insert(Header { key: name, value: Some(*value) })
    });
    (headers, bytes)
}
