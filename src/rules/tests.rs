//! The stage in front of another one.

use serde_json::json;

use super::*;
use crate::{delivery::testing::Book, kind::Kind, record::Time};

const RULE: Config = Config { every: Duration::from_secs(600), at_least: 3 };

fn ago(seconds: u64) -> Option<Time> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Time::new(u64::try_from((now - Duration::from_secs(seconds)).as_nanos()).expect("before 2262"))
}

#[tokio::test]
async fn what_does_not_pass_is_acknowledged_and_what_passes_says_how_many_there_were() {
    let (book, metrics) = (Book::new(), Metrics::new(&[Kind::Jobs]));
    let (next, mut out) = delivery::stage(16);
    let rule = spawn(RULE, metrics.clone(), next);
    let record = |group: &str, seconds| Record {
        group: Some(group.into()),
        time: ago(seconds),
        ..book.record(group, json!({"text": group}).to_string())
    };
    let records = vec![record("a", 1200), record("a", 500), record("b", 400), record("a", 300), record("a", 200)];
    rule.submit(records).await.expect("runs");
    rule.submit(vec![record("a", 100)]).await.expect("runs");
    let Some(Message::Records(passed)) = out.next().await else { panic!("a record passes") };
    let [passed]: [Record; 1] = passed.try_into().expect("one");
    assert_eq!((&*passed.id, &passed.body[..]), ("a/5", &br#"{"text":"a","count":3,"within":"10m"}"#[..]));
    assert_eq!(book.acknowledged(), 4);
    let drained = tokio::spawn({
        let rule = rule.clone();
        async move { rule.drain().await }
    });
    assert!(matches!(out.next().await, Some(Message::Drain(_))), "nothing else passed");
    assert!(drained.await.expect("no panic").is_err(), "the drain was dropped");
    passed.ack.delivered();
    assert_eq!(book.acknowledged(), 6);
    assert_eq!(metrics.of(Kind::Jobs).records_filtered.get(), 5);
}

#[tokio::test]
async fn without_groups_and_times_all_records_count_together_and_now() {
    let (book, metrics) = (Book::new(), Metrics::new(&[Kind::Jobs]));
    let (next, mut out) = delivery::stage(16);
    let rule = spawn(RULE, metrics, next);
    rule.submit(vec![book.record("a", "1"), book.record("b", "2"), book.record("c", "\"text\"")]).await.expect("runs");
    let Some(Message::Records(passed)) = out.next().await else { panic!("a record passes") };
    // What is no object has no place for the number.
    assert_eq!(passed[0].body, "\"text\"");
    drop(rule);
    assert!(out.next().await.is_none());
}
