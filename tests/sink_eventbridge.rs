//! The whole program with a stand-in for EventBridge: whatever becomes of calls, every record arrives.

#![cfg(feature = "eventbridge")]

mod common;

use std::{collections::HashSet, time::Duration};

use common::{
    Setup,
    aws::{ACCOUNT, Aws, CREDENTIALS, REGION, assert_order},
    aws_faults, cluster, fixture_lines, flood, made,
    order::Leaps,
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use serde_json::{Value, json};

/// The program, which puts events on a bus of the EventBridge at `url`. It sees no machine around it.
fn setup(sim: &Sim, url: &str, bus: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "eventbridge")
        .env("SINK_EVENT_BUS_NAME", bus)
        .env("AWS_ENDPOINT_URL_EVENTBRIDGE", url)
        .env("AWS_REGION", REGION)
        .envs(&CREDENTIALS)
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
    let mut events = process.until_come(due.len(), async || aws.take_events("recording").await).await;
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
    let bus = format!("arn:aws:events:{REGION}:{ACCOUNT}:event-bus/silent");
    let set = |sim: &Sim, url: &str| setup(sim, url, &bus, "evaluations").env("SINK_EVENT_BUS_RESOURCES", "{ID}");
    let (lines, events) = aws_faults::what_is_sent_again(&aws, set, async || aws.take_events("silent").await).await;
    assert!(assert_order(&events, &lines, Leaps::Never) > 0, "nothing was sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_put_on_a_bus_that_does_not_exist_and_would_drop_it() {
    let aws = Aws::shared().await;
    let set = |sim: &Sim, url: &str| setup(sim, url, "late", "evaluations");
    let said = "the event bus late does not exist in us-east-1; create it";
    let create = async || aws.create_bus("late").await;
    aws_faults::is_created_late(&aws, (said, create), set, async || aws.take_events("late").await).await;
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
        let set = |sim: &Sim, url: &str| setup(sim, url, "refused", "evaluations");
        let refusal = ("refused", cause, said);
        aws_faults::is_waited_for(&aws, refusal, set, async || aws.take_events("refused").await).await;
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
    let events = aws.take_different_events("large", &process, 47).await;
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
