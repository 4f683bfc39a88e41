//! What the file adds to a checkpoint. Pure.

use super::text::{ALL, Indexes};
use crate::{
    checkpoint::{Checkpoint, StreamProgress, VERSION},
    nomad::Topic,
    position::{Position, RaftIndex},
};

/// The checkpoint to resume from, if the file has something to add: each topic continues after what was delivered of it.
/// `streams` are the names of the streams.
pub(super) fn import(
    file: &Indexes,
    stored: Option<&Checkpoint>,
    wanted: &[Topic],
    streams: &[String],
) -> Option<Checkpoint> {
    let mut checkpoint = stored.cloned().unwrap_or(Checkpoint { version: VERSION, ..Checkpoint::default() });
    let mut adds = false;
    for name in streams {
        let stream = checkpoint.streams.get(name).cloned().unwrap_or_default();
        let imported = match stream.position.index {
            RaftIndex(0) => first(file, wanted),
            _ => further(file, wanted, &stream),
        };
        if let Some(imported) = imported {
            checkpoint.streams.insert(name.clone(), imported);
            adds = true;
        }
    }
    let reached = checkpoint.streams.values().map(|stream| stream.position.index.0).max();
    checkpoint.value = checkpoint.value.max(reached.unwrap_or_default());
    adds.then_some(checkpoint)
}

/// Nothing is stored: the topics of which something was delivered decide where the stream begins. A topic without an index
/// counts as added, so that its missing events are reported.
fn first(file: &Indexes, wanted: &[Topic]) -> Option<StreamProgress> {
    let all = wanted.iter().any(|topic| topic.name == ALL);
    let names = wanted.iter().map(|topic| topic.name.as_str()).filter(|_| !all);
    let names = names.chain(file.topics.keys().map(String::as_str).filter(|_| all));
    let known: Vec<_> = names.map(|name| (name, file.of(name))).filter(|(_, index)| index.0 > 0).collect();
    let begin = known.iter().map(|(_, index)| *index).min()?;
    let had = |topic: &&Topic| all || file.of(&topic.name).0 > 0;
    let mut topics: Vec<_> = wanted.iter().filter(had).map(Topic::to_string).collect();
    topics.sort_unstable();
    topics.dedup();
    Some(StreamProgress {
        position: Position::at(begin),
        namespaces: begin.0,
        topics,
        delivered: known.into_iter().map(|(name, index)| (name.to_owned(), index)).collect(),
        ..StreamProgress::default()
    })
}

