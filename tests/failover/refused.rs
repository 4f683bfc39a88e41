//! A Consul with ACLs that denies by default: the shipped policy is enough for everything, and without any one rule of it
//! the log says which one is missing.

use std::time::{Duration, Instant};

use crate::{
    common::{Signal, consul::Options},
    journal::assert_one_at_a_time,
    replicas::{Replica, Scene, next_leader},
};

const POLICY: &str = include_str!("../../deploy/policies/consul.hcl");

/// The rules of the shipped policy without its comments.
fn rules() -> Vec<String> {
    let plain: Vec<&str> = POLICY.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let rules = plain.join("\n");
    rules.split_inclusive('}').map(|rule| rule.trim().to_owned()).filter(|rule| !rule.is_empty()).collect()
}

fn replica(scene: &mut Scene, token: &str) -> Replica {
    let url = scene.consul.url();
    scene.replica_with(|setup| setup.env("CONSUL_HTTP_ADDR", url).env("CONSUL_HTTP_TOKEN", token))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_policy_is_enough_to_lead_to_take_over_and_to_hand_over() {
    let mut scene = Scene::quiet(Options { acls: true, ..Options::default() }).await;
    scene.consul.set_policy("nomad-firehose", POLICY).await;
    let token = scene.consul.create_token("nomad-firehose").await;
    let mut replicas = vec![replica(&mut scene, &token)];
    replicas[0].until_reads().await;
    scene.go_on();
    let (_, mut leader) = next_leader(&scene, 0, Instant::now()).await;
    for signal in [Signal::KILL, Signal::TERM] {
        let next = replica(&mut scene, &token);
        scene.until_held_by(&next).await;
        replicas.push(next);
        let mut ended = replicas.remove(0);
        let when = Instant::now();
        ended.signal(signal);
        ended.end().await;
        let (took, next) = next_leader(&scene, leader, when).await;
        assert!(took < Duration::from_secs(15), "not by a take-over: {took:?}");
        leader = next;
        if std::env::var_os("SHOW_LOGS").is_some() {
            println!("--- ended {}\n{}", ended.number, ended.log());
        }
        assert_eq!(ended.logged("denied"), 0, "{}", ended.log());
    }
    scene.settle(&replicas).await;
    assert_one_at_a_time(&scene.journal.all());
    assert_eq!(replicas[0].logged("denied"), 0, "{}", replicas[0].log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_rule_is_named_and_works_when_it_is_there() {
    let mut scene = Scene::quiet(Options { acls: true, ..Options::default() }).await;
    let rules = rules();
    assert_eq!(rules.len(), 2, "{rules:?}");
    for missing in &rules {
        let others: Vec<_> = rules.iter().filter(|rule| *rule != missing).cloned().collect();
        scene.consul.set_policy("nomad-firehose", &others.join("\n")).await;
        let token = scene.consul.create_token("nomad-firehose").await;
        let mut replica = replica(&mut scene, &token);
        // On one line, as it is to stand in the policy.
        let words: Vec<&str> = missing.split_whitespace().collect();
        let line = words.join(" ");
        replica.until_logged(&line.replace('"', "\\\""), 1).await;
        scene.consul.set_policy("nomad-firehose", POLICY).await;
        replica.until_logged("became leader", 7).await;
        replica.signal(Signal::TERM);
        assert_eq!(replica.end().await, Some(0), "{}", replica.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_token_is_deleted_stands_still_and_says_why() {
    let mut scene = Scene::quiet(Options { acls: true, ..Options::default() }).await;
    scene.consul.set_policy("nomad-firehose", POLICY).await;
    let token = scene.consul.create_token("nomad-firehose").await;
    let replica = replica(&mut scene, &token);
    scene.go_on();
    next_leader(&scene, 0, Instant::now()).await;
    scene.consul.set_policy("nomad-firehose", "").await;
    let denied = Instant::now();
    replica.until_logged("key_prefix", 1).await;
    replica.until_logged("leases not renewed in time", 1).await;
    // The policy is cached for up to 30 s, so the end of the lease is counted from the first refusal.
    let silent = Instant::now();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(scene.journal.count_after(replica.number, silent + Duration::from_millis(200)), 0);
    scene.consul.set_policy("nomad-firehose", POLICY).await;
    next_leader(&scene, 0, Instant::now()).await;
    println!("silent for {:?}", denied.elapsed());
}
