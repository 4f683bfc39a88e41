//! The whole program with a stand-in for EventBridge: whatever becomes of calls, every record arrives.

#![cfg(feature = "eventbridge")]

mod common;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Process, Setup,
    aws::{ACCOUNT, Aws, Message, REGION},
    aws_faults, fixture_lines, flood,
    gate::Gate,
    made,
    order::{self, Leaps},
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use serde_json::{Value, json};

const SECRETS: [&str; 2] = ["hush-hush-key", "hush-hush-token"];

/// The program, which puts events on a bus of the EventBridge at `url`. It sees no machine around it.
fn setup(sim: &Sim, url: &str, bus: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "eventbridge")
        .env("SINK_EVENT_BUS_NAME", bus)
        .env("AWS_ENDPOINT_URL_EVENTBRIDGE", url)
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "AKIDTEST")
        .env("AWS_SECRET_ACCESS_KEY", SECRETS[0])
        .env("AWS_SESSION_TOKEN", SECRETS[1])
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent")
}

/// A cluster with these lines in its stream.
async fn cluster(lines: &[String]) -> Sim {
    let names = ["team-a", "team-b", "late"];
    let sim = names.iter().fold(Sim::builder().buffer(10_000), |sim, name| sim.namespace(name, 1));
    let sim = sim.start().await.expect("the simulator starts");
    sim.append_lines(lines.to_vec()).await.expect("lines of a stream");
    sim
}

/// Some keys have many versions.
fn lines(indexes: std::ops::Range<u64>) -> Vec<String> {
    indexes.map(|index| made::evaluation(index, index % 20 + 1)).collect()
}

