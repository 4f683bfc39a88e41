//! The leader is killed at a random moment, in a cluster that turns its buffer over within two seconds.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    common::{Signal, seed, truth::ALL},
    journal::assert_one_at_a_time,
    replicas::{Scene, is_chaos, next_leader, print_times, rounds},
};

/// From the kill to the next record, with the default settings. A machine that does much else is only held to being
/// quicker than Consul, which would take more than twenty seconds.
fn longest() -> Duration {
    Duration::from_secs(if is_chaos() { 6 } else { 15 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_within_seconds_and_no_version_is_lost() {
    let mut random = fastrand::Rng::with_seed(seed());
    let mut scene = Scene::busy().await;
    let mut replicas = vec![scene.leader().await];
    let mut leader = replicas[0].number;
    replicas.extend([scene.replica(), scene.replica()]);
    let mut times = Vec::new();
    // What the heartbeats told at each kill, and how much had arrived by then.
    let mut kills = Vec::new();
    for _ in 0..rounds(2) {
        for replica in replicas.iter().filter(|replica| replica.number != leader) {
            scene.until_held_by(replica).await;
        }
        // The moment of the kill is what is random, so this one does sleep.
        sleep(Duration::from_millis(random.u64(500..3000))).await;
        let at = replicas.iter().position(|replica| replica.number == leader).expect("it runs");
        let mut killed = replicas.remove(at);
        let when = Instant::now();
        killed.signal(Signal::KILL);
        killed.end().await;
        let mut told = Vec::new();
        for kind in ALL {
            told.push((kind, scene.told(kind).await));
        }
        kills.push((scene.journal.len(), told));
        let (took, next) = next_leader(&scene, leader, when).await;
        times.push(took);
        leader = next;
        replicas.push(scene.replica());
    }
    let repeats = scene.settle(&replicas).await;
    assert_one_at_a_time(&scene.journal.all());
    let took = print_times("kill to next record", &mut times);
    println!("{} records came again after {} kills", repeats.len(), kills.len());
    for repeat in &repeats {
        let (_, told) = kills.iter().rfind(|(arrived, _)| *arrived <= repeat.number).expect("a kill before it");
        let (_, told) = told.iter().find(|(kind, _)| *kind == repeat.kind).expect("each kind has one");
        assert!(repeat.index >= *told, "{repeat:?} was told to be delivered: {told}");
    }
    assert!(took <= longest(), "{took:?}");
    for replica in &replicas {
        assert_eq!(replica.logged("gap detected"), 0, "{}", replica.log());
    }
}
