//! The whole program with a stand-in for SNS, and queues that get what comes to its topics: whatever becomes of calls, every
//! record arrives.

#![cfg(feature = "sns")]

mod common;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use common::{
    Setup,
    aws::{self, Aws, CREDENTIALS, assert_order},
    aws_faults, cluster, fixture_lines, flood, made,
    order::Leaps,
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use serde_json::json;

/// The program, which publishes to a topic of the SNS at `url`. It sees no machine around it, and no region but that of the topic.
fn setup(sim: &Sim, url: &str, topic: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "sns")
        .env("SINK_SNS_TOPIC_ARN", aws::arn("sns", topic))
        .env("AWS_ENDPOINT_URL_SNS", url)
        .envs(&CREDENTIALS)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_in_the_group_of_its_key_with_its_attributes() {
    let aws = Aws::shared().await;
    aws.create_topic("recording.fifo").await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, &aws.url(), "recording.fifo", "all").env("NOMAD_FIREHOSE_CLUSTER", "prod").spawn();
    let mut messages = process.until_come(due.len(), async || aws.take("recording.fifo").await).await;
    process.stop().await;
    messages.extend(aws.take("recording.fifo").await);
    let all: Vec<_> = messages.iter().map(|message| seen(&message.body)).collect();
    assert_exactly(&all, &due);
    let (mut groups, mut repeats) = (BTreeMap::new(), HashSet::new());
    for (message, seen) in messages.iter().zip(&all) {
        let attribute = |name: &str| message.attributes.get(name).map(String::as_str);
        assert_eq!((attribute("kind"), attribute("cluster")), (Some(seen.kind), Some("prod")));
        let repeat = message.repeat.as_deref().expect("a deduplication id");
        assert!(attribute("id").is_some(), "{message:?}");
        assert!(repeats.insert(repeat), "{repeat} twice");
        // What is about one object is in one group.
        let group = message.group.as_deref().expect("a group");
        assert_eq!(*groups.entry((seen.kind, &seen.key)).or_insert(group), group, "{seen:?}");
        assert_eq!(attribute("key"), Some(group));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_comes_once_from_a_fifo_topic_and_twice_with_one_id_from_another() {
    let aws = Aws::shared().await;
    for topic in ["silent.fifo", "silent"] {
        aws.create_topic(topic).await;
        let set = |sim: &Sim, url: &str| setup(sim, url, topic, "evaluations");
        let (lines, messages) = aws_faults::what_is_sent_again(&aws, set, async || aws.take(topic).await).await;
        let is_fifo = topic.ends_with(".fifo");
        let leaps = if is_fifo { Leaps::Never } else { Leaps::SentAgain };
        let repeats = assert_order(&messages, &lines, leaps);
        assert_eq!(repeats == 0, is_fifo, "{repeats} repeats from {topic}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_topic_it_waits_with_one_message_and_no_secret() {
    let aws = Aws::shared().await;
    let set = |sim: &Sim, url: &str| setup(sim, url, "late.fifo", "evaluations");
    let said = "the topic late.fifo does not exist in us-east-1; create it";
    let create = async || {
        // A topic drops what it gets before somebody subscribes.
        aws.suffer("late.fifo", json!({"error": [503, "ServiceUnavailable"]})).await;
        aws.create_topic("late.fifo").await;
        aws.suffer("late.fifo", json!({})).await;
    };
    aws_faults::is_created_late(&aws, (said, create), set, async || aws.take("late.fifo").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_access_is_reported_once_and_waited_for_and_a_refused_key_of_the_topic_too() {
    let aws = Aws::shared().await;
    aws.create_topic("refused.fifo").await;
    for (cause, said) in [
        (
            json!({"error": [403, "InvalidClientTokenId", "the token hush-hush-token is not known"]}),
            "access to the topic",
        ),
        (json!({"fail": [["{", "AuthorizationError", true]]}), "or allow sns:Publish"),
        (json!({"fail": [["{", "KMSAccessDenied", true]]}), "the key that encrypts the topic cannot be used"),
    ] {
        let set = |sim: &Sim, url: &str| setup(sim, url, "refused.fifo", "evaluations");
        let refusal = ("refused.fifo", cause, said);
        aws_faults::is_waited_for(&aws, refusal, set, async || aws.take("refused.fifo").await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_a_dead_letter_and_of_a_refused_call_only_the_guilty_record() {
    let aws = Aws::shared().await;
    aws.create_topic("large.fifo").await;
    // SNS has the last word: most topics take less than the most that one can.
    let guilty = json!([["job-33\"", 400, "InvalidParameter"]]);
    aws.suffer("large.fifo", json!({ "refuse": guilty })).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let lines: Vec<_> = (10..60).map(|n| made::job(n, n, if n == 20 { 1 << 20 } else { 100 })).collect();
    let sim = cluster(&lines).await;
    let process = setup(&sim, &aws.url(), "large.fifo", "jobs")
        .env("AWS_REGION", "eu-west-1")
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
        .spawn();
    let messages = aws.take_different("large.fifo", &process, 48).await;
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 2).await;
    process.stop().await;
    assert_eq!(messages.len(), 48);
    let letters = letters();
    let of = |job: &str| letters.lines().find(|line| line.contains(job)).expect("a letter").to_owned();
    assert!(of("job-20").contains("SNS takes 1048576 at most") && letters.lines().count() == 2, "{letters}");
    assert!(of("job-33").contains("SNS answered InvalidParameter: as it is told to"), "{letters}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_have_expired_are_read_again_from_their_file_and_the_service_sees_who_is_there() {
    let (aws, target) = (Aws::shared().await, "anew.fifo");
    aws.create_topic(target).await;
    let set = |sim: &Sim, url: &str| setup(sim, url, target, "evaluations");
    aws_faults::credentials_are_read_again(&aws, target, set, async || aws.take(target).await).await;
}

/// Every sort of fault at random, and outages of each sort.
async fn go_through(records: u64, outage: Duration) {
    let aws = Aws::start().await;
    let topic = "faults.fifo";
    aws.create_topic(topic).await;
    let set = |sim: &Sim, url: &str| setup(sim, url, topic, "evaluations");
    let repeats = aws_faults::go_through(&aws, topic, (records, outage), set, async || aws.take(topic).await).await;
    assert_eq!(repeats, 0, "a FIFO topic drops repeats");
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_partial_failures_lost_answers_and_outages_lose_nothing_and_repeat_nothing() {
    go_through(2_000, Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn throttling_partial_failures_lost_answers_and_outages_lose_nothing_of_many() {
    go_through(flood::records(20_000), Duration::from_secs(5)).await;
}
