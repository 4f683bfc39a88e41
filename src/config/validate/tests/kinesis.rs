//! The settings of the Kinesis sink.

use super::*;
use crate::sink::kinesis::{Config, Stream};

const NEEDED: [(&str, &str); 2] = [("SINK_TYPE", "kinesis"), ("SINK_KINESIS_STREAM_NAME", "nomad")];

/// What is needed, with these variables in addition or in its place.
fn with<'a>(further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = NEEDED.into_iter().filter(|(name, _)| !further.iter().any(|(given, _)| given == name));
    kept.chain(further.iter().copied()).collect()
}

#[track_caller]
fn kinesis(further: &[(&str, &str)]) -> Config {
    match load(&["nodes"], &with(further)).expect("a valid configuration").0.sink {
        Sink::Kinesis(kinesis) => *kinesis,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_stream_is_enough_and_the_originals_constant_key_is_taken() {
    let read = kinesis(&[]);
    assert_eq!(read.stream, Stream::Name("nomad".into()));
    assert_eq!((&read.partition_key, read.max_record_size), (&None, 1 << 20));
    let key = |text: &str| kinesis(&[("SINK_KINESIS_PARTITION_KEY", text)]).partition_key.map(|key| key.to_string());
    assert_eq!(key("nomad").as_deref(), Some("nomad"));
    assert_eq!(key("{AllocationID}").as_deref(), Some("{AllocationID}"));
}

#[test]
fn everything_else_can_be_said() {
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/nomad";
    let read = kinesis(&[("SINK_KINESIS_STREAM_NAME", arn), ("SINK_KINESIS_MAX_RECORD_SIZE", "10MiB")]);
    assert_eq!(read.stream, Stream::Arn { arn: arn.into(), region: "eu-west-1".into() });
    assert_eq!(read.max_record_size, 10 << 20);
}

#[test]
fn what_is_wrong_is_named_all_at_once() {
    let long = "x".repeat(257);
    let wrong = with(&[
        ("SINK_KINESIS_STREAM_NAME", "arn:aws:sqs:eu-west-1:123456789012:nomad"),
        ("SINK_KINESIS_PARTITION_KEY", long.as_str()),
        ("SINK_KINESIS_MAX_RECORD_SIZE", "11MiB"),
    ]);
    let all = problems(&["nodes"], &wrong);
    assert_eq!(all.len(), 3, "{all:?}");
    for (problem, parts) in all.iter().zip([
        ["SINK_KINESIS_STREAM_NAME", "write arn:aws:kinesis:"],
        ["SINK_KINESIS_PARTITION_KEY", "at most 256 characters"],
        ["SINK_KINESIS_MAX_RECORD_SIZE", "from 1MiB to 10MiB"],
    ]) {
        assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
    }
    let missing = problems(&["nodes"], &[("SINK_TYPE", "kinesis"), ("SINK_KINESIS_PARTITION_KEY", "{a")]);
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(missing[0].contains("SINK_KINESIS_STREAM_NAME") && missing[0].contains("needs the stream"), "{missing:?}");
}

#[test]
fn the_settings_of_a_sink_that_is_not_chosen_are_not_read() {
    assert_eq!(settings(&["nodes"], &[("SINK_KINESIS_STREAM_NAME", "no stream")]).sink, Sink::Stdout);
}
