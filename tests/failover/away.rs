//! Consul itself goes away: the leader goes on until its deadline, stands still, and goes on when Consul is back.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    journal::{assert_one_at_a_time, check},
    replicas::{Scene, is_chaos, next_leader, rounds},
};

/// So long that Consul restarts, or goes on after a pause, well within it on a machine that does much else.
const LONG: u64 = 15;

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_consul_changes_no_leader() {
    let mut scene = Scene::busy().await;
    let replicas = scene.pair(LONG).await;
    let [leader, other] = [replicas[0].number, replicas[1].number];
    let session = scene.consul.holder("nomad-firehose/jobs.lock").await.expect("it is led");
    for _ in 0..rounds(2) {
        let down = Instant::now();
        scene.consul.restart().await;
        let back = Instant::now();
        let (took, who) = next_leader(&scene, 0, back).await;
        println!(
            "down for {:?}, {took:?} from the return of Consul to the next record, by replica {who}",
            back.duration_since(down)
        );
        assert_eq!(who, leader, "its session had survived");
        scene.until_beats("jobs", scene.heartbeat("jobs").await).await;
        assert_eq!(scene.consul.holder("nomad-firehose/jobs.lock").await.as_ref(), Some(&session));
    }
    let repeats = scene.settle(&replicas).await;
    assert!(repeats.is_empty(), "{repeats:?}");
    assert_eq!(scene.journal.last_of(other).map(|arrival| arrival.record), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consul_that_is_down_for_long_gives_no_two_leaders() {
    let down = Duration::from_secs(if is_chaos() { 60 } else { 8 });
    let mut scene = Scene::busy().await;
    let mut replicas = [scene.leader().await, scene.replica()];
    let leader = replicas[0].number;
    replicas[1].until_ready().await;
    scene.consul.kill();
    let killed = Instant::now();
    sleep(down).await;
    // The lease is 4 s, less a margin: from then on nobody sends anything. What was sent before may arrive a little later.
    let silent = killed + Duration::from_secs(5);
    for replica in &replicas {
        assert_eq!(scene.journal.count_after(replica.number, silent), 0, "replica {}", replica.number);
    }
    scene.consul.restart().await;
    let back = Instant::now();
    let (took, who) = next_leader(&scene, 0, back).await;
    println!("{took:?} from the return of Consul to the next record, by replica {who}; before it was {leader}");
    sleep(Duration::from_secs(3)).await;
    let lines = scene.rest().await;
    // Where the window was full for too long, the list gave final versions: their order and the report are held.
    if replicas.iter().all(|replica| replica.logged("gap detected") == 0) {
        scene.until_whole(&lines).await;
        check(&scene.journal.all(), &lines, true);
    }
    assert_one_at_a_time(&scene.journal.all());
    for replica in &mut replicas {
        replica.signal(crate::common::Signal::TERM);
        assert_eq!(replica.end().await, Some(0), "{}", replica.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consul_that_answers_slowly_is_waited_for() {
    let mut scene = Scene::busy().await;
    // A heartbeat each 3.3 s.
    let replicas = scene.pair(10).await;
    let leader = replicas[0].number;
    let mut before = 0;
    for _ in 0..rounds(3) {
        scene.until_beats("jobs", before).await;
        // The next one falls into the pause.
        sleep(Duration::from_millis(2000)).await;
        before = scene.heartbeat("jobs").await;
        scene.consul.pause();
        sleep(Duration::from_millis(2500)).await;
        scene.consul.resume();
    }
    scene.until_beats("jobs", before).await;
    let repeats = scene.settle(&replicas).await;
    assert!(repeats.is_empty(), "{repeats:?}");
    assert!(scene.journal.all().iter().all(|arrival| arrival.replica == leader));
    assert!(replicas.iter().all(|replica| replica.logged("no longer leader") == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_keeps_to_the_grace_period_though_consul_does_not_answer() {
    let mut scene = Scene::busy().await;
    let mut replica = scene.leader().await;
    next_leader(&scene, 0, Instant::now()).await;
    scene.consul.pause();
    let asked = Instant::now();
    replica.signal(crate::common::Signal::TERM);
    // What was delivered last is not stored.
    assert_eq!(replica.end().await, Some(1), "{}", replica.log());
    let took = asked.elapsed();
    scene.consul.resume();
    // By default 4 s, and Nomad kills a task after 5 s.
    assert!(took < Duration::from_secs(5), "{took:?}\n{}", replica.log());
}
