//! Replicas that start together share the pipelines among them.

use reqwest::Method;
use serde_json::json;

use super::*;
use crate::common::{Process, consul::Options};

/// The flags of a lock, by which Consul's client library tells it from other keys.
const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;

/// How many leases each replica has taken.
fn led(replicas: &[Process]) -> Vec<usize> {
    let took = |replica: &Process| replica.log().lines().filter(|line| line.contains("became leader")).count();
    replicas.iter().map(took).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_share_the_pipelines() {
    const PIPELINES: usize = 9;
    let (sim, place) = (cluster(1).await, Place::new());
    let server = taker().await;
    place.write(&(0..PIPELINES).map(|n| table(&format!("p{n}"), &server)).collect::<String>());
    let consul = Consul::start(Options::default()).await;
    let replica = |_| {
        let setup = place.run(&sim, &Ports::reserve()).without("NOMAD_FIREHOSE_LISTEN");
        setup.env("NOMAD_FIREHOSE_COORDINATOR", "consul").env("CONSUL_HTTP_ADDR", consul.url()).spawn()
    };
    // All of them stand by before the first lease is free: none has a start before the others.
    let lock = |n: usize| format!("nomad-firehose/pipelines/p{n}/jobs.lock");
    let (_, session) = consul.request(Method::PUT, "session/create", r#"{"LockDelay": "0s"}"#).await;
    let session: Value = serde_json::from_str(&session).expect("a session");
    let all = |verb: &str| -> Value {
        let operation = |n| json!({"KV": {"Verb": verb, "Key": lock(n), "Value": "", "Flags": LOCK_FLAGS, "Session": session["ID"]}});
        (0..PIPELINES).map(operation).collect()
    };
    assert_eq!(consul.txn(all("lock")).await.0, 200);
    let mut replicas: Vec<_> = (0..3).map(replica).collect();
    let waits = |replica: &Process| replica.logged("standing by for a program without heartbeats") == PIPELINES;
    common::until("all stand by", || replicas.iter().all(waits)).await;
    assert_eq!(consul.txn(all("unlock")).await.0, 200);
    common::until("all are led", || led(&replicas).iter().sum::<usize>() == PIPELINES).await;
    let shares = led(&replicas);
    assert!(shares.iter().all(|share| (1..PIPELINES - 2).contains(share)), "{shares:?}");
    until_taken(&server, PIPELINES).await;
    // The keys of each are below its name.
    assert!(consul.holder(&lock(0)).await.is_some());

    // The others take over what one that dies has led.
    let dead = replicas.remove(0);
    let (before, lost) = (led(&replicas), shares[0]);
    drop(dead.end_by(common::Signal::KILL).await);
    common::until("all are led again", || led(&replicas).iter().sum::<usize>() == before.iter().sum::<usize>() + lost)
        .await;
    for replica in replicas {
        replica.stop().await;
    }
}
