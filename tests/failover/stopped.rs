//! The leader is stopped as an operator stops it: the next one goes on at once, and nothing comes twice.

use std::time::Duration;

use crate::{
    common::{
        Signal,
        consul::Options,
        truth::{ALL, seen},
        until,
    },
    journal::{assert_one_at_a_time, check, spans},
    replicas::{Scene, is_chaos, next_leader, print_times, rounds},
    rival::{LOCK_DELAY, Original},
};

/// From the last record of one to the first of the next. A machine that does much else is only held to the lock having
/// been given back: without that it would take longer than a lease.
fn longest() -> Duration {
    Duration::from_millis(if is_chaos() { 300 } else { 3_000 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_hands_over_at_once_without_loss_or_repeat() {
    let mut scene = Scene::busy().await;
    let mut replicas = vec![scene.leader().await];
    let mut leader = replicas[0].number;
    replicas.extend([scene.replica(), scene.replica()]);
    let mut stopped_ones = Vec::new();
    for round in 0..rounds(4) {
        for replica in replicas.iter().filter(|replica| replica.number != leader) {
            replica.until_ready().await;
        }
        let at = replicas.iter().position(|replica| replica.number == leader).expect("it runs");
        let mut stopped = replicas.remove(at);
        stopped.signal(if round % 2 == 0 { Signal::TERM } else { Signal::INT });
        assert_eq!(stopped.end().await, Some(0), "not a clean end:\n{}", stopped.log());
        stopped_ones.push(leader);
        let last = scene.journal.last_of(leader).expect("it has led");
        (_, leader) = next_leader(&scene, leader, last.at).await;
        replicas.push(scene.replica());
    }
    let repeats = scene.settle(&replicas).await;
    let arrivals = scene.journal.all();
    assert_one_at_a_time(&arrivals);
    // Two standbys can have shared the kinds among them: each kind has a gap of its own.
    let mut gaps = Vec::new();
    for pair in spans(&arrivals).values().flat_map(|spans| spans.windows(2)) {
        let [before, after] = pair else { continue };
        if stopped_ones.contains(&before.replica) {
            gaps.push(after.begin.duration_since(before.end));
        }
    }
    let took = print_times("last record of one to first of the next", &mut gaps);
    assert!(repeats.is_empty(), "{repeats:?}");
    assert!(took <= longest(), "{took:?}");
}

/// Two standbys can share the kinds of a leader. The line before the position is then often one of a kind that another replica leads,
/// and its absence would look as if Nomad had lost it.
#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_is_taken_over_alone_has_no_repeat_and_no_gap() {
    // The last transaction is a deployment, and one of another kind.
    for transactions in [4, 5] {
        let mut scene = Scene::quiet(Options::default()).await;
        let mut leader = scene.leader().await;
        for _ in 0..transactions {
            scene.one_more().await;
        }
        let lines = scene.rest().await;
        scene.until_whole(&lines).await;
        leader.signal(Signal::TERM);
        assert_eq!(leader.end().await, Some(0), "not a clean end:\n{}", leader.log());
        let mut others = Vec::new();
        for kind in ALL.into_iter().filter(|kind| *kind != "deployments") {
            let other = Original::start(&scene.consul, kind, LOCK_DELAY).await;
            other.lock().await;
            others.push(other);
        }
        let alone = scene.replica();
        alone.until_reads().await;
        for _ in 0..10 {
            scene.one_more().await;
        }
        let of_it = || {
            let arrivals = scene.journal.all().into_iter().filter(|arrival| arrival.replica == alone.number);
            arrivals.filter(|arrival| seen(&arrival.record).kind == "deployments").count()
        };
        until("two more deployments come", || of_it() >= 2).await;
        let repeats = check(&scene.journal.all(), &scene.rest().await, false);
        assert!(repeats.is_empty() && alone.logged("gap") == 0, "{repeats:?}\n{}", alone.log());
    }
}
