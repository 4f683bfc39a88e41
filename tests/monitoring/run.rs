//! What Prometheus sees of a real run, at the right moments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    common::{Signal, made},
    expressions::{panel, panels},
    prometheus::{Answer, Prometheus},
    scene::{BUFFER, Scene},
};

/// Within this time after the fault, the expression of its alert has to be true.
const WITHIN: Duration = Duration::from_secs(15);

/// These have no series in a run without certificates, or while no lease changes hands.
const CAN_BE_EMPTY: [&str; 2] = ["Certificates", "annotation"];

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// The labels `names` of each series.
fn labels(answer: &Answer, names: [&str; 2]) -> Vec<[String; 2]> {
    answer.iter().map(|(labels, _)| names.map(|name| labels.get(name).cloned().unwrap_or_default())).collect()
}

/// Every expression of the dashboard has an answer, and no rule failed.
async fn assert_all_answer(prometheus: &Prometheus) {
    for query in panels() {
        // A rate needs two scrapes.
        let what = format!("an answer for {}: {}", query.panel, query.expression);
        let can_be_empty = CAN_BE_EMPTY.contains(&query.panel.as_str());
        prometheus.until(&what, async |it| !it.query(&query.expression).await.is_empty() || can_be_empty).await;
    }
    for (name, expression, error) in prometheus.rules().await {
        assert_eq!(error, "", "{name}");
        prometheus.query(&expression).await;
    }
}

/// Waits until an alert fires, and asserts that it took no longer than it may after `begun`.
async fn fires_in_time(prometheus: &Prometheus, name: &str, begun: f64) {
    prometheus.until_firing(name, true).await;
    // The first moment at which the expression was true, whenever this test came to look.
    let since = format!("max(ALERTS_FOR_STATE{{alertname=\"{name}\"}})");
    let since = prometheus.value(&since).await.expect("it fires");
    assert!(since - begun < WITHIN.as_secs_f64(), "{name} fired {} s after the fault", since - begun);
}

/// Nothing is wrong, and every expression says so.
async fn all_is_well(scene: &Scene) {
    let prometheus = &scene.prometheus;
    prometheus.until("no alert fires", async |it| it.all_firing().await.is_empty()).await;
    prometheus.until("one stands by", async |it| it.value(&panel("Standbys")).await == Some(1.0)).await;
    prometheus.until("all is delivered", async |it| it.value(&panel("State")).await == Some(0.0)).await;
    assert_eq!(prometheus.value(&panel("Replicas")).await, Some(2.0));
    let streams = prometheus.query(&panel("Event stream")).await;
    assert_eq!(streams.len(), 2, "{streams:?}");
    assert!(streams.iter().all(|(_, state)| *state == 1.0), "{streams:?}");
    assert_all_answer(prometheus).await;
}

/// The sink answers 503 to everything.
async fn the_sink_dies(scene: &Scene, from: u64) {
    let prometheus = &scene.prometheus;
    scene.sink_takes(false);
    scene.append(from..=from + 9).await;
    let begun = now();
    fires_in_time(prometheus, "NomadFirehoseSinkFailing", begun).await;
    assert_eq!(labels(&prometheus.firing("NomadFirehoseSinkFailing").await, ["sink", "class"]), [["http", "server"]]);
    fires_in_time(prometheus, "NomadFirehoseLagging", begun).await;
    assert_eq!(labels(&prometheus.firing("NomadFirehoseLagging").await, ["kind", "pipeline"]), [["evaluations", ""]]);
    prometheus.until_firing("NomadFirehoseReplicaNotReady", true).await;
    assert_eq!(prometheus.value(&panel("State")).await, Some(3.0));
    let grown = prometheus.value("max(deriv(nomad_firehose_lag_seconds{kind=\"evaluations\"}[5s]))").await;
    assert!(grown.is_some_and(|a_second| (0.5..2.0).contains(&a_second)), "{grown:?}");
    // What waits for the sink is no fault of the source.
    assert!(prometheus.firing("NomadFirehoseSourceStalled").await.is_empty());
    assert_all_answer(prometheus).await;
    scene.sink_takes(true);
    scene.until_taken(usize::try_from(from).expect("small")).await;
}

