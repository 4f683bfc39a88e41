//! Raw events of a topic that is added to a checkpoint: what the topic had before is reported, once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nomad_sim::Sim;
use serde_json::{Value, json};

use crate::common::{
    Setup, Signal,
    server::{Reply, Server},
};
use crate::support::*;

const ADDED: &str = "topics added without their earlier events";

/// A cluster with evaluations up to 9 and nodes from 10 to 12.
async fn cluster() -> Sim {
    let sim = Sim::builder().start().await.expect("starts");
    append_evaluations(&sim, 8..=9).await;
    append_nodes(&sim, 10..=12).await;
    sim
}

async fn append_nodes(sim: &Sim, indexes: std::ops::RangeInclusive<u64>) {
    let lines: Vec<_> = indexes.map(|index| node(index, index)).collect();
    sim.append_lines(lines).await.expect("lines of events");
}

/// What a run with these topics prints, of so many lines at least, how often it says that topics were added, and the
/// gaps it counts.
async fn run(setup: &Setup, ports: &Ports, topics: &str, lines: usize) -> (Vec<(Value, Value)>, usize, u64) {
    let process = setup.clone().env("NOMAD_FIREHOSE_TOPICS", topics).spawn();
    process.until_printed(lines).await;
    let gaps = metric(ports.base, "nomad_firehose_gaps_total{kind=\"events\"}").await;
    let logged = process.logged(ADDED);
    let printed = process.stop().await;
    let records = printed.iter().map(|record| serde_json::from_str::<Value>(record).expect("JSON"));
    let told = |record: Value| match record["Topic"] == "Firehose" {
        true => (record["Index"].clone(), record["Payload"]["Gap"].clone()),
        false => (record["Index"].clone(), record["Topic"].clone()),
    };
    (records.map(told).collect(), logged, gaps)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_added_is_reported_once() {
    let (sim, dir, ports) = (cluster().await, tempfile::tempdir().expect("a directory"), Ports::reserve());
    let setup = Setup::new(&["events"], &sim.url(0)).data_dir(dir.path());
    let setup = setup.env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let event = |index: u64, topic: &str| (json!(index), json!(topic));
    let gap =
        |until: u64, topics: &[&str]| (json!(until), json!({"FromIndex": 0, "UntilIndex": until, "Topics": topics}));
    let nodes = [10, 11, 12].map(|index| event(index, "Node")).to_vec();
    assert_eq!(run(&setup, &ports, "Node", 3).await, (nodes, 0, 0), "a first start misses nothing");

    append_evaluations(&sim, 20..=20).await;
    let grown = vec![gap(13, &["Evaluation"]), event(20, "Evaluation")];
    assert_eq!(run(&setup, &ports, "Node,Evaluation", 2).await, (grown, 1, 1));

    // Two nodes each, so that the event before the last one is in the next subscription, too.
    let two = |index| vec![event(index, "Node"), event(index + 1, "Node")];
    append_nodes(&sim, 30..=31).await;
    assert_eq!(run(&setup, &ports, "Evaluation,Node", 2).await, (two(30), 0, 0), "it is reported once");

    append_nodes(&sim, 40..=41).await;
    assert_eq!(run(&setup, &ports, "Node", 2).await, (two(40), 0, 0), "fewer topics miss nothing");

    append_nodes(&sim, 50..=51).await;
    let all = [&[gap(42, &["*"])], &two(50)[..]].concat();
    assert_eq!(run(&setup, &ports, "*", 3).await, (all, 1, 1), "they are added again");

    append_nodes(&sim, 60..=61).await;
    assert_eq!(run(&setup, &ports, "Job:web,Node", 2).await, (two(60), 0, 0), "`*` had all of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_topic_is_reported_again_with_the_same_id_until_the_report_is_acknowledged() {
    let (sim, dir) = (cluster().await, tempfile::tempdir().expect("a directory"));
    let answers = Arc::new(AtomicBool::new(true));
    let decide = Arc::clone(&answers);
    let reply = move |_: &str| if decide.load(Ordering::SeqCst) { Reply::Take } else { Reply::TakeAndStall };
    let server = Server::start(reply).await;
    let setup = Setup::new(&["events"], &sim.url(0))
        .data_dir(dir.path())
        .env("SINK_TYPE", "http")
        .env("SINK_HTTP_FORMAT", "single")
        .env("SINK_HTTP_ADDRESS", server.url());
    let process = setup.clone().env("NOMAD_FIREHOSE_TOPICS", "Node").spawn();
    process.until("records are taken", || server.keys().len() >= 3).await;
    process.stop().await;

    let setup = setup.env("NOMAD_FIREHOSE_TOPICS", "Node,Evaluation");
    answers.store(false, Ordering::SeqCst);
    let process = setup.spawn();
    process.until("the report is taken", || server.keys().len() > 3).await;
    process.end_by(Signal::KILL).await;
    let unanswered = server.keys().len();

    answers.store(true, Ordering::SeqCst);
    let process = setup.spawn();
    process.until("it is taken again", || server.keys().len() > unanswered).await;
    process.stop().await;
    let keys = server.keys();
    assert!(keys[3].starts_with("events/13/gap/*/0/"), "{}", keys[3]);
    assert!(keys[3..].iter().all(|key| *key == keys[3]), "one report: {keys:?}");

    append_nodes(&sim, 30..=30).await;
    let process = setup.spawn();
    process.until("a node is taken", || server.keys().len() > keys.len()).await;
    process.stop().await;
    let topics: Vec<_> = server.taken_since(keys.len()).iter().map(|record| record["Topic"].clone()).collect();
    assert_eq!(topics, ["Node"], "it is reported once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_names_no_topics_reports_nothing_and_takes_those_that_are_wanted() {
    let (sim, dir, ports) = (cluster().await, tempfile::tempdir().expect("a directory"), Ports::reserve());
    let setup = Setup::new(&["events"], &sim.url(0)).data_dir(dir.path());
    let setup = setup.env("NOMAD_FIREHOSE_LISTEN", ports.address());
    assert_eq!(run(&setup, &ports, "Node", 3).await.0.len(), 3);
    let path = dir.path().join("events.json");
    let stored =
        || -> Value { serde_json::from_slice(&std::fs::read(&path).expect("the checkpoint is stored")).expect("JSON") };
    let mut older = stored();
    let lane = older["lanes"]["*"].as_object_mut().expect("the lane");
    assert_eq!(lane.remove("topics"), Some(json!(["Node"])));
    std::fs::write(&path, older.to_string()).expect("there is room");

    append_evaluations(&sim, 20..=20).await;
    let (printed, logged, gaps) = run(&setup, &ports, "Node,Evaluation", 1).await;
    assert_eq!((printed, logged, gaps), (vec![(json!(20), json!("Evaluation"))], 0, 0));
    assert_eq!(stored()["lanes"]["*"]["topics"], json!(["Evaluation", "Node"]));
}
