//! Stopped cleanly and started again at every line, index and event of the recording: each thing comes exactly once, in order.

mod common;

use common::{
    Setup, fixture_lines,
    truth::{ALL, Seen, all_seen, assert_exactly, expected_by_line},
};
use nomad_sim::Sim;
use serde_json::{Value, json};

const RECORDING: &str = "stream-complete.ndjson";

/// A cluster in which nothing has happened yet, and which has the recording's namespaces.
async fn new_cluster() -> Sim {
    let names = ["team-a", "team-b", "late"];
    let sim = names.iter().fold(Sim::builder().buffer(1_000), |sim, name| sim.namespace(name, 1));
    sim.start().await.expect("the simulator starts")
}

/// What each line must bring for all of these kinds.
fn by_line(kinds: &[&str], lines: &[String]) -> Vec<Vec<Seen>> {
    let mut all = vec![Vec::new(); lines.len()];
    for kind in kinds {
        all.iter_mut().zip(expected_by_line(kind, lines)).for_each(|(all, seen)| all.extend(seen));
    }
    all
}

/// Publishes the groups of lines one after the other, and stops and starts the program after each.
async fn stopped_after_each(groups: &[&[String]]) {
    let (sim, data_dir) = (new_cluster().await, tempfile::tempdir().expect("a directory"));
    let setup = Setup::new(&["run", "--resources", "all,events"], &sim.url(0)).data_dir(data_dir.path());
    let kinds: Vec<_> = ALL.into_iter().chain(["events"]).collect();
    let mut due = by_line(&kinds, &groups.concat()).into_iter();
    let (mut printed, mut expected) = (Vec::new(), Vec::new());
    let mut asked_at_first = None;
    for group in groups {
        let process = setup.spawn();
        sim.append_lines(group.iter().cloned()).await.expect("lines of a stream");
        let due = due.by_ref().take(group.len()).flatten().collect::<Vec<_>>();
        process.until_printed(due.len()).await;
        printed.extend(process.stop().await);
        expected.extend(due);
        asked_at_first.get_or_insert_with(|| sim.requests().len());
    }
    // What was sent once more than it should have been comes by now.
    let process = setup.spawn();
    process.until_logged("subscribed to the event stream").await;
    printed.extend(process.stop().await);
    assert_exactly(&all_seen(&printed), &expected);
    // The first start has to read the lists. From then on the stream itself proves that nothing was missed.
    let later = sim.requests().split_off(asked_at_first.expect("there are groups"));
    let lists: Vec<_> = later.iter().filter(|request| request.target.contains("per_page=500")).collect();
    assert!(lists.is_empty(), "{lists:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_every_line_everything_comes_once() {
    let lines = fixture_lines(RECORDING);
    stopped_after_each(&lines.chunks(1).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_every_index_everything_comes_once() {
    let lines = fixture_lines(RECORDING);
    let index = |line: &String| serde_json::from_str::<Value>(line).expect("a line is JSON")["Index"].clone();
    stopped_after_each(&lines.chunk_by(|one, other| index(one) == index(other)).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_at_every_event_everything_comes_once() {
    let lines: Vec<_> = fixture_lines(RECORDING).iter().flat_map(|line| one_line_an_event(line)).collect();
    assert_eq!(lines.len(), 476);
    stopped_after_each(&lines.chunks(1).collect::<Vec<_>>()).await;
}

/// The events of a line as lines of their own: Nomad does publish one index in several lines.
fn one_line_an_event(line: &str) -> Vec<String> {
    let line: Value = serde_json::from_str(line).expect("a line is JSON");
    let events = line["Events"].as_array().expect("events");
    events.iter().map(|event| json!({"Index": line["Index"], "Events": [event]}).to_string()).collect()
}
