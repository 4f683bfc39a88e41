//! The sink `alertmanager` with the whole program and a real Alertmanager.

mod common;

use std::time::Instant;

use common::{PATIENCE, Setup, alertmanager::Alertmanager, gate::Gate, made::*};
use nomad_sim::Sim;
use serde_json::Value;

/// Waits until an Alertmanager has so many alerts, and returns them by the ids of the evaluations that they are about.
async fn until_alerts(alertmanager: &Alertmanager, count: usize) -> Vec<(String, Value)> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let alerts = alertmanager.alerts().await;
        if alerts.len() == count {
            let id = |alert: &Value| alert["annotations"]["Evaluation"].as_str().expect("an id").to_owned();
            return alerts.into_iter().map(|alert| (id(&alert), alert)).collect();
        }
        assert!(Instant::now() < deadline, "{alerts:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_alerts_of_every_alertmanager() {
    let sim = Sim::builder().start().await.expect("starts");
    sim.append_lines((20..25).map(|index| evaluation(index, index)).collect::<Vec<_>>()).await.expect("lines");
    let (one, two) = (Alertmanager::start().await, Alertmanager::start().await);
    let gate = Gate::start(two.url().trim_start_matches("http://")).await;
    let setup = Setup::new(&["evaluations"], &sim.url(0))
        .env("NOMAD_FIREHOSE_NOTIFY_WINDOW", "0s")
        .env("SINK_TYPE", "alertmanager")
        .env("SINK_ALERTMANAGER_URL", format!("{},{}", one.url(), gate.url()))
        .env("SINK_ALERTMANAGER_LABELS", "team=web")
        .env("SINK_ALERTMANAGER_TTL", "1h")
        .env("NOMAD_FIREHOSE_CLUSTER", "blue");
    let process = setup.spawn();
    for alertmanager in [&one, &two] {
        for (evaluation, alert) in until_alerts(alertmanager, 5).await {
            let labels = &alert["labels"];
            for (name, value) in [
                ("alertname", "Nomad evaluations"),
                ("severity", "info"),
                ("namespace", "default"),
                ("job", "job"),
                ("team", "web"),
                ("cluster", "blue"),
            ] {
                assert_eq!(labels[name], value, "{alert}");
            }
            assert!(labels["key"].as_str().is_some_and(|key| key.contains(&evaluation)), "{alert}");
            assert_eq!(alert["annotations"]["summary"], "Evaluation of job job is complete");
            assert!(alert["startsAt"].as_str() < alert["endsAt"].as_str(), "{alert}");
            assert_eq!(alert["status"]["state"], "active");
        }
    }
    // A new version of an evaluation is the same alert.
    sim.append_lines(vec![evaluation(30, 20)]).await.expect("lines");
    let deadline = Instant::now() + PATIENCE;
    while !one.alerts().await.iter().any(|alert| alert["annotations"]["Index"] == "30") {
        assert!(Instant::now() < deadline, "{}", process.log());
    }
    assert_eq!(one.alerts().await.len(), 5);
    // One that is down holds nothing up.
    gate.cut();
    sim.append_lines((40..43).map(|index| evaluation(index, index)).collect::<Vec<_>>()).await.expect("lines");
    until_alerts(&one, 8).await;
    process.until_logged("one of the servers fails").await;
    gate.open();
    sim.append_lines(vec![evaluation(50, 50)]).await.expect("lines");
    until_alerts(&one, 9).await;
    until_alerts(&two, 6).await;
    process.until_logged("one of the servers recovered").await;
    assert_eq!(
        (process.logged("one of the servers fails"), process.logged("delivery failed")),
        (1, 0),
        "{}",
        process.log()
    );
    process.stop().await;
}
