use aws_sdk_sqs::types::{BatchResultErrorEntry, SendMessageBatchResultEntry};

use super::*;
use crate::delivery::testing::Book;

fn sqs(name: &str, group: Option<&str>) -> Sqs {
    let group = group.map(|text| text.parse().expect("a template"));
    Sqs { settings: Config { queue: Queue::Name(name.to_owned()), group }, cluster: Some("prod".to_owned()) }
}

#[test]
fn only_a_fifo_queue_has_groups_and_drops_repeats() {
    let record = Book::new().record("default/web", r#"{"JobID":"web"}"#);
    let (entry, _) = sqs("nomad", None).entry(&record).expect("it fits");
    assert_eq!((entry.message_group_id(), entry.message_deduplication_id()), (None, None));
    let (entry, _) = sqs("nomad.fifo", None).entry(&record).expect("it fits");
    assert_eq!(entry.message_group_id(), Some("default/web"));
    let repeat = format!("prod/{}", record.id);
    assert_eq!(entry.message_deduplication_id(), Some(&*repeat));
    let (entry, _) = sqs("nomad.fifo", Some("all")).entry(&record).expect("it fits");
    assert_eq!(entry.message_group_id(), Some("all"));
    let odd = Book::new().record("ä b", "{}");
    let (entry, _) = sqs("nomad.fifo", None).entry(&odd).expect("it fits");
    assert!(entry.message_group_id().is_some_and(|group| group.starts_with("xxh3-")));
}

#[test]
fn what_is_too_large_is_rejected_before_it_is_sent() {
    let record = |bytes: usize| Book::new().record("k", vec![b'x'; bytes]);
    let attributes = sqs("nomad", None).entry(&record(0)).expect("it fits").1;
    assert!(attributes > 20, "{attributes}");
    let (_, bytes) = sqs("nomad", None).entry(&record(BYTES - attributes)).expect("it fits");
    assert_eq!(bytes, BYTES);
    let reason = sqs("nomad", None).entry(&record(BYTES - attributes + 1)).expect_err("too large");
    assert_eq!(reason, "body and attributes have 1048577 bytes; SQS takes 1048576 at most");
}

#[test]
fn answers_are_found_by_their_ids() {
    let taken = |id: &str, message: &str| {
        let entry = SendMessageBatchResultEntry::builder().id(id).message_id(message).md5_of_message_body("");
        entry.build().expect("all is set")
    };
    let failed = BatchResultErrorEntry::builder().id("1").code("InternalError").sender_fault(false).message("a\nb");
    let answer = SendMessageBatchOutput::builder()
        .successful(taken("2", "m"))
        .successful(taken("0", ""))
        .successful(taken("9", "m"))
        .failed(failed.build().expect("all is set"));
    let failed = Answer::Failed { code: "InternalError".to_owned(), said: "a".to_owned(), is_ours: false };
    let answer = answer.build().expect("all is set");
    assert_eq!(answers(answer, 4), [Answer::Missing, failed, Answer::Taken, Answer::Missing]);
}
