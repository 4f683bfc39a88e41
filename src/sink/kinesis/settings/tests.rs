use super::*;
use crate::settings::testing;

const NEEDED: [(&str, &str); 1] = [("SINK_KINESIS_STREAM_NAME", "nomad")];

/// The required variables, with these added or in their place.
fn with<'a>(further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = NEEDED.into_iter().filter(|(name, _)| !further.iter().any(|(given, _)| given == name));
    kept.chain(further.iter().copied()).collect()
}

#[track_caller]
fn kinesis(further: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, &with(further), read).expect("valid settings").0
}

#[test]
fn the_stream_is_enough_and_the_originals_constant_key_is_taken() {
    let read = kinesis(&[]);
    assert_eq!(read.stream, Stream::Name("nomad".into()));
    assert_eq!((&read.partition_key, read.max_record_size, read.workers), (&None, 1 << 20, 8));
    let key = |text: &str| kinesis(&[("SINK_KINESIS_PARTITION_KEY", text)]).partition_key.map(|key| key.to_string());
    assert_eq!(key("nomad").as_deref(), Some("nomad"));
    assert_eq!(key("{AllocationID}").as_deref(), Some("{AllocationID}"));
}

#[test]
fn everything_else_can_be_said() {
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/nomad";
    let read = kinesis(&[
        ("SINK_KINESIS_STREAM_NAME", arn),
        ("SINK_KINESIS_MAX_RECORD_SIZE", "10MiB"),
        ("SINK_KINESIS_WORKERS", "1"),
    ]);
    assert_eq!(read.stream, Stream::Arn { arn: arn.into(), region: "eu-west-1".into() });
    assert_eq!((read.max_record_size, read.workers), (10 << 20, 1));
}

#[test]
fn what_is_wrong_is_named_all_at_once() {
    let long = "x".repeat(257);
    let wrong = with(&[
        ("SINK_KINESIS_STREAM_NAME", "arn:aws:sqs:eu-west-1:123456789012:nomad"),
        ("SINK_KINESIS_PARTITION_KEY", long.as_str()),
        ("SINK_KINESIS_MAX_RECORD_SIZE", "11MiB"),
    ]);
    let all = testing::read(SETTINGS, &wrong, read).expect_err("problems");
    assert_eq!(all.len(), 3, "{all:?}");
    for (problem, parts) in all.iter().zip([
        ["SINK_KINESIS_STREAM_NAME", "write arn:aws:kinesis:"],
        ["SINK_KINESIS_PARTITION_KEY", "at most 256 characters"],
        ["SINK_KINESIS_MAX_RECORD_SIZE", "from 1MiB to 10MiB"],
    ]) {
        assert!(parts.iter().all(|part| problem.contains(part)), "{problem}");
    }
    let missing = testing::read(SETTINGS, &[("SINK_KINESIS_PARTITION_KEY", "{a")], read).expect_err("problems");
    assert_eq!(missing.len(), 2, "{missing:?}");
    assert!(missing[0].contains("SINK_KINESIS_STREAM_NAME") && missing[0].contains("needs the stream"), "{missing:?}");
}

#[test]
fn a_stream_is_a_name_or_an_arn() {
    assert_eq!(stream("nomad-events_1.a"), Ok(Stream::Name("nomad-events_1.a".into())));
    let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/nomad";
    assert_eq!(stream(arn), Ok(Stream::Arn { arn: arn.into(), region: "cn-north-1".into() }));
    for wrong in [
        "a b",
        "a/b",
        &"x".repeat(129),
        "arn:aws:kinesis",
        "arn:aws:sqs:us-east-1:123456789012:nomad",
        "arn:aws:kinesis:us-east-1:12:stream/nomad",
        "arn:aws:kinesis::123456789012:stream/nomad",
        "arn:aws:kinesis:us-east-1:123456789012:stream/",
        "arn:aws:kinesis:us-east-1:123456789012:nomad",
    ] {
        assert!(stream(wrong).is_err(), "{wrong}");
    }
}
