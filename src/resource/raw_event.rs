//! The stream's own events, passed through unchanged except for their secrets, and the gap record among them.

use bytes::Bytes;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::{Draft, secrets};
use crate::{checkpoint::Gap, nomad::line::Event, position::RaftIndex};

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
        node: "".into(),
        index: *index,
        body: secrets::without_in_event(event),
    }
}

/// A record that reports a gap in the stream itself: an event of the topic `Firehose`, which Nomad does not have, of
/// type `Gap`, with the range of raft indexes in which events may be missing.
pub(super) fn gap(stream: &str, gap: &Gap) -> Draft {
    let id = format!("events/{}/gap/{stream}/{}", gap.until, gap.from);
    gap_record(id, stream, gap.until, &json!({"FromIndex": gap.from, "UntilIndex": gap.until}))
}

/// The same for added topics, which are delivered `from` this raft index on. `topics` are sorted, so that the id of the
/// same report is the same.
pub(super) fn gap_of_topics(stream: &str, from: RaftIndex, topics: &[String]) -> Draft {
    let id = format!("events/{from}/gap/{stream}/0/{:016x}", xxh3_64(topics.join(",").as_bytes()));
    gap_record(id, stream, from, &json!({"FromIndex": 0, "UntilIndex": from, "Topics": topics}))
}

fn gap_record(id: String, stream: &str, index: RaftIndex, gap: &Value) -> Draft {
    let body = json!({
        "Topic": "Firehose",
        "Type": "Gap",
        "Key": stream,
        "Namespace": if stream == "*" { "" } else { stream },
        "FilterKeys": null,
        "Index": index,
        "Payload": {"Gap": gap},
    });
    Draft {
        id: id.into(),
        key: "Firehose".into(),
        namespace: "".into(),
        job: "".into(),
        node: "".into(),
        index,
        body: Bytes::from(body.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Seen;

    fn of_topics(stream: &str, from: u64, topics: &[&str]) -> Draft {
        let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        gap_of_topics(stream, RaftIndex(from), &topics)
    }

    #[test]
    fn a_gap_of_topics_names_them_and_has_an_id_of_its_own() {
        let draft = of_topics("team", 13, &["Evaluation", "Job:web"]);
        let body: Value = serde_json::from_slice(&draft.body).expect("JSON");
        assert_eq!((&body["Key"], &body["Namespace"], &body["Index"]), (&json!("team"), &json!("team"), &json!(13)));
        let gap_in = json!({"FromIndex": 0, "UntilIndex": 13, "Topics": ["Evaluation", "Job:web"]});
        assert_eq!(body["Payload"]["Gap"], gap_in);
        assert_eq!(draft.id, of_topics("team", 13, &["Evaluation", "Job:web"]).id);
        let range = Gap { from: RaftIndex(0), until: RaftIndex(13), known: Seen::default() };
        for other in [
            gap("team", &range),
            of_topics("team", 13, &["Evaluation"]),
            of_topics("team", 14, &["Evaluation", "Job:web"]),
            of_topics("*", 13, &["Evaluation", "Job:web"]),
        ] {
            assert_ne!(draft.id, other.id);
        }
    }
}
