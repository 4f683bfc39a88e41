//! A replica that cannot reach Consul: a leader falls silent before the next one begins, a standby stays one.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    common::gate::Gate,
    journal::assert_one_at_a_time,
    replicas::{Scene, next_leader, print_times, rounds},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_from_consul_is_silent_before_the_next_one_begins() {
    let mut scene = Scene::busy().await;
    let address = scene.consul.url().replace("http://", "");
    let gates = [Gate::start(&address).await, Gate::start(&address).await];
    let [first, second] = gates.each_ref().map(Gate::url);
    let first = scene.leader_with(|setup| setup.env("CONSUL_HTTP_ADDR", first)).await;
    let replicas = [first, scene.replica_with(|setup| setup.env("CONSUL_HTTP_ADDR", second))];
    let mut leader = replicas[0].number;
    let (mut times, mut margins) = (Vec::new(), Vec::new());
    for _ in 0..rounds(2) {
        let cut = usize::from(replicas[1].number == leader);
        let other = &replicas[1 - cut];
        scene.until_held_by(other).await;
        let (lost, when) = (replicas[cut].logged("no longer leader"), Instant::now());
        gates[cut].shut();
        let (took, next) = next_leader(&scene, leader, when).await;
        let last = scene.journal.last_of(leader).expect("it has led");
        let first = scene.journal.first_of_another(leader, when).expect("just seen");
        assert!(last.at < first.at, "the old leader went on for {:?}", last.at - first.at);
        margins.push(first.at - last.at);
        times.push(took);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(scene.journal.count_after(leader, first.at), 0);
        gates[cut].open();
        replicas[cut].until_logged("no longer leader", lost + 7).await;
        leader = next;
    }
    let repeats = scene.settle(&replicas).await;
    print_times("cut to next record", &mut times);
    print_times("silence between the two", &mut margins);
    println!("{} records came again", repeats.len());
    assert_one_at_a_time(&scene.journal.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_cut_off_from_consul_never_takes_over() {
    let mut scene = Scene::busy().await;
    let address = scene.consul.url().replace("http://", "");
    let leader = scene.leader().await;
    let gate = Gate::start(&address).await;
    let standby = scene.replica_with(|setup| setup.env("CONSUL_HTTP_ADDR", gate.url()));
    for round in 1..=rounds(2) {
        standby.until_ready().await;
        gate.shut();
        // Longer than the lease and both margins.
        sleep(Duration::from_millis(7000)).await;
        gate.open();
        if round == 1 {
            standby.until_logged("watching the leaders in consul", 1).await;
        }
        sleep(Duration::from_millis(1000)).await;
        assert_eq!(scene.journal.last_of(standby.number).map(|arrival| arrival.record), None);
    }
    let repeats = scene.settle(&[leader, standby]).await;
    assert!(repeats.is_empty(), "{repeats:?}");
}
