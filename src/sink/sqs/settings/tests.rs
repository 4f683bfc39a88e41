use super::*;
use crate::settings::testing;

#[track_caller]
fn sqs(given: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, given, read).expect("valid settings").0
}

#[test]
fn the_originals_queue_is_enough() {
    let read = sqs(&[("SINK_SQS_QUEUE_NAME", "nomad.fifo")]);
    assert_eq!(read, Config { queue: Queue::Name("nomad.fifo".into()), group: None });
    let read = sqs(&[("SINK_SQS_QUEUE_NAME", "nomad.fifo"), ("SINK_SQS_MESSAGE_GROUP_ID", "{Kind}")]);
    assert_eq!(read.group.map(|group| group.to_string()).as_deref(), Some("{Kind}"));
}

#[test]
fn a_queue_is_a_name_or_an_arn_or_a_url() {
    let arn = queue("arn:aws-cn:sqs:cn-north-1:123456789012:nomad.fifo").expect("an ARN");
    let (region, account) = ("cn-north-1".to_owned(), "123456789012".to_owned());
    assert_eq!(arn, Queue::Arn { region, account, name: "nomad.fifo".into() });
    for (text, place) in [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/nomad", Some("eu-west-1")),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/nomad", Some("cn-north-1")),
        ("https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/123456789012/nomad", None),
        ("http://localhost:9324/000000000000/nomad", None),
    ] {
        let Ok(Queue::Url { url, region, name }) = queue(text) else { panic!("{text}") };
        assert_eq!((url.as_str(), region.as_deref(), &*name), (text, place, "nomad"));
    }
    let long = "q".repeat(81);
    for wrong in [
        "",
        "a.b",
        "ä",
        ".fifo",
        &long,
        "arn:aws:sqs:eu-west-1:1:nomad",
        "arn:aws:kinesis:eu-west-1:123456789012:a",
        "arn:aws:sqs::123456789012:a",
        "ftp://sqs/1/a",
        "https://sqs.eu-west-1.amazonaws.com/",
        "https://a/b?c",
    ] {
        assert!(queue(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_wrong_is_named_all_at_once_and_no_password_is_shown() {
    let wrong = [("SINK_SQS_QUEUE_NAME", "https://u:hush@a/b"), ("SINK_SQS_MESSAGE_GROUP_ID", "{a")];
    let all = testing::read(SETTINGS, &wrong, read).expect_err("problems");
    assert!(all.len() == 2 && all[0].contains("no user and no password"), "{all:?}");
    assert!(all[1].contains("SINK_SQS_MESSAGE_GROUP_ID"), "{all:?}");
    let standard = [("SINK_SQS_QUEUE_NAME", "nomad"), ("SINK_SQS_MESSAGE_GROUP_ID", "all")];
    let all = testing::read(SETTINGS, &standard, read).expect_err("problems");
    assert!(all.len() == 1 && all[0].contains("only a FIFO queue has message groups"), "{all:?}");
    let missing = testing::read(SETTINGS, &[], read).expect_err("problems");
    assert!(missing.len() == 1 && missing[0].contains("needs the queue"), "{missing:?}");
}
