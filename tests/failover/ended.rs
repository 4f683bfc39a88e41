//! Consul ends a session whose leader is well: somebody destroyed it, or Consul stood still for longer than it lives.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::time::sleep;

use crate::{
    common::truth::ALL,
    journal::assert_one_at_a_time,
    replicas::{Replica, Scene, is_chaos},
};

/// The lease and an eighth of it, what is left of the two looks around it, and the next record. A machine that does much
/// else is only held to being quicker than a lock-delay of 15 s.
fn longest() -> Duration {
    Duration::from_millis(if is_chaos() { 5_500 } else { 9_000 })
}

/// From `since` on, until all kinds are led again: the longest time without a record.
async fn silence(scene: &Scene, replicas: &[Replica], since: Instant) -> Duration {
    let leads = || replicas.iter().map(|replica| replica.logged("became leader")).sum::<usize>();
    let deadline = Instant::now() + crate::common::PATIENCE;
    while leads() < 2 * ALL.len() {
        assert!(Instant::now() < deadline, "not led again:\n{}\n{}", replicas[0].log(), replicas[1].log());
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let arrivals: Vec<_> =
        scene.journal.all().into_iter().map(|arrival| arrival.at).filter(|at| *at >= since).collect();
    let pauses = arrivals.windows(2).map(|pair| pair[1].duration_since(pair[0]));
    pauses.max().expect("records come").max(arrivals[0].duration_since(since))
}

async fn end_session(scene: &Scene, id: &str) {
    assert_eq!(scene.consul.request(Method::PUT, &format!("session/destroy/{id}"), "").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_destroyed_costs_a_lease_and_no_more() {
    let mut scene = Scene::busy().await;
    let replicas = [scene.leader().await, scene.replica()];
    scene.until_held_by(&replicas[1]).await;
    let session = scene.consul.holder("nomad-firehose/jobs.lock").await.expect("it is led");
    let when = Instant::now();
    end_session(&scene, &session).await;
    let took = silence(&scene, &replicas, when).await;
    println!("silent for {took:?} after the session was destroyed");
    assert!(took <= longest(), "{took:?}\n{}\n{}", replicas[0].log(), replicas[1].log());
    let lines = scene.rest().await;
    scene.until_whole(&lines).await;
    assert_one_at_a_time(&scene.journal.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consul_that_stood_still_until_all_sessions_ended_costs_a_lease_more() {
    // Consul ends a session after twice its TTL of 10 s. Otherwise it is made to end them, so as not to wait so long.
    let still = Duration::from_secs(if is_chaos() { 30 } else { 6 });
    let mut scene = Scene::busy().await;
    let replicas = [scene.leader().await, scene.replica()];
    scene.until_held_by(&replicas[1]).await;
    scene.consul.pause();
    sleep(still).await;
    scene.consul.resume();
    let back = Instant::now();
    if !is_chaos() {
        for session in scene.consul.sessions().await {
            end_session(&scene, session["ID"].as_str().expect("an id")).await;
        }
    }
    let took = silence(&scene, &replicas, back).await;
    println!("silent for {took:?} after Consul went on");
    assert!(took <= longest() + Duration::from_secs(1), "{took:?}\n{}\n{}", replicas[0].log(), replicas[1].log());
    scene.rest().await;
    assert_one_at_a_time(&scene.journal.all());
}
