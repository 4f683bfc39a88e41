use aws_sdk_sns::types::{BatchResultErrorEntry, PublishBatchResultEntry};

use super::*;
use crate::delivery::testing::Book;

fn sns(name: &str, group: Option<&str>) -> Sns {
    let arn = format!("arn:aws:sns:eu-west-1:123456789012:{name}");
    let topic = Topic { arn, region: "eu-west-1".to_owned(), name: name.to_owned() };
    let group = group.map(|text| text.parse().expect("a template"));
    Sns { settings: Config { topic, group }, cluster: Some("prod".to_owned()) }
}

#[test]
fn only_a_fifo_topic_has_groups_and_drops_repeats() {
    let record = Book::new().record("default/web", r#"{"JobID":"web"}"#);
    let (entry, _) = sns("nomad", None).entry(&record).expect("it fits");
    assert_eq!((entry.message_group_id(), entry.message_deduplication_id()), (None, None));
    let (entry, _) = sns("nomad.fifo", None).entry(&record).expect("it fits");
    assert_eq!(entry.message_group_id(), Some("default/web"));
    let repeat = format!("prod/{}", record.id);
    assert_eq!(entry.message_deduplication_id(), Some(&*repeat));
    let (entry, _) = sns("nomad.fifo", Some("all")).entry(&record).expect("it fits");
    assert_eq!(entry.message_group_id(), Some("all"));
    assert!(entry.message_attributes().is_some_and(|all| all.contains_key("id")), "{entry:?}");
}

#[test]
fn what_is_too_large_is_rejected_before_it_is_sent() {
    let record = |bytes: usize| Book::new().record("k", vec![b'x'; bytes]);
    let attributes = sns("nomad", None).entry(&record(0)).expect("it fits").1;
    let (_, bytes) = sns("nomad", None).entry(&record(BYTES - attributes)).expect("it fits");
    assert_eq!(bytes, BYTES);
    let reason = sns("nomad", None).entry(&record(BYTES - attributes + 1)).expect_err("too large");
    assert_eq!(reason, "body and attributes have 1048577 bytes; SNS takes 1048576 at most");
}

#[test]
fn answers_are_found_by_their_ids() {
    let taken = |id: &str, message: &str| PublishBatchResultEntry::builder().id(id).message_id(message).build();
    let failed = BatchResultErrorEntry::builder().id("1").code("InternalError").sender_fault(false).message("a\nb");
    let answer = PublishBatchOutput::builder()
        .successful(taken("2", "m"))
        .successful(taken("0", ""))
        .successful(taken("9", "m"))
        .failed(failed.build().expect("all is set"))
        .build();
    let failed = Answer::Failed { code: "InternalError".to_owned(), said: "a".to_owned(), is_ours: false };
    assert_eq!(answers(answer, 4), [Answer::Missing, failed, Answer::Taken, Answer::Missing]);
}
