//! What the simulator was asked, and a look at a running program.

#![allow(unreachable_pub, reason = "shared by the tests of one program")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use nomad_sim::{Line, Sim};
use serde_json::Value;

use crate::common::{
    Process,
    truth::{ALL, Seen, by_key, expected},
    until,
};
pub use crate::common::{
    made::*,
    ports::Ports,
    probe::{get, metric},
};

/// How many kinds have a list: all but raw events.
pub const LISTS: usize = ALL.len() - 1;

/// Appends evaluations, a new one at each of these indexes.
pub async fn append_evaluations(sim: &Sim, indexes: std::ops::RangeInclusive<u64>) {
    let lines: Vec<_> = indexes.map(|index| evaluation(index, index)).collect();
    sim.append_lines(lines).await.expect("lines of events");
}

/// The text of published lines.
pub fn texts(lines: &[Arc<Line>]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8(line.raw.to_vec()).expect("UTF-8")).collect()
}

/// What all lines published so far must bring for these kinds.
pub fn expected_of(sim: &Sim, kinds: &[&str]) -> Vec<Seen> {
    let lines = texts(&sim.truth());
    kinds.iter().flat_map(|kind| expected(kind, &lines)).collect()
}

/// The requests for a page of a list that is more than the look at the table's index.
pub fn full_lists(sim: &Sim) -> Vec<String> {
    let lists = ["allocations", "nodes", "evaluations", "jobs", "deployments"].map(|name| format!("/v1/{name}?"));
    let targets = sim.requests().into_iter().map(|request| request.target);
    let asked = targets.filter(|target| lists.iter().any(|list| target.starts_with(list)));
    asked.filter(|target| !target.split(['?', '&']).any(|part| part == "per_page=1")).collect()
}

/// How many looks at a table's index there were.
pub fn table_looks(sim: &Sim) -> usize {
    sim.requests().iter().filter(|request| request.target.split(['?', '&']).any(|part| part == "per_page=1")).count()
}

/// How often a stream was asked for.
pub fn subscriptions(sim: &Sim) -> usize {
    sim.requests().iter().filter(|request| request.target.starts_with("/v1/event/stream")).count()
}

/// Closes all connections, and waits until the program has a stream again.
pub async fn reconnect(sim: &Sim, process: &Process) {
    let before = subscriptions(sim);
    sim.server(0).drop_connections();
    process.until("it subscribes again", || subscriptions(sim) > before && sim.server(0).open_streams() > 0).await;
}

/// Refuses connections, and waits until the stream that was open is closed: what is appended from then on is not sent.
pub async fn refuse(sim: &Sim) {
    sim.server(0).refuse(true);
    until("the stream is closed", || sim.server(0).open_streams() == 0).await;
}

/// Nothing of it comes twice.
pub fn assert_no_repeats(printed: &[Seen]) {
    let mut seen = BTreeSet::new();
    let repeated: Vec<_> = printed.iter().filter(|record| !seen.insert(*record)).collect();
    assert!(repeated.is_empty(), "printed twice: {repeated:#?}");
}

/// The newest version of everything that the truth has, but for what is gone.
pub fn newest(truth: &[Seen]) -> BTreeMap<(&str, &str), &str> {
    by_key(truth).into_iter().filter_map(|(key, versions)| Some((key, *versions.last()?))).collect()
}

/// A list as the cluster has it now.
pub async fn list(sim: &Sim, name: &str) -> Vec<Value> {
    let text = get(&format!("{}/v1/{name}?namespace=*", sim.url(0))).await;
    serde_json::from_str(&text).expect("a list")
}

/// The most memory that a process had at any time, in bytes.
pub fn peak_memory(process: u32) -> usize {
    crate::common::peak_memory(process).try_into().expect("a size")
}

/// Waits until a stream is open.
pub async fn until_stream(sim: &Sim) {
    crate::common::until("a stream is open", || sim.server(0).open_streams() > 0).await;
}
