//! Several replicas whose leases and checkpoints are in Nomad's Variables: whatever happens to the one that leads, one emits at a
//! time, and nothing is lost.
//!
//! The default suite goes through each fault once or twice; `make chaos` does it as often as `CHAOS` says.

#![allow(unreachable_pub, reason = "shared by the tests of one program")]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "shared with the tests of replicas on Consul")]
#[path = "../failover/journal.rs"]
mod journal;
#[allow(dead_code, reason = "shared with the tests of replicas on Consul")]
#[path = "../failover/replicas.rs"]
mod replicas;

mod raw;
mod rights;
mod stored;

use std::time::{Duration, Instant};

use common::{Setup, Signal, gate::Gate, until};
use journal::assert_one_at_a_time;
use replicas::{Replica, Scene, next_leader, print_times, rounds};
use tokio::time::sleep;

/// The lease by default, both margins, and what a machine that does much else needs for a record.
const LONGEST: Duration = Duration::from_secs(12);

/// Asks the cluster itself.
fn client() -> reqwest::Client {
    // Another test may have been first.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client")
}

fn in_variables(setup: Setup) -> Setup {
    setup.env("NOMAD_FIREHOSE_COORDINATOR", "nomad").without("CONSUL_HTTP_ADDR")
}

async fn busy() -> Scene {
    let mut scene = Scene::busy().await;
    scene.in_variables = true;
    scene
}

async fn leader(scene: &mut Scene) -> Replica {
    scene.leader_with(in_variables).await
}

fn replica(scene: &mut Scene) -> Replica {
    scene.replica_with(in_variables)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_within_seconds_and_no_version_is_lost() {
    let mut scene = busy().await;
    let mut replicas = vec![leader(&mut scene).await];
    let mut leader = replicas[0].number;
    replicas.extend([replica(&mut scene), replica(&mut scene)]);
    let mut times = Vec::new();
    for _ in 0..rounds(2) {
        for replica in replicas.iter().filter(|replica| replica.number != leader) {
            scene.until_held_by(replica).await;
        }
        let at = replicas.iter().position(|replica| replica.number == leader).expect("it runs");
        let mut killed = replicas.remove(at);
        let when = Instant::now();
        killed.signal(Signal::KILL);
        killed.end().await;
        let (took, next) = next_leader(&scene, leader, when).await;
        times.push(took);
        leader = next;
        replicas.push(replica(&mut scene));
    }
    let repeats = scene.settle(&replicas).await;
    let took = print_times("kill to next record", &mut times);
    println!("{} records came again", repeats.len());
    assert!(took < LONGEST, "{took:?}");
    assert_one_at_a_time(&scene.journal.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_hands_over_at_once_without_loss_or_repeat() {
    let mut scene = busy().await;
    let mut replicas = vec![leader(&mut scene).await];
    let mut leader = replicas[0].number;
    replicas.push(replica(&mut scene));
    let mut times = Vec::new();
    for round in 0..rounds(3) {
        for replica in replicas.iter().filter(|replica| replica.number != leader) {
            scene.until_held_by(replica).await;
        }
        let at = replicas.iter().position(|replica| replica.number == leader).expect("it runs");
        let mut stopped = replicas.remove(at);
        stopped.signal(if round % 2 == 0 { Signal::TERM } else { Signal::INT });
        assert_eq!(stopped.end().await, Some(0), "not a clean end:\n{}", stopped.log());
        let last = scene.journal.last_of(leader).expect("it has led");
        let (took, next) = next_leader(&scene, leader, last.at).await;
        times.push(took);
        leader = next;
        replicas.push(replica(&mut scene));
    }
    let repeats = scene.settle(&replicas).await;
    print_times("last record of one to first of the next", &mut times);
    assert!(repeats.is_empty(), "{repeats:?}");
    assert_one_at_a_time(&scene.journal.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stood_still_sends_nothing_any_more_and_stands_by() {
    let mut scene = busy().await;
    let replicas = [leader(&mut scene).await, replica(&mut scene)];
    let mut leader = replicas[0].number;
    let mut late = 0;
    for _ in 0..rounds(1) {
        let [frozen, other] = if replicas[0].number == leader { [0, 1] } else { [1, 0] };
        let (frozen, other) = (&replicas[frozen], &replicas[other]);
        scene.until_held_by(other).await;
        let (lost, when) = (frozen.logged("no longer leader"), Instant::now());
        frozen.signal(Signal::STOP);
        let (_, next) = next_leader(&scene, leader, when).await;
        assert_eq!(next, other.number);
        // All kinds: one that it still has when it goes on, it keeps.
        other.until_logged("became leader", 7).await;
        let went_on = Instant::now();
        frozen.signal(Signal::CONT);
        frozen.until_logged("no longer leader", lost + 7).await;
        frozen.until_ready().await;
        late += scene.journal.count_after(leader, went_on);
        leader = next;
    }
    scene.settle(&replicas).await;
    assert_eq!(late, 0, "its deadline was over, and no write was under way");
    assert_one_at_a_time(&scene.journal.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_is_silent_before_the_next_one_begins() {
    let mut scene = busy().await;
    let address = scene.sim.url(0).replace("http://", "");
    let gates = [Gate::start(&address).await, Gate::start(&address).await];
    let [first, second] = gates.each_ref().map(Gate::url);
    let first = scene.leader_with(|setup| in_variables(setup).env("NOMAD_ADDR", first)).await;
    let replicas = [first, scene.replica_with(|setup| in_variables(setup).env("NOMAD_ADDR", second))];
    let mut leader = replicas[0].number;
    let mut times = Vec::new();
    for _ in 0..rounds(1) {
        let cut = usize::from(replicas[1].number == leader);
        scene.until_held_by(&replicas[1 - cut]).await;
        let (lost, when) = (replicas[cut].logged("no longer leader"), Instant::now());
        gates[cut].shut();
        let (took, next) = next_leader(&scene, leader, when).await;
        times.push(took);
        let first = scene.journal.first_of_another(leader, when).expect("just seen");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(scene.journal.count_after(leader, first.at), 0);
        gates[cut].open();
        replicas[cut].until_logged("no longer leader", lost + 7).await;
        leader = next;
    }
    scene.settle(&replicas).await;
    print_times("cut to next record", &mut times);
    assert_one_at_a_time(&scene.journal.all());
}

/// An operator deletes all Variables under a leader that is well: it notices with its next heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn deleted_variables_make_no_two_leaders_and_no_first_start() {
    let mut scene = busy().await;
    let replicas = [leader(&mut scene).await, replica(&mut scene)];
    scene.until_held_by(&replicas[1]).await;
    stored::delete_all(&scene.sim.url(0)).await;
    let led = || replicas.iter().map(|replica| replica.logged("became leader")).sum::<usize>();
    until("all kinds are led again", || replicas[0].logged("no longer leader") == 7 && led() == 14).await;
    scene.settle(&replicas).await;
    assert_one_at_a_time(&scene.journal.all());
    let first_starts: usize = replicas.iter().map(|replica| replica.logged("checkpoint=none")).sum();
    assert_eq!(first_starts, 7, "from the beginning again:\n{}\n{}", replicas[0].log(), replicas[1].log());
}
