use super::*;
use crate::settings::testing;

const ARN: &str = "arn:aws:sns:eu-west-1:123456789012:nomad.fifo";

#[track_caller]
fn sns(given: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, given, read).expect("valid settings").0
}

#[test]
fn the_topic_is_enough() {
    let read = sns(&[("SINK_SNS_TOPIC_ARN", ARN)]);
    let topic = Topic { arn: ARN.to_owned(), region: "eu-west-1".to_owned(), name: "nomad.fifo".to_owned() };
    assert_eq!(read, Config { topic, group: None });
    let read = sns(&[("SINK_SNS_TOPIC_ARN", ARN), ("SINK_SNS_MESSAGE_GROUP_ID", "{Kind}")]);
    assert_eq!(read.group.map(|group| group.to_string()).as_deref(), Some("{Kind}"));
}

#[test]
fn only_an_arn_of_a_topic_is_taken() {
    assert!(topic("arn:aws-cn:sns:cn-north-1:123456789012:nomad").is_ok_and(|topic| !topic.is_fifo()));
    let long = format!("arn:aws:sns:eu-west-1:123456789012:{}", "t".repeat(257));
    for wrong in [
        "",
        "nomad",
        "arn:aws:sns:eu-west-1:1:nomad",
        "arn:aws:sqs:eu-west-1:123456789012:nomad",
        "arn:aws:sns::123456789012:nomad",
        "arn:aws:sns:eu-west-1:123456789012:a.b",
        "arn:aws:sns:eu-west-1:123456789012:.fifo",
        // A subscription.
        "arn:aws:sns:eu-west-1:123456789012:nomad:0c1a",
        &long,
    ] {
        assert!(topic(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_wrong_is_named_all_at_once() {
    let wrong = [("SINK_SNS_TOPIC_ARN", "nomad"), ("SINK_SNS_MESSAGE_GROUP_ID", "{a")];
    let all = testing::read(SETTINGS, &wrong, read).expect_err("problems");
    assert!(all.len() == 2 && all[0].contains("arn:aws:sns:REGION:ACCOUNT:NAME"), "{all:?}");
    assert!(all[1].contains("SINK_SNS_MESSAGE_GROUP_ID"), "{all:?}");
    let standard = ARN.trim_end_matches(".fifo");
    let standard = [("SINK_SNS_TOPIC_ARN", standard), ("SINK_SNS_MESSAGE_GROUP_ID", "all")];
    let all = testing::read(SETTINGS, &standard, read).expect_err("problems");
    assert!(all.len() == 1 && all[0].contains("only a FIFO topic has message groups"), "{all:?}");
    let missing = testing::read(SETTINGS, &[], read).expect_err("problems");
    assert!(missing.len() == 1 && missing[0].contains("needs the topic"), "{missing:?}");
}
