//! The same cluster with another history: it starts over as ever, and is no other cluster.

use nomad_sim::Sim;

use crate::{common::made, support::*};

/// A cluster with a checkpoint at 502 that was stopped.
async fn stopped(at: &At) -> Sim {
    let sim = cluster("global", &[502]).await;
    let process = at.run(&sim, "jobs").spawn();
    process.until_printed(1).await;
    at.until("jobs", |checkpoint| checkpoint["cluster"]["keys"][0].is_string()).await;
    process.stop().await;
    sim
}

/// Restored from a snapshot, or built anew with other keys under the same name: its index is below the checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_index_is_below_the_checkpoint_starts_over() {
    for new_keys in [false, true] {
        for at in [At::directory(), At::consul().await] {
            let sim = stopped(&at).await;
            sim.rebuild().await;
            if new_keys {
                sim.set_keys(&["another"], None);
            }
            sim.append_line(made::job(40, 40, 1)).await.expect("a line of a stream");
            let process = at.run(&sim, "jobs").spawn();
            process.until_logged("starting over").await;
            process.until_printed(1).await;
            at.until_position("jobs", 40).await;
            at.until("jobs", |checkpoint| checkpoint["cluster"]["keys"][0] == sim.keys()[0].as_str()).await;
            let log = process.log();
            let mut came = jobs(&process.stop().await);
            // What was on its way when it started over comes again.
            came.dedup();
            assert_eq!(came, ["job-40"], "{log}");
        }
    }
}

/// The keyring has gone round since the checkpoint was stored: the set that it knows proves nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_out_of_date_prove_nothing() {
    let at = At::directory();
    let sim = stopped(&at).await;
    let mut checkpoint = at.checkpoint("jobs").await;
    checkpoint["cluster"]["until"] = 1_000.into();
    at.store("jobs", &checkpoint).await;
    sim.set_keys(&["rotated"], None);
    sim.append_line(made::job(510, 510, 1)).await.expect("a line of a stream");
    let process = at.run(&sim, "jobs").spawn();
    process.until_printed(1).await;
    at.until("jobs", |checkpoint| checkpoint["cluster"]["keys"] == serde_json::json!(["rotated"])).await;
    assert_eq!(jobs(&process.stop().await), ["job-510"]);
}

/// A rotation leaves the old key for a while; a checkpoint knows those that are gone, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_keyring_is_the_same_cluster() {
    let at = At::directory();
    let sim = stopped(&at).await;
    let old = sim.keys().remove(0);
    for (keys, known) in [(vec!["new", &old], vec!["new", &old]), (vec!["newer", "new"], vec!["newer", "new", &old])] {
        sim.set_keys(&keys, None);
        let process = at.run(&sim, "jobs").spawn();
        process.until_logged("checkpoint=stored").await;
        at.until("jobs", |checkpoint| checkpoint["cluster"]["keys"] == serde_json::json!(known)).await;
        assert_eq!(process.stop().await, [""; 0]);
    }
    // A snapshot from before both rotations.
    sim.set_keys(&[&old], None);
    sim.append_line(made::job(510, 510, 1)).await.expect("a line of a stream");
    let process = at.run(&sim, "jobs").spawn();
    process.until_printed(1).await;
    assert_eq!(jobs(&process.stop().await), ["job-510"]);
}
