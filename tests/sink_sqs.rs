//! The whole program with a stand-in for SQS: whatever becomes of calls, every record arrives.

#![cfg(feature = "sqs")]

mod common;

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use common::{
    Setup, Signal,
    aws::{ACCOUNT, Aws, CREDENTIALS, REGION, assert_order},
    aws_faults::{self, Passed, Run},
    cluster,
    elasticmq::ElasticMq,
    fixture_lines, flood, made,
    order::Leaps,
    tls::{Authority, Front},
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use serde_json::{Value, json};

/// The program, which sends to a queue of the SQS at `url`. It sees no machine around it.
fn setup(sim: &Sim, url: &str, queue: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "sqs")
        .env("SINK_SQS_QUEUE_NAME", queue)
        .env("AWS_ENDPOINT_URL_SQS", url)
        .env("AWS_REGION", REGION)
        .envs(&CREDENTIALS)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_in_the_group_of_its_key_with_its_attributes() {
    let aws = Aws::shared().await;
    aws.create_queue("recording.fifo").await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, &aws.url(), "recording.fifo", "all").env("NOMAD_FIREHOSE_CLUSTER", "prod \u{e9}").spawn();
    let mut messages = process.until_come(due.len(), async || aws.take("recording.fifo").await).await;
    process.stop().await;
    messages.extend(aws.take("recording.fifo").await);
    let all: Vec<_> = messages.iter().map(|message| seen(&message.body)).collect();
    assert_exactly(&all, &due);
    let (mut groups, mut repeats) = (BTreeMap::new(), HashSet::new());
    for (message, seen) in messages.iter().zip(&all) {
        let attribute = |name: &str| message.attributes.get(name).map(String::as_str);
        assert_eq!(attribute("kind"), Some(seen.kind));
        assert_eq!(attribute("cluster"), Some("prod \u{e9}"));
        assert_eq!(attribute("namespace").is_none(), seen.kind == "nodes" || seen.key.contains("  "), "{seen:?}");
        // The cluster's name makes it one that SQS does not take: it is hashed.
        let repeat = message.repeat.as_deref().expect("a deduplication id");
        assert!(attribute("id").is_some() && repeat.starts_with("xxh3-"), "{message:?}");
        assert!(repeats.insert(repeat), "{repeat} twice");
        // What is about one object is in one group.
        let group = message.group.as_deref().expect("a group");
        assert_eq!(*groups.entry((seen.kind, &seen.key)).or_insert(group), group, "{seen:?}");
        assert_eq!(attribute("key"), Some(group));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_event_has_its_attributes_beside_the_message_or_in_it() {
    let aws = Aws::shared().await;
    aws.create_queue("events").await;
    for envelope in ["cloudevents-binary", "cloudevents"] {
        let sim = cluster(&[made::evaluation(20, 1)]).await;
        let setup = setup(&sim, &aws.url(), "events", "evaluations").env("SINK_ENVELOPE", envelope);
        let process = setup.env("NOMAD_FIREHOSE_CLUSTER", "prod").spawn();
        let message = aws.take_different("events", &process, 1).await.pop().expect("one message");
        process.stop().await;
        let body: Value = serde_json::from_str(&message.body).expect("JSON");
        let is_binary = envelope == "cloudevents-binary";
        for (name, value) in [
            ("specversion", "1.0"),
            ("source", "/nomad/prod/evaluations"),
            ("type", "nomad-firehose.evaluation.version"),
            ("nomadindex", "20"),
        ] {
            let beside = message.attributes.get(&format!("ce-{name}")).map(String::as_str);
            assert_eq!(beside, is_binary.then_some(value), "{name}");
            assert_eq!(body[name].as_str(), (!is_binary).then_some(value), "{name}");
        }
        assert!(message.attributes.len() <= 10, "{:?}", message.attributes);
        let content_type = message.attributes.get("content-type").map(String::as_str);
        assert_eq!(content_type, (!is_binary).then_some("application/cloudevents+json"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_comes_once_from_a_fifo_queue_and_twice_with_one_id_from_another() {
    let aws = Aws::shared().await;
    for queue in ["silent.fifo", "silent"] {
        aws.create_queue(queue).await;
        let set = |sim: &Sim, url: &str| setup(sim, url, queue, "evaluations");
        let (lines, messages) = aws_faults::what_is_sent_again(&aws, set, async || aws.take(queue).await).await;
        let is_fifo = queue.ends_with(".fifo");
        let leaps = if is_fifo { Leaps::Never } else { Leaps::SentAgain };
        let repeats = assert_order(&messages, &lines, leaps);
        assert_eq!(repeats == 0, is_fifo, "{repeats} repeats from {queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_queue_it_waits_with_one_message_and_no_secret() {
    let aws = Aws::shared().await;
    let set = |sim: &Sim, url: &str| setup(sim, url, "late.fifo", "evaluations");
    let said = "the queue late.fifo does not exist in us-east-1; create it";
    let create = async || aws.create_queue("late.fifo").await;
    aws_faults::is_created_late(&aws, (said, create), set, async || aws.take("late.fifo").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_access_is_reported_once_and_waited_for_and_a_refused_key_of_the_queue_too() {
    let aws = Aws::shared().await;
    aws.create_queue("refused.fifo").await;
    for (cause, said) in [
        (
            json!({"error": [403, "InvalidClientTokenId", "the token hush-hush-token is not known"]}),
            "access to the queue",
        ),
        (json!({"fail": [["{", "KMS.AccessDeniedException", true]]}), "the key that encrypts the queue cannot be used"),
    ] {
        let set = |sim: &Sim, url: &str| setup(sim, url, "refused.fifo", "evaluations");
        let refusal = ("refused.fifo", cause, said);
        aws_faults::is_waited_for(&aws, refusal, set, async || aws.take("refused.fifo").await).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_a_dead_letter_and_of_a_refused_call_only_the_guilty_record() {
    let aws = Aws::shared().await;
    aws.create_queue("large.fifo").await;
    // SQS has the last word: a queue can be set to take less.
    let guilty = json!([["job-33\"", 400, "InvalidParameterValue"]]);
    aws.suffer("large.fifo", json!({ "refuse": guilty })).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let lines: Vec<_> = (10..60).map(|n| made::job(n, n, if n == 20 { 1 << 20 } else { 100 })).collect();
    let sim = cluster(&lines).await;
    let queue = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:large.fifo");
    let process = setup(&sim, &aws.url(), &queue, "jobs")
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
    assert!(of("job-20").contains("SQS takes 1048576 at most") && letters.lines().count() == 2, "{letters}");
    assert!(of("job-33").contains("SQS answered InvalidParameterValue: as it is told to"), "{letters}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_can_be_a_url_and_a_character_that_no_message_can_have_arrives_all_the_same() {
    let aws = Aws::shared().await;
    aws.create_queue("url").await;
    let line = made::evaluation(10, 1).replace("\"Status\":\"", "\"StatusDescription\":\"a\u{ffff}b\",\"Status\":\"");
    let sim = cluster(&[line]).await;
    let url = format!("{}/{ACCOUNT}/url", aws.url());
    let process = setup(&sim, "", &url, "evaluations").without("AWS_ENDPOINT_URL_SQS").spawn();
    let message = aws.take_different("url", &process, 1).await.pop().expect("one message");
    process.stop().await;
    assert!(message.body.contains("\"a\\uffffb\""), "{}", message.body);
    let body: Value = serde_json::from_str(&message.body).expect("JSON");
    assert_eq!(body["StatusDescription"], "a\u{ffff}b");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_who_is_trusted_is_sent_to() {
    let aws = Aws::shared().await;
    aws.create_queue("tls.fifo").await;
    let directory = tempfile::tempdir().expect("a directory");
    let (authority, file) = (Authority::new(), directory.path().join("ca.pem"));
    std::fs::write(&file, authority.pem()).expect("a file");
    let front = Front::start(authority.server("localhost", false), &aws.address()).await;
    let lines = made::evaluations(10..60, 20);
    let sim = cluster(&lines).await;
    let url = format!("https://localhost:{}", front.address.port());
    let setup = setup(&sim, &url, "tls.fifo", "evaluations");
    let process = setup.spawn();
    process.until_logged("signed by an unknown authority").await;
    process.end_by(Signal::KILL).await;
    let process = setup.env("AWS_CA_BUNDLE", &file).spawn();
    let messages = aws.take_different("tls.fifo", &process, lines.len()).await;
    process.stop().await;
    assert_eq!(assert_order(&messages, &lines, Leaps::Never), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_have_expired_are_read_again_from_their_file_and_the_service_sees_who_is_there() {
    let (aws, target) = (Aws::shared().await, "anew.fifo");
    aws.create_queue(target).await;
    let set = |sim: &Sim, url: &str| setup(sim, url, target, "evaluations");
    aws_faults::credentials_are_read_again(&aws, target, set, async || aws.take(target).await).await;
}

/// Every sort of fault at random, and outages of each sort.
async fn go_through(records: u64, outage: Duration) {
    let aws = Aws::start().await;
    let queue = "faults.fifo";
    aws.create_queue(queue).await;
    let set = |sim: &Sim, url: &str| setup(sim, url, queue, "evaluations");
    let repeats = aws_faults::go_through(&aws, queue, (records, outage), set, async || aws.take(queue).await).await;
    assert_eq!(repeats, 0, "a FIFO queue drops repeats");
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

/// It cannot take many records: for each message of a FIFO queue, it goes through the deduplication ids of five minutes.
#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_queue_of_another_server_gets_each_record_once_and_in_order_through_outages() {
    let elasticmq = ElasticMq::start().await;
    let queue = "nomad.fifo";
    elasticmq.create_queue(queue).await;
    let (records, outage) = (2_000, Duration::from_millis(300));
    let run = Run { address: &elasticmq.address(), records, outage };
    let set = |sim: &Sim, url: &str| setup(sim, url, queue, "evaluations");
    let stops = |stops| if stops { elasticmq.pause() } else { elasticmq.resume() };
    let passed = aws_faults::through_outages(run, set, async || elasticmq.take(queue).await, stops).await;
    let Passed { repeats, peak, took } = passed;
    println!("{records} records through ElasticMQ, {repeats} repeats, {} MiB, {took:?}", peak >> 20);
    assert_eq!(repeats, 0, "a FIFO queue drops repeats");
}
