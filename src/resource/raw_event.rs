//! The stream's own events, passed through as they came but for what is secret in them, and the gap record among them.

use bytes::Bytes;
use serde_json::json;

use super::{Draft, secrets};
use crate::{checkpoint::Owed, source::line::Event};

/// The record of an event.
pub(super) fn from_event(event: &Event<'_>) -> Draft {
    let Event { topic, key, namespace, index, occurrence, .. } = event;
    let job = match &**topic {
        "Job" => &**key,
        _ => "",
    };
    Draft {
        id: format!("events/{index}/{occurrence}/{topic}/{namespace}/{key}").into(),
        key: format!("{topic}/{namespace}/{key}").into(),
        namespace: (**namespace).into(),
        job: job.into(),
        body: secrets::without_in_event(event),
    }
}

/// A record in the stream itself that says where it has a hole: an event of the topic `Firehose`, which Nomad does not
/// have, of type `Gap`, with the range of raft indexes in which events may be missing.
pub(super) fn gap(lane: &str, owed: &Owed) -> Draft {
    let body = json!({
        "Topic": "Firehose",
        "Type": "Gap",
        "Key": lane,
        "Namespace": if lane == "*" { "" } else { lane },
        "FilterKeys": null,
        "Index": owed.until,
        "Payload": {"Gap": {"FromIndex": owed.from, "UntilIndex": owed.until}},
    });
    Draft {
        id: format!("events/{}/gap/{lane}/{}", owed.until, owed.from).into(),
        key: "Firehose".into(),
        namespace: "".into(),
        job: "".into(),
        body: Bytes::from(body.to_string()),
    }
}
