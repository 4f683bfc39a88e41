//! Single kinds of a process change hands while the sink takes nothing.

use std::{
    collections::BTreeMap,
    process::{Child, Stdio},
    sync::Arc,
    time::Duration,
};

use nomad_sim::Sim;
use reqwest::Method;
use tokio::time::sleep;

use crate::{
    common::{Setup, collect, consul::Options, truth::seen, until},
    replicas::Scene,
};

/// Dropping it kills it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// How many kinds take turns in what happens.
const KINDS: usize = 5;
/// More than the pipe takes.
const TRANSACTIONS: usize = 3000;

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_comes_again_before_its_group_has_drained_is_read_once() {
    let mut scene = Scene::quiet(Options::default()).await;
    scene.sim = Arc::new(Sim::builder().buffer(10_000).start().await.expect("the simulator starts"));
    let setup = Setup::bare(&["run", "--resources", "jobs,nodes,evaluations"])
        .env("NOMAD_ADDR", scene.sim.url(0))
        .env("CONSUL_HTTP_ADDR", scene.consul.url())
        .env("NOMAD_FIREHOSE_COORDINATOR", "consul");
    let mut command = setup.command();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut running = Running(child);
    let (log, _) = collect(running.0.stderr.take().expect("stderr is piped"));
    let logged = |text: &str| log.lock().expect("no reader panics").iter().filter(|line| line.contains(text)).count();
    until("all are led", || logged("became leader") == 3).await;
    for _ in 0..TRANSACTIONS {
        scene.one_more().await;
    }
    // Each is lost and comes again, while what the three had read together waits for the sink.
    for (number, kind) in ["jobs", "nodes"].into_iter().enumerate() {
        scene.consul.request(Method::DELETE, &format!("kv/nomad-firehose/{kind}.lock"), "").await;
        until("the lease is lost", || logged("no longer leader") > number).await;
        until("the lease has come again", || logged("became leader") == 4 + number).await;
    }
    // These evaluations are read by nobody before all is delivered.
    for _ in 0..10 {
        scene.one_more().await;
    }
    let (pipe, journal) = (running.0.stdout.take().expect("stdout is piped"), scene.journal.clone());
    std::thread::spawn(move || journal.read(1, pipe));
    let of = |kind: &str| scene.journal.all().iter().filter(|arrival| seen(&arrival.record).kind == kind).count();
    until("what went on is read on", || of("evaluations") > TRANSACTIONS / KINDS).await;
    let before = scene.journal.len();
    for _ in 0..50 {
        scene.one_more().await;
    }
    // Three kinds are read.
    until("all arrives", || scene.journal.len() >= before + 3 * 50 / KINDS).await;
    // A second copy would come at the same moment.
    sleep(Duration::from_millis(500)).await;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    scene.journal.all()[before..].iter().for_each(|arrival| *counts.entry(arrival.record.clone()).or_default() += 1);
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(repeated.is_empty(), "{} of {} came more than once", repeated.len(), counts.len());
}