/// The leader is killed.
async fn the_leader_dies(scene: &mut Scene, from: u64) {
    let second = scene.instance(1);
    let killed = scene.replicas[0].take().expect("it runs");
    killed.end_by(Signal::KILL).await;
    let prometheus = &scene.prometheus;
    prometheus.until_firing("NomadFirehoseNoLeader", true).await;
    prometheus
        .until("the second leads", async |it| {
            let leaders = it.query(&format!("{} == 1", panel("Leader"))).await;
            labels(&leaders, ["kind", "instance"]) == [["evaluations", second.as_str()], ["nodes", &second]]
                || labels(&leaders, ["kind", "instance"]) == [["nodes", second.as_str()], ["evaluations", &second]]
        })
        .await;
    for name in ["NomadFirehoseReplicaDown", "NomadFirehoseStandbyMissing"] {
        prometheus.until_firing(name, true).await;
    }
    let takeovers = prometheus.query(&format!("nomad_firehose_takeovers_total{{instance=\"{second}\"}}")).await;
    assert!(takeovers.iter().all(|(_, times)| *times == 1.0) && takeovers.len() == 2, "{takeovers:?}");
    assert!(prometheus.firing("NomadFirehoseTwoLeaders").await.is_empty());
    prometheus.until_firing("NomadFirehoseNoLeader", false).await;
    scene.append(from..=from).await;
    scene.until_taken(usize::try_from(from - 9).expect("small")).await;
    scene.start_replica(0).await;
}

/// The stream is open and silent, while the tables move.
async fn the_stream_stands_still(scene: &Scene, from: u64) {
    let prometheus = &scene.prometheus;
    scene.sim.server(0).stall_all();
    scene.append(from..=from + 4).await;
    let begun = now();
    fires_in_time(prometheus, "NomadFirehoseSourceStalled", begun).await;
    prometheus.until_firing("NomadFirehoseLagging", true).await;
    let lag = prometheus.value("max(nomad_firehose_lag_indexes{kind=\"evaluations\"})").await;
    assert_eq!(lag, Some(5.0));
    assert!(prometheus.firing("NomadFirehoseSinkFailing").await.is_empty());
    scene.sim.server(0).unstall();
    scene.until_taken(usize::try_from(from - 5).expect("small")).await;
}

/// More happens than the cluster keeps, while nobody can read it.
async fn a_gap(scene: &Scene, from: u64) {
    let prometheus = &scene.prometheus;
    scene.sim.server(0).refuse(true);
    prometheus.until_firing("NomadFirehoseSourceStalled", true).await;
    scene.append(from..=from + 2 * BUFFER).await;
    scene.sim.server(0).refuse(false);
    prometheus.until_firing("NomadFirehoseGap", true).await;
    let gaps = prometheus.query(&format!("{} > 0", panel("Gaps"))).await;
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    let kinds = prometheus.firing("NomadFirehoseGap").await;
    assert!(labels(&kinds, ["kind", "pipeline"]).contains(&["evaluations".to_owned(), String::new()]), "{kinds:?}");
}

/// `make alerts-test`: it takes two minutes and a half.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn what_garbage_collection_does_is_lag_until_lists_have_cleared_it() {
    let scene = Scene::start().await;
    scene.until_taken(3).await;
    let prometheus = &scene.prometheus;
    let lag = "max(nomad_firehose_lag_seconds{kind=\"evaluations\"})";
    for number in [10, 11] {
        prometheus.until("all is delivered", async |it| it.value(lag).await == Some(0.0)).await;
        scene.sim.remove(nomad_sim::Kind::Evaluation, "default", &made::id(number)).await;
        prometheus.until("the table is ahead", async |it| it.value(lag).await > Some(1.0)).await;
    }
    prometheus.until("lists have cleared it", async |it| it.value(lag).await == Some(0.0)).await;
    assert_eq!(scene.server.taken().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_sink_shows_within_fifteen_seconds() {
    let scene = Scene::start().await;
    scene.until_taken(3).await;
    all_is_well(&scene).await;
    the_sink_dies(&scene, 13).await;
    scene.prometheus.until_firing("NomadFirehoseLagging", false).await;
}

/// `make alerts-test`: it takes two minutes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes"]
async fn every_fault_shows_as_what_it_is_and_goes_away() {
    let mut scene = Scene::start().await;
    scene.until_taken(3).await;
    all_is_well(&scene).await;
    the_sink_dies(&scene, 13).await;
    all_is_well(&scene).await;
    the_leader_dies(&mut scene, 23).await;
    all_is_well(&scene).await;
    the_stream_stands_still(&scene, 24).await;
    all_is_well(&scene).await;
    a_gap(&scene, 29).await;
    all_is_well(&scene).await;
}
