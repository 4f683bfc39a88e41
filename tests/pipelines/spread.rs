//! Replicas that start together share the pipelines among them.

use super::*;
use crate::common::{Process, consul::Options};

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
    let mut replicas: Vec<_> = (0..3).map(replica).collect();
    common::until("all are led", || led(&replicas).iter().sum::<usize>() == PIPELINES).await;
    let shares = led(&replicas);
    assert!(shares.iter().all(|share| (1..PIPELINES - 2).contains(share)), "{shares:?}");
    until_taken(&server, PIPELINES).await;
    // The keys of each are below its name.
    assert!(consul.holder("nomad-firehose/pipelines/p0/jobs.lock").await.is_some());

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
