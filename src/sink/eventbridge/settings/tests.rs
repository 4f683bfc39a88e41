use super::*;
use crate::settings::testing;

#[track_caller]
fn eventbridge(given: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, given, read).expect("valid settings").0
}

#[test]
fn the_originals_bus_is_enough() {
    let read = eventbridge(&[("SINK_EVENT_BUS_NAME", "nomad")]);
    assert_eq!((read.bus.called(), read.bus.name(), read.verify), ("nomad", "nomad", true));
    assert_eq!((&*read.detail_type.to_string(), &*read.source.to_string()), ("{Kind}", "nomad-firehose"));
    assert!(read.resources.is_empty());
}

#[test]
fn the_originals_texts_are_taken_as_they_are() {
    let read = eventbridge(&[
        ("SINK_EVENT_BUS_NAME", "nomad"),
        ("SINK_EVENT_BUS_DETAIL_TYPE", "Nomad Event"),
        ("SINK_EVENT_BUS_SOURCE", "com.example/nomad"),
        ("SINK_EVENT_BUS_RESOURCES", "{ID},nomad/{Namespace}/{JobID}"),
        ("SINK_EVENT_BUS_VERIFY", "false"),
    ]);
    assert_eq!(read.detail_type.constant(), Some("Nomad Event"));
    assert_eq!(read.source.constant(), Some("com.example/nomad"));
    assert!(read.resources.len() == 2 && !read.verify, "{read:?}");
}

#[test]
fn a_bus_is_a_name_or_an_arn() {
    let arn = bus("arn:aws-cn:events:cn-north-1:123456789012:event-bus/nomad").expect("an ARN");
    let Bus::Arn { region, name, .. } = &arn else { panic!("{arn:?}") };
    assert_eq!((&**region, &**name), ("cn-north-1", "nomad"));
    assert!(arn.called().starts_with("arn:"));
    let long = "b".repeat(257);
    for wrong in [
        "",
        "a b",
        "ä",
        &long,
        "arn:aws:events:eu-west-1:1:event-bus/nomad",
        "arn:aws:sqs:eu-west-1:123456789012:nomad",
        "arn:aws:events::123456789012:event-bus/nomad",
        "arn:aws:events:eu-west-1:123456789012:rule/nomad",
        "arn:aws:events:eu-west-1:123456789012:event-bus/",
    ] {
        assert!(bus(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_wrong_is_named_all_at_once() {
    let long = "t".repeat(129);
    let wrong = [
        ("SINK_EVENT_BUS_NAME", "a b"),
        ("SINK_EVENT_BUS_DETAIL_TYPE", &*long),
        ("SINK_EVENT_BUS_SOURCE", "aws.nomad"),
        ("SINK_EVENT_BUS_RESOURCES", "{a"),
        ("SINK_EVENT_BUS_VERIFY", "perhaps"),
    ];
    let all = testing::read(SETTINGS, &wrong, read).expect_err("problems");
    assert_eq!(all.len(), wrong.len(), "{all:?}");
    for ((variable, _), problem) in wrong.iter().zip(&all) {
        assert!(problem.contains(variable), "{problem}");
    }
    let missing = testing::read(SETTINGS, &[], read).expect_err("problems");
    assert!(missing.len() == 1 && missing[0].contains("needs the event bus"), "{missing:?}");
}
