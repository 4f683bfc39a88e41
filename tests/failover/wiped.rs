//! Somebody deletes the keys in Consul: a standby that has seen a heartbeat waits until that lease is over all the same,
//! and goes on from where the leader was.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::{
    common::{Signal, gate::Gate, truth::ALL},
    journal::{assert_one_at_a_time, spans},
    replicas::{Replica, Scene, next_leader},
    rival::key,
};

/// The leases of `Scene::pair` in these tests: a heartbeat each 3.3 s.
const LEASE: u64 = 10;
const FIRST_START: &str = "checkpoint=none";

/// Deletes the locks and heartbeats of all kinds at once.
async fn delete_leases(scene: &Scene) {
    let keys = ALL.into_iter().flat_map(|kind| ["lock", "heartbeat"].map(|end| key(kind, end)));
    let ops: Vec<_> = keys.map(|key| json!({"KV": {"Verb": "delete", "Key": key}})).collect();
    assert_eq!(scene.consul.txn(json!(ops)).await.0, 200);
}

/// As `consul kv delete -recurse`.
async fn delete_all(scene: &Scene) {
    assert_eq!(scene.consul.request(Method::DELETE, "kv/nomad-firehose/?recurse", "").await.0, 200);
}

/// Of each kind, the second one's first record came after all of the first one's, however many came.
fn assert_apart(scene: &Scene, first: usize, second: usize) {
    for (kind, spans) in spans(&scene.journal.all()) {
        let last = spans.iter().rfind(|span| span.replica == first).map(|span| span.end);
        let begin = spans.iter().find(|span| span.replica == second).map(|span| span.begin);
        if let (Some(last), Some(begin)) = (last, begin) {
            assert!(last < begin, "{kind}: two leaders for {:?}", last - begin);
        }
    }
}

fn leads(replicas: &[Replica]) -> usize {
    replicas.iter().map(|replica| replica.logged("became leader")).sum()
}

/// The keys go while both replicas are well: the leader notices with its next heartbeat, and whoever leads after it goes
/// on.
async fn are_deleted_under_a_leader_that_is_well(scene: &mut Scene, all: bool) {
    let replicas = scene.pair(LEASE).await;
    scene.until_beats("jobs", scene.heartbeat("jobs").await).await;
    let gone = Instant::now();
    match all {
        true => delete_all(scene).await,
        false => delete_leases(scene).await,
    }
    let deadline = gone + crate::common::PATIENCE;
    while replicas[0].logged("no longer leader") < ALL.len() || leads(&replicas) < 2 * ALL.len() {
        assert!(Instant::now() < deadline, "not led again:\n{}\n{}", replicas[0].log(), replicas[1].log());
        sleep(Duration::from_millis(20)).await;
    }
    println!("led again {:?} after the keys were deleted", gone.elapsed());
    sleep(Duration::from_secs(1)).await;
    let lines = scene.rest().await;
    scene.until_whole(&lines).await;
    assert_one_at_a_time(&scene.journal.all());
    assert_apart(scene, replicas[0].number, replicas[1].number);
    let first_starts: usize = replicas.iter().map(|replica| replica.logged(FIRST_START)).sum();
    assert_eq!(first_starts, ALL.len(), "from the beginning again:\n{}\n{}", replicas[0].log(), replicas[1].log());
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_locks_and_heartbeats_make_no_two_leaders() {
    let mut scene = Scene::busy().await;
    are_deleted_under_a_leader_that_is_well(&mut scene, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_prefix_makes_no_two_leaders_and_no_first_start() {
    let mut scene = Scene::busy().await;
    are_deleted_under_a_leader_that_is_well(&mut scene, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_know_is_silent_before_the_next_one_begins() {
    let mut scene = Scene::busy().await;
    let address = scene.consul.url().replace("http://", "");
    let gate = Gate::start(&address).await;
    let leader = scene.leader_with(|setup| setup.env("CONSUL_HTTP_ADDR", gate.url())).await;
    let standby = scene.replica();
    scene.until_held_by(&standby).await;
    // What is told by then, the standby has seen when the next one comes.
    scene.until_beats("jobs", scene.heartbeat("jobs").await).await;
    gate.shut();
    let cut = Instant::now();
    delete_all(&scene).await;
    let (took, _) = next_leader(&scene, leader.number, cut).await;
    println!("{took:?} from the cut to the next record");
    sleep(Duration::from_secs(1)).await;
    assert_apart(&scene, leader.number, standby.number);
    assert_eq!(standby.logged(FIRST_START), 0, "{}", standby.log());
    gate.open();
    scene.settle(&[leader, standby]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_goes_on_from_the_position_that_it_knew() {
    let mut scene = Scene::busy().await;
    let mut leader = scene.leader().await;
    let standby = scene.replica();
    scene.until_held_by(&standby).await;
    let mut told = Vec::new();
    for kind in ALL {
        told.push((kind, scene.told(kind).await));
    }
    scene.until_beats("jobs", scene.heartbeat("jobs").await).await;
    let when = Instant::now();
    leader.signal(Signal::KILL);
    leader.end().await;
    delete_all(&scene).await;
    let (took, _) = next_leader(&scene, leader.number, when).await;
    println!("{took:?} from the kill to the next record");
    assert!(took >= Duration::from_secs(4), "it waits for the lease: {took:?}");
    let repeats = scene.settle(&[leader, standby]).await;
    println!("{} records came again", repeats.len());
    for repeat in repeats.iter().filter(|repeat| repeat.kind != "allocations") {
        let (_, told) = told.iter().find(|(kind, _)| *kind == repeat.kind).expect("each kind has one");
        assert!(repeat.index >= *told, "{repeat:?} was told to be delivered: {told}");
    }
}