/// nomad-events-sink went on from where this program was, and now this program goes on from there.
fn further(file: &Indexes, wanted: &[Topic], stream: &StreamProgress) -> Option<StreamProgress> {
    let position = stream.position.index;
    let ours = file.ours.unwrap_or_default();
    let delivered = |name: &str| Some(file.of(name)).filter(|index| *index > ours && *index > position);
    let all = wanted.iter().any(|topic| topic.name == ALL);
    let mut names: Vec<&str> = wanted.iter().map(|topic| topic.name.as_str()).collect();
    if all {
        names.extend(file.topics.keys().map(String::as_str));
    }
    let known: Vec<_> = names.iter().filter_map(|name| Some((*name, delivered(name)?))).collect();
    if known.is_empty() {
        return None;
    }
    // A subscription to all topics has topics that the file does not name.
    let wanted = names.iter().filter(|name| !all || **name == ALL);
    let begin = wanted.map(|name| delivered(name).unwrap_or(position)).min().unwrap_or(position);
    let mut stream = stream.clone();
    if begin > position {
        stream.position = Position::at(begin);
        stream.namespaces = stream.namespaces.max(begin.0);
    }
    for (name, index) in known {
        let further = stream.delivered.entry(name.to_owned()).or_default();
        *further = index.max(*further);
    }
    Some(stream)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(text: &str) -> Indexes {
        Indexes::parse(text.as_bytes()).expect("an index file")
    }

    fn topics(texts: &[&str]) -> Vec<Topic> {
        texts.iter().map(|text| text.parse().expect("a topic")).collect()
    }

    fn from(text: &str, wanted: &[&str], stored: Option<&Checkpoint>) -> Option<StreamProgress> {
        let imported = import(&file(text), stored, &topics(wanted), &["*".to_owned()])?;
        Some(imported.streams["*"].clone())
    }

    fn at(index: u64) -> Checkpoint {
        let seen = [crate::position::Identity(7)].into_iter().collect();
        let position = Position { seen, ..Position::at(RaftIndex(index)) };
        let stream = StreamProgress { position, topics: vec!["Job".to_owned()], ..StreamProgress::default() };
        Checkpoint { version: VERSION, streams: [("*".to_owned(), stream)].into(), ..Checkpoint::default() }
    }

    fn delivered(stream: &StreamProgress) -> Vec<(&str, u64)> {
        stream.delivered.iter().map(|(topic, index)| (topic.as_str(), index.0)).collect()
    }

    #[test]
    fn the_first_time_the_slowest_topic_decides() {
        let stream = from(r#"{"Job":100,"Node":20,"Evaluation":70}"#, &["Job", "Node"], None).expect("progress");
        assert_eq!(stream.position, Position::at(RaftIndex(20)));
        assert_eq!(delivered(&stream), [("Job", 100), ("Node", 20)]);
        assert_eq!((stream.namespaces, &stream.topics[..]), (20, &["Job".to_owned(), "Node".to_owned()][..]));
    }

    #[test]
    fn a_topic_without_an_index_counts_as_added() {
        let stream = from(r#"{"Job":100,"Node":0}"#, &["Job", "Node", "Service"], None).expect("progress");
        assert_eq!((stream.position.index, &stream.topics[..]), (RaftIndex(100), &["Job".to_owned()][..]));
        assert!(from(r#"{"Job":0,"Node":9}"#, &["Job"], None).is_none());
        assert!(from("{}", &["*"], None).is_none());
    }

    #[test]
    fn a_subscription_to_all_topics_begins_at_the_slowest_that_is_known() {
        let stream = from(r#"{"Job":100,"Node":20,"Deployment":0}"#, &["*"], None).expect("progress");
        assert_eq!((stream.position.index, delivered(&stream)), (RaftIndex(20), vec![("Job", 100), ("Node", 20)]));
        let stream = from(r#"{"*":50,"Job":100,"Node":20}"#, &["*"], None).expect("progress");
        assert_eq!(
            (stream.position.index, delivered(&stream)),
            (RaftIndex(50), vec![("*", 50), ("Job", 100), ("Node", 50)])
        );
    }

    #[test]
    fn what_this_program_wrote_adds_nothing() {
        assert_eq!(from(r#"{"Job":42,"nomad-firehose":42}"#, &["Job"], Some(&at(42))), None);
        // It was written under another checkpoint, which is gone.
        assert_eq!(from(r#"{"Job":90,"nomad-firehose":90}"#, &["Job"], Some(&at(42))), None);
        assert_eq!(from(r#"{"Job":41}"#, &["Job"], Some(&at(42))), None);
    }

    #[test]
    fn what_nomad_events_sink_delivered_in_between_is_taken_over() {
        let text = r#"{"Job":60,"Node":50,"nomad-firehose":42}"#;
        let stream = from(text, &["Job", "Node"], Some(&at(42))).expect("progress");
        assert_eq!((stream.position, stream.namespaces), (Position::at(RaftIndex(50)), 50));
        assert_eq!(stream.delivered["Job"], RaftIndex(60));
        // One topic stood still: the stream has to go on from where it was.
        let text = r#"{"Job":60,"Node":42,"nomad-firehose":42}"#;
        let stream = from(text, &["Job", "Node"], Some(&at(42))).expect("progress");
        assert_eq!((stream.position.index, stream.position.seen.len()), (RaftIndex(42), 1));
        assert_eq!(delivered(&stream), [("Job", 60)]);
    }

    proptest! {
        /// An event is left out only if the file says that its topic had it, or the position covers it.
        #[test]
        fn nothing_is_left_out_that_was_not_delivered(
            indexes in prop::collection::btree_map(prop::sample::select(vec!["Job", "Node", "Evaluation"]), 0_u64..30, 0..4),
            ours in proptest::option::of(0_u64..30),
            before in 0_u64..30,
            wanted in prop::sample::subsequence(vec!["Job", "Node", "Evaluation", "*"], 1..4),
        ) {
            let topics_of = |(topic, index): (&&str, &u64)| ((*topic).to_owned(), RaftIndex(*index));
            let file = Indexes { topics: indexes.iter().map(topics_of).collect(), ours: ours.map(RaftIndex) };
            let stored = (before > 0).then(|| at(before));
            let Some(imported) = import(&file, stored.as_ref(), &topics(&wanted), &["*".to_owned()]) else { return Ok(()) };
            let stream = &imported.streams["*"];
            for topic in ["Job", "Node", "Evaluation"] {
                if !wanted.contains(&topic) && !wanted.contains(&"*") {
                    continue;
                }
                let had = indexes.get(topic).copied().unwrap_or_default().max(before);
                let further = stream.delivered.get(topic).map_or(0, |index| index.0);
                prop_assert!(further <= had);
                // A topic without an index is reported as added.
                let reported = before == 0 && had == 0;
                prop_assert!(stream.position.index.0 <= had || reported);
            }
        }
    }
}
