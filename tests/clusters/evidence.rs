//! Evidence that is missing or cannot be read keeps nobody.

use nomad_sim::Evidence;
use serde_json::Value;

use crate::{
    common::{Signal, made},
    support::*,
};

/// The replica of the same cluster goes on, whatever becomes of the questions.
#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_cannot_be_read_keeps_nobody() {
    for evidence in [
        Evidence::Refused(403),
        Evidence::Refused(404),
        Evidence::Refused(429),
        Evidence::Refused(500),
        Evidence::Hanging,
        Evidence::Readable,
    ] {
        let at = At::directory();
        let sim = cluster("eu", &[502]).await;
        at.lead_once(&sim, "eu").await;
        sim.set_evidence(evidence);
        sim.append_line(made::job(510, 510, 1)).await.expect("a line of a stream");
        let process = at.run(&sim, "jobs").env("NOMAD_TIMEOUT", "5s").spawn();
        process.until_printed(1).await;
        at.until_position("jobs", 510).await;
        // What was known of the cluster stays known.
        let checkpoint = at.checkpoint("jobs").await;
        assert_eq!(checkpoint["cluster"]["region"], "eu", "{evidence:?}: {checkpoint}");
        assert_eq!(checkpoint["cluster"]["keys"][0], sim.keys()[0].as_str(), "{evidence:?}");
        assert_eq!(jobs(&process.stop().await), ["job-510"], "{evidence:?}");
    }
}

/// A checkpoint of a version that stored no identity is gone on from, and gets one.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_without_identity_is_gone_on_from() {
    for at in [At::directory(), At::consul().await] {
        let sim = cluster("eu", &[502]).await;
        at.lead_once(&sim, "eu").await;
        let mut checkpoint = at.checkpoint("jobs").await;
        for identity in [None, Some(Value::from(7)), Some(serde_json::json!({"region": 9, "keys": "none"}))] {
            let fields = checkpoint.as_object_mut().expect("an object");
            fields.remove("cluster");
            if let Some(identity) = identity {
                fields.insert("cluster".to_owned(), identity);
            }
            at.store("jobs", &checkpoint).await;
            let process = at.run(&sim, "jobs").spawn();
            process.until_logged("checkpoint=stored").await;
            at.until("jobs", |checkpoint| checkpoint["cluster"]["region"] == "eu").await;
            assert_eq!(process.stop().await, [""; 0]);
        }
    }
}

/// A replica that took the lease before it could ask stores nothing until it knows, and gives the lease back then.
#[tokio::test(flavor = "multi_thread")]
async fn who_led_before_it_could_ask_stores_nothing_and_gives_the_lease_back() {
    for at in [At::directory(), At::consul().await] {
        let (eu, us) = regions().await;
        at.lead_once(&eu, "eu").await;
        let before = at.snapshot("jobs").await;
        us.set_evidence(Evidence::Hanging);
        let other = at.run(&us, "jobs").env("NOMAD_TIMEOUT", "30s").spawn();
        other.until_logged("checkpoint=stored").await;
        us.append_line(made::job(901, 901, 1)).await.expect("a line of a stream");
        other.until_printed(1).await;
        assert_eq!(at.snapshot("jobs").await, before);
        us.set_evidence(Evidence::Readable);
        // The questions that hang are asked again.
        us.server(0).drop_connections();
        // By its keys or by its region, whichever is known first.
        other.until_logged(at.variable()).await;
        assert_eq!(at.snapshot("jobs").await, before);
        let rightful = at.run(&eu, "jobs").spawn();
        rightful.until_logged("checkpoint=stored").await;
        rightful.stop().await;
        other.stop().await;
    }
}

/// The end of a short run waits until it is known whose checkpoint it is: otherwise it could not be stored, and all would come again.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_before_it_could_ask_asks_first() {
    for at in [At::directory(), At::consul().await] {
        let sim = cluster("eu", &[502]).await;
        at.lead_once(&sim, "eu").await;
        sim.set_evidence(Evidence::Hanging);
        let setup = at.run(&sim, "jobs").env("NOMAD_TIMEOUT", "30s").env("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "5m");
        let process = setup.spawn();
        process.until_logged("checkpoint=stored").await;
        sim.append_line(made::job(510, 510, 1)).await.expect("a line of a stream");
        process.until_printed(1).await;
        process.signal(Signal::TERM);
        process.until_logged("drained").await;
        sim.set_evidence(Evidence::Readable);
        // The questions that hang are asked again.
        sim.server(0).drop_connections();
        let ended = process.end().await;
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
        assert_eq!(jobs(&ended.printed), ["job-510"]);
        let process = at.run(&sim, "jobs").spawn();
        process.until_logged("checkpoint=stored").await;
        assert_eq!(process.stop().await, [""; 0]);
    }
}

/// `state show` tells whose checkpoint it is.
#[tokio::test(flavor = "multi_thread")]
async fn state_show_tells_the_cluster() {
    let at = At::consul().await;
    let sim = cluster("eu", &[502]).await;
    let process = at.run(&sim, "jobs").env("NOMAD_FIREHOSE_CLUSTER", "production").spawn();
    process.until_printed(1).await;
    at.until("jobs", |checkpoint| checkpoint["cluster"]["region"] == "eu").await;
    process.stop().await;
    let text = at.state(&["show"]).await;
    assert!(text.contains(r#"region "eu""#) && text.contains(r#"label "production""#), "{text}");
    let told: Value = serde_json::from_str(&at.state(&["show", "--json"]).await).expect("JSON");
    let cluster = &told["kinds"][0]["checkpoint"]["cluster"];
    assert_eq!((&cluster["region"], &cluster["label"]), (&"eu".into(), &"production".into()), "{told}");
    assert_eq!(cluster["keys"][0], sim.keys()[0].as_str());
}
