//! The leader's process stands still for longer than its lease, and goes on as if nothing had been.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    common::{Signal, seed},
    journal::assert_one_at_a_time,
    replicas::{Scene, is_chaos, next_leader, print_times, rounds},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_sends_nothing_any_more_and_stands_by() {
    let mut random = fastrand::Rng::with_seed(seed());
    // The whole of it is for `make chaos`; Consul ends a session after ten to twenty seconds.
    let still = Duration::from_secs(if is_chaos() { 30 } else { 8 });
    let mut scene = Scene::busy().await;
    let replicas = [scene.leader().await, scene.replica()];
    let mut leader = replicas[0].number;
    let (mut times, mut late) = (Vec::new(), 0);
    for _ in 0..rounds(1) {
        let [frozen, other] = if replicas[0].number == leader { [0, 1] } else { [1, 0] };
        let (frozen, other) = (&replicas[frozen], &replicas[other]);
        scene.until_held_by(other).await;
        sleep(Duration::from_millis(random.u64(200..2000))).await;
        let (lost, when) = (frozen.logged("no longer leader"), Instant::now());
        frozen.signal(Signal::STOP);
        let (took, next) = next_leader(&scene, leader, when).await;
        assert_eq!(next, other.number);
        times.push(took);
        sleep(still.saturating_sub(when.elapsed())).await;
        let went_on = Instant::now();
        frozen.signal(Signal::CONT);
        // All kinds are lost, and all stand by again.
        frozen.until_logged("no longer leader", lost + 7).await;
        assert!(frozen.logged("lease lost") + frozen.logged("leases not renewed") > 0);
        frozen.until_ready().await;
        sleep(Duration::from_millis(500)).await;
        late += scene.journal.count_after(leader, went_on);
        leader = next;
    }
    let repeats = scene.settle(&replicas).await;
    print_times("standstill to next record", &mut times);
    println!("{late} records arrived from a leader that had stood still, {} came again", repeats.len());
    assert_eq!(late, 0, "its deadline was over, and no write was under way");
    assert_one_at_a_time(&scene.journal.all());
}
