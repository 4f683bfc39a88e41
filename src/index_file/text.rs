//! The text of the file: one JSON object, with the last delivered raft index of each topic.

use std::collections::BTreeMap;

use crate::{checkpoint::StreamProgress, nomad::Topic, position::RaftIndex};

/// The key that this program adds. nomad-events-sink keeps it, because it reads and writes any key.
const OURS: &str = "nomad-firehose";

/// The key of a subscription to all topics.
pub(super) const ALL: &str = "*";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes {
    /// Up to which index each topic is delivered. 0 means that nothing is.
    pub(super) topics: BTreeMap<String, RaftIndex>,
    /// The greatest index that this program wrote last: what is above it, nomad-events-sink has delivered since then.
    pub(super) ours: Option<RaftIndex>,
}

impl Indexes {
    /// Reads the text.
    ///
    /// # Errors
    /// It is no JSON object of whole numbers.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        // Go takes `null` as 0.
        let read: Result<BTreeMap<String, Option<u64>>, _> = serde_json::from_slice(text);
        let read = read.map_err(|error| match text.trim_ascii() {
            b"" => "it is empty".to_owned(),
            _ => format!("it is no JSON object of topics and raft indexes, such as {{\"Job\":42}}: {error}"),
        })?;
        let mut topics: BTreeMap<_, _> =
            read.into_iter().map(|(topic, index)| (topic, RaftIndex(index.unwrap_or_default()))).collect();
        let ours = topics.remove(OURS);
        Ok(Indexes { topics, ours })
    }

    /// The text, as nomad-events-sink writes it: in one line, in the order of the keys.
    pub(super) fn text(&self) -> String {
        let ours = self.ours.map(|index| (OURS, index));
        let all: BTreeMap<&str, RaftIndex> =
            self.topics.iter().map(|(topic, index)| (topic.as_str(), *index)).chain(ours).collect();
        serde_json::to_string(&all).expect("text and numbers")
    }

    /// Up to which index a topic is delivered.
    pub(super) fn of(&self, topic: &str) -> RaftIndex {
        let index = |name: &str| self.topics.get(name).copied().unwrap_or_default();
        index(topic).max(index(ALL))
    }

    /// Notes what these streams have delivered of `wanted`. Topics that are not wanted stay as they are.
    pub(super) fn note<'a>(&mut self, wanted: &[Topic], streams: impl Iterator<Item = &'a StreamProgress> + Clone) {
        let delivered = |topic: &str| {
            let of = |stream: &StreamProgress| {
                let further = stream.delivered.get(topic).copied().unwrap_or_default();
                stream.position.index.max(further)
            };
            streams.clone().map(of).min()
        };
        let mut names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
        if names.iter().any(|name| name == ALL) {
            names.extend(self.topics.keys().cloned());
        }
        for name in names {
            if let Some(index) = delivered(&name) {
                self.topics.insert(name, index);
            }
        }
        self.ours = self.topics.values().copied().max();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_nomad_events_sink_writes() {
        let text = br#"{"Allocation":77,"Deployment":0,"Evaluation":78,"Job":76,"Node":12}"#;
        let indexes = Indexes::parse(text).expect("its own form");
        assert_eq!(
            (indexes.of("Job"), indexes.of("Deployment"), indexes.of("Service")),
            (RaftIndex(76), RaftIndex(0), RaftIndex(0))
        );
        assert_eq!(indexes.text().as_bytes(), text);
        assert_eq!(Indexes::parse(br#"{"Job":null}"#).expect("as Go reads it").of("Job"), RaftIndex(0));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, reason) in [
            (&b""[..], "it is empty"),
            (b" \n", "it is empty"),
            (b"[1]", "it is no JSON object"),
            (br#"{"Job":"7"}"#, "it is no JSON object"),
            (br#"{"Job":-7}"#, "it is no JSON object"),
            (br#"{"Job":7.5}"#, "it is no JSON object"),
            (br#"{"Job":7"#, "it is no JSON object"),
            (br#"{"Job":7} x"#, "it is no JSON object"),
            (br#"{"Job":18446744073709551616}"#, "it is no JSON object"),
        ] {
            let error = Indexes::parse(text).expect_err("not the form");
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn the_slowest_stream_counts_and_unwanted_topics_stay() {
        let at = |index, further: &[(&str, u64)]| StreamProgress {
            position: crate::position::Position::at(RaftIndex(index)),
            delivered: further.iter().map(|(topic, index)| ((*topic).to_owned(), RaftIndex(*index))).collect(),
            ..StreamProgress::default()
        };
        let mut indexes = Indexes::parse(br#"{"Deployment":3,"Job":9,"Node":1}"#).expect("its form");
        let wanted: Vec<Topic> = ["Job", "Node:a"].iter().map(|topic| topic.parse().expect("a topic")).collect();
        indexes.note(&wanted, [at(20, &[("Node", 25)]), at(22, &[("Node", 30)])].iter());
        assert_eq!(indexes.text(), r#"{"Deployment":3,"Job":20,"Node":25,"nomad-firehose":25}"#);
        indexes.note(&["*".parse().expect("a topic")], [at(40, &[])].iter());
        assert_eq!(indexes.text(), r#"{"*":40,"Deployment":40,"Job":40,"Node":40,"nomad-firehose":40}"#);
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_again(
            topics in prop::collection::btree_map("[A-Z*][a-zA-Z\"\\\\\u{e4}]{0,6}", any::<u64>(), 0..8),
            ours in proptest::option::of(any::<u64>()),
        ) {
            let topics = topics.into_iter().map(|(topic, index)| (topic, RaftIndex(index))).collect();
            let indexes = Indexes { topics, ours: ours.map(RaftIndex) };
            prop_assert_eq!(Indexes::parse(indexes.text().as_bytes()), Ok(indexes));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[{}\":,0-9A-Znul \\[\\]-]{0,40}") {
            for input in [bytes, text.into_bytes()] {
                match Indexes::parse(&input) {
                    Ok(indexes) => prop_assert_eq!(Indexes::parse(indexes.text().as_bytes()), Ok(indexes)),
                    Err(reason) => prop_assert!(reason.starts_with("it is ")),
                }
            }
        }
    }
}
