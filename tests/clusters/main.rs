//! Two clusters whose replicas share one Consul prefix or one data directory by mistake: neither goes on from the other's
//! checkpoint, and a cluster that is the same is never taken for another one.

#[path = "../common/mod.rs"]
mod common;

mod evidence;
mod restored;
mod support;

use std::time::Duration;

use common::{ports::Ports, probe};
use nomad_sim::Evidence;
use support::*;

/// The mistake itself, on either place: `eu` leads with its checkpoint at 502, and stops.
async fn another_region_neither_leads_nor_goes_on(at: &At) {
    let (eu, us) = regions().await;
    let ports = Ports::reserve();
    let leader = at.run(&eu, "jobs").env("NOMAD_REGION", "eu").spawn();
    leader.until_printed(1).await;
    at.until_position("jobs", 502).await;
    let before = at.snapshot("jobs").await;
    let listen = format!("127.0.0.1:{}", ports.base);
    let other = at.run(&us, "jobs").env("NOMAD_REGION", "us").env("NOMAD_FIREHOSE_LISTEN", listen).spawn();
    refuses(&other, at, r#""eu""#, r#""us""#).await;
    probe::until_ready(ports.base, false, at.variable()).await;
    assert_eq!(other.count(), 0);
    leader.stop().await;
    // What led is gone; its checkpoint still stands.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!((other.count(), other.logged("became leader")), (0, 0), "{}", other.log());
    probe::until_ready(ports.base, false, at.variable()).await;
    assert_eq!(at.snapshot("jobs").await, before, "what eu has stored is as it was");
    other.stop().await;
    // The rightful replica goes on from there.
    let leader = at.run(&eu, "jobs").env("NOMAD_REGION", "eu").spawn();
    leader.until_logged("checkpoint=stored").await;
    eu.append_line(common::made::job(503, 503, 1)).await.expect("a line of a stream");
    leader.until_printed(1).await;
    assert!(leader.stop().await[0].contains("job-503"));
    // With a place of its own nothing is missing.
    let own = at.another();
    let process = own.run(&us, "jobs").env("NOMAD_REGION", "us").spawn();
    process.until_printed(3).await;
    assert_eq!(jobs(&process.stop().await), ["job-40", "job-700", "job-900"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_region_neither_leads_nor_goes_on_with_consul() {
    another_region_neither_leads_nor_goes_on(&At::consul().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_region_neither_leads_nor_goes_on_in_a_directory() {
    another_region_neither_leads_nor_goes_on(&At::directory()).await;
}

/// Without `NOMAD_REGION` the servers say which region they are in, whether they know another one or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_is_not_set_is_asked_for() {
    for federated in [false, true] {
        let at = At::directory();
        let (eu, us) = regions().await;
        // The region alone is to tell them apart.
        us.set_keys(&[], None);
        if federated {
            eu.federate(&us);
        }
        let leader = at.run(&eu, "jobs").spawn();
        leader.until_printed(1).await;
        at.until_position("jobs", 502).await;
        leader.stop().await;
        let other = at.run(&us, "jobs").spawn();
        refuses(&other, &at, r#""eu""#, r#""us""#).await;
        // The same region, asked for through the servers of the other one.
        if federated {
            let process = at.run(&us, "jobs").env("NOMAD_REGION", "eu").spawn();
            process.until_logged("checkpoint=stored").await;
            process.stop().await;
        }
        assert_eq!(other.stop().await, [""; 0]);
    }
}

/// Two clusters that both call their region `global`, and have no label: their keys differ.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_of_one_region_name_are_told_apart_by_their_keys() {
    for at in [At::directory(), At::consul().await] {
        let (one, two) = (cluster("global", &[502]).await, cluster("global", &[40, 700, 900]).await);
        let leader = at.run(&one, "jobs").spawn();
        leader.until_printed(1).await;
        at.until_position("jobs", 502).await;
        let other = at.run(&two, "jobs").spawn();
        if matches!(at, At::Consul { .. }) {
            other.until_logged(at.variable()).await;
        }
        leader.stop().await;
        other.until_logged(at.variable()).await;
        other.until_logged("keyring").await;
        assert_eq!((other.count(), other.logged("became leader")), (0, 0), "{}", other.log());
        // The operator forgets it: nothing is missing.
        at.state(&["reset", "jobs", "--value"]).await;
        other.until_printed(3).await;
        assert_eq!(jobs(&other.stop().await), ["job-40", "job-700", "job-900"]);
    }
}

/// What Nomad does not tell, the label does; a label that was changed on the same cluster keeps nobody.
#[tokio::test(flavor = "multi_thread")]
async fn labels_tell_clusters_apart_and_may_be_renamed() {
    let at = At::directory();
    let (one, two) = (cluster("global", &[502]).await, cluster("global", &[40, 700, 900]).await);
    let label = |sim, name: &str| at.run(sim, "jobs").env("NOMAD_FIREHOSE_CLUSTER", name);
    let leader = label(&one, "production").spawn();
    leader.until_printed(1).await;
    at.until_position("jobs", 502).await;
    leader.stop().await;
    // Neither its region nor its keys can be read.
    two.set_evidence(Evidence::Refused(403));
    let other = label(&two, "test").spawn();
    refuses(&other, &at, r#""production""#, r#""test""#).await;
    assert_eq!(other.stop().await, [""; 0]);
    let renamed = label(&one, "live").spawn();
    renamed.until_logged("checkpoint=stored").await;
    renamed.until_logged("cluster renamed").await;
    at.until("jobs", |checkpoint| checkpoint["cluster"]["label"] == "live").await;
    assert_eq!(renamed.stop().await, [""; 0]);
}

/// Who waits for a leader of another cluster does not take its place when it dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_is_not_followed_by_another_cluster() {
    let at = At::consul().await;
    let (eu, us) = regions().await;
    let leader = at.run(&eu, "jobs").env("NOMAD_FIREHOSE_LEASE", "10s").spawn();
    leader.until_printed(1).await;
    at.until_position("jobs", 502).await;
    let other = at.run(&us, "jobs").env("NOMAD_FIREHOSE_LEASE", "10s").spawn();
    refuses(&other, &at, r#""eu""#, r#""us""#).await;
    let rightful = at.run(&eu, "jobs").env("NOMAD_FIREHOSE_LEASE", "10s").spawn();
    rightful.until_logged("standing by").await;
    leader.end_by(common::Signal::KILL).await;
    rightful.until_logged("checkpoint=stored").await;
    assert_eq!((other.count(), other.logged("leases taken")), (0, 0), "{}", other.log());
    rightful.stop().await;
    assert_eq!(other.stop().await, [""; 0]);
}