/// Waits until so many different events have come, and gives all that have, in their order.
async fn take(aws: &Aws, bus: &str, process: &Process, events: usize) -> Vec<Message> {
    let (mut all, mut different) = (Vec::new(), HashSet::new());
    let deadline = Instant::now() + PATIENCE;
    while different.len() < events {
        assert!(Instant::now() < deadline, "{} of {events} have come:\n{}", different.len(), process.log());
        let more = aws.take_events(bus).await;
        different.extend(more.iter().map(|message| message.body.clone()));
        all.extend(more);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    all
}

fn assert_order(messages: &[Message], lines: &[String], leaps: Leaps) -> usize {
    order::assert_order(messages.iter().map(|message| message.body.as_str()), lines, leaps)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_as_the_detail_of_an_event_of_its_kind() {
    let aws = Aws::shared().await;
    aws.create_bus("recording").await;
    aws.create_queue("jobs-of-the-recording").await;
    let pattern = json!({"source": ["nomad-firehose"], "detail-type": ["jobs"]});
    aws.create_rule("recording", pattern, "jobs-of-the-recording").await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    let process = setup(&sim, &aws.url(), "recording", "all")
        .env("SINK_EVENT_BUS_RESOURCES", "{ID},nomad/{Namespace}/{JobID}")
        .spawn();
    let mut events = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while events.len() < due.len() {
        assert!(Instant::now() < deadline, "{} of {} have come:\n{}", events.len(), due.len(), process.log());
        events.extend(aws.take_events("recording").await);
    }
    process.stop().await;
    events.extend(aws.take_events("recording").await);
    let all: Vec<_> = events.iter().map(|event| seen(&event.body)).collect();
    assert_exactly(&all, &due);
    let mut ids = HashSet::new();
    for (event, seen) in events.iter().zip(&all) {
        assert_eq!((&*event.attributes["detail-type"], &*event.attributes["source"]), (seen.kind, "nomad-firehose"));
        let (id, job) = event.attributes["resources"].split_once(',').expect("two resources");
        assert!(ids.insert(id) && job.starts_with("nomad/"), "{event:?}");
        // An evaluation has the time of its change, and so has its event.
        let body: Value = serde_json::from_str(&event.body).expect("JSON");
        if let Some(time) = body["ModifyTime"].as_u64().filter(|time| seen.kind == "evaluations" && *time > 0) {
            let sent: f64 = event.attributes["time"].parse().expect("a number");
            assert_eq!(sent as u64, time / 1_000_000_000, "{event:?}");
        }
    }
    // What a target of a rule gets.
    let targets = aws.take("jobs-of-the-recording").await;
    let got: Vec<Value> = targets.iter().map(|message| serde_json::from_str(&message.body).expect("JSON")).collect();
    assert_eq!(got.len(), all.iter().filter(|seen| seen.kind == "jobs").count());
    assert!(got.iter().all(|event| event["detail"]["ID"].is_string() && event["detail-type"] == "jobs"), "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_again_comes_twice_with_one_id_and_no_record_leaps_over_another_of_its_key() {
    let aws = Aws::shared().await;
    aws.create_bus("silent").await;
    let gate = Gate::start(&aws.address()).await;
    let mut lines = lines(10..60);
    let sim = cluster(&lines).await;
    let bus = format!("arn:aws:events:{REGION}:{ACCOUNT}:event-bus/silent");
    let process = setup(&sim, &gate.url(), &bus, "evaluations").env("SINK_EVENT_BUS_RESOURCES", "{ID}").spawn();
    let mut events = take(&aws, "silent", &process, lines.len()).await;
    gate.shut_outwards();
    let more: Vec<_> = (60..110).map(|index| made::evaluation(index, index % 20 + 1)).collect();
    sim.append_lines(more.clone()).await.expect("lines of a stream");
    lines.extend(more);
    events.extend(take(&aws, "silent", &process, 1).await);
    gate.cut();
    process.until_logged("delivery failed").await;
    gate.open();
    let mut different: HashSet<_> = events.iter().map(|event| event.body.clone()).collect();
    let deadline = Instant::now() + PATIENCE;
    while different.len() < lines.len() {
        assert!(Instant::now() < deadline, "{} have come:\n{}", different.len(), process.log());
        let more = aws.take_events("silent").await;
        different.extend(more.iter().map(|event| event.body.clone()));
        events.extend(more);
    }
    process.until_logged("delivery recovered").await;
    process.stop().await;
    events.extend(aws.take_events("silent").await);
    assert!(assert_order(&events, &lines, Leaps::Never) > 0, "nothing was sent again");
    let ids: HashSet<_> = events.iter().map(|event| &event.attributes["resources"]).collect();
    assert_eq!(ids.len(), lines.len(), "a repeat has the id of the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_put_on_a_bus_that_does_not_exist_and_would_drop_it() {
    let aws = Aws::shared().await;
    let lines = lines(10..510);
    let sim = cluster(&lines).await;
    let process = setup(&sim, &aws.url(), "late", "evaluations").env("LOG_LEVEL", "trace").spawn();
    process.until_logged("the event bus late does not exist in us-east-1; create it").await;
    process.until_logged("delivery failed").await;
    aws.create_bus("late").await;
    let events = take(&aws, "late", &process, lines.len()).await;
    assert_eq!(assert_order(&events, &lines, Leaps::Never), 0);
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("target refuses every record"), 1);
    let log = process.log();
    assert!(SECRETS.iter().all(|secret| !log.contains(secret)), "a secret is shown");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_access_is_reported_once_and_waited_for_and_a_refused_source_too() {
    let aws = Aws::shared().await;
    aws.create_bus("refused").await;
    for (cause, said) in [
        (
            json!({"error": [400, "UnrecognizedClientException", "the token hush-hush-token is not known"]}),
            "access to the event bus",
        ),
        (json!({"fail": [["{", "AccessDeniedException", false]]}), "or allow events:PutEvents"),
        (json!({"fail": [["{", "NotAuthorizedForSourceException", false]]}), "NotAuthorizedForSourceException"),
    ] {
        aws.suffer("refused", cause).await;
        let lines = lines(10..60);
        let sim = cluster(&lines).await;
        let process = setup(&sim, &aws.url(), "refused", "evaluations").env("NOMAD_FIREHOSE_CLUSTER", said).spawn();
        process.until_logged(said).await;
        process.until_logged("delivery failed").await;
        aws.suffer("refused", json!({})).await;
        let events = take(&aws, "refused", &process, lines.len()).await;
        assert_eq!(assert_order(&events, &lines, Leaps::Never), 0);
        process.until_logged("delivery recovered").await;
        assert_eq!(process.logged("target refuses every record"), 1, "{}", process.log());
        assert!(!process.log().contains("hush"), "a secret is shown");
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_no_object_is_a_dead_letter_and_of_a_refused_call_only_the_guilty_record() {
    let aws = Aws::shared().await;
    aws.create_bus("large").await;
    // EventBridge has the last word: not every region need take 1 MiB.
    let guilty = json!([["job-33\"", 400, "ValidationException"]]);
    aws.suffer("large", json!({ "refuse": guilty })).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("dead");
    let lines: Vec<_> = (10..60).map(|n| made::job(n, n, if n == 20 { 1 << 20 } else { 100 })).collect();
    let sim = cluster(&lines).await;
    let process = setup(&sim, &aws.url(), "large", "jobs")
        .env("NOMAD_FIREHOSE_JQ", "if .ID == \"job-44\" then [.] else . end")
        .env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display()))
        .spawn();
    let events = take(&aws, "large", &process, 47).await;
    let letters = || std::fs::read_to_string(&file).unwrap_or_default();
    process.until("all dead letters are written", || letters().lines().count() >= 3).await;
    process.stop().await;
    assert_eq!(events.len(), 47);
    let letters = letters();
    let of = |job: &str| letters.lines().find(|line| line.contains(job)).expect("a letter").to_owned();
    assert!(of("job-20").contains("EventBridge takes 1048576 at most") && letters.lines().count() == 3, "{letters}");
    assert!(of("job-33").contains("EventBridge answered ValidationException: as it is told to"), "{letters}");
    assert!(of("job-44").contains("not a JSON object"), "{letters}");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_have_expired_are_read_again_from_their_file_and_the_service_sees_who_is_there() {
    let (aws, target) = (Aws::shared().await, "anew");
    aws.create_bus(target).await;
    let set = |sim: &Sim, url: &str| setup(sim, url, target, "evaluations");
    aws_faults::credentials_are_read_again(&aws, target, set, async || aws.take_events(target).await).await;
}

/// Every sort of fault at random, and outages of each sort.
async fn go_through(records: u64, outage: Duration) {
    let aws = Aws::start().await;
    let bus = "faults";
    aws.create_bus(bus).await;
    let set = |sim: &Sim, url: &str| setup(sim, url, bus, "evaluations").env("SINK_EVENT_BUS_RESOURCES", "{ID}");
    aws_faults::go_through(&aws, bus, (records, outage), set, async || aws.take_events(bus).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_partial_failures_lost_answers_and_outages_lose_nothing() {
    go_through(2_000, Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn throttling_partial_failures_lost_answers_and_outages_lose_nothing_of_many() {
    go_through(flood::records(20_000), Duration::from_secs(5)).await;
}
