//! What is wrong with one pipeline is no matter of another.

use super::*;
use crate::common::{Signal, probe};

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_sink_delays_no_other_pipeline() {
    let (sim, place, ports) = (cluster(3).await, Place::new(), Ports::reserve());
    let (good, stalled) = (taker().await, Server::start(|_| Reply::Stall).await);
    place.write(&format!("{}{}max-in-flight = '64KiB'\n", table("good", &good), table("stalled", &stalled)));
    let process = place.run(&sim, &ports).spawn();
    until_taken(&good, 3).await;
    // More than the window of the stalled one holds, so that it reads no further.
    sim.append_lines((4..=300).map(|index| made::job(index, index, 1_000))).await.expect("lines of a stream");
    until_taken(&good, 300).await;
    assert_eq!(ids(&good), (1..=300).map(|n| format!("job-{n}")).collect::<Vec<_>>());
    assert_eq!(stalled.taken().len(), 0);
    let page = probe::get(&format!("http://127.0.0.1:{}/", ports.base)).await;
    assert!(page.contains("good/jobs") && page.contains("stalled/jobs"), "{page}");
    let delivered = r#"nomad_firehose_records_delivered_total{pipeline="good",kind="jobs"}"#;
    assert_eq!(probe::metric(ports.base, delivered).await, 300);
    // Each has its own checkpoint.
    let stored = |name: &str| place.directory.path().join(format!("data/pipelines/{name}/jobs.json")).exists();
    common::until("the checkpoint of the good one is stored", || stored("good")).await;
    assert!(process.log().lines().any(|line| line.contains("became leader") && line.contains("pipeline=good")));
    // The stalled one cannot end cleanly.
    drop(process.end_by(Signal::KILL).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_pipeline_resumes_from_its_own_checkpoint() {
    let (sim, place, ports) = (cluster(3).await, Place::new(), Ports::reserve());
    let (one, two) = (taker().await, taker().await);
    place.write(&format!("{}{}start = 'now'\n", table("one", &one), table("two", &two)));
    let process = place.run(&sim, &ports).spawn();
    until_taken(&one, 3).await;
    probe::until_ready(ports.base, true, "two/jobs: leader").await;
    sim.append_line(made::job(4, 4, 1)).await.expect("a line of a stream");
    until_taken(&two, 1).await;
    until_taken(&one, 4).await;
    process.stop().await;
    sim.append_line(made::job(5, 5, 1)).await.expect("a line of a stream");
    let process = place.run(&sim, &ports).spawn();
    until_taken(&one, 5).await;
    until_taken(&two, 2).await;
    process.stop().await;
    assert_eq!(ids(&one), ["job-1", "job-2", "job-3", "job-4", "job-5"]);
    assert_eq!(ids(&two), ["job-4", "job-5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_any_pipeline_shows_before_one_begins() {
    let (sim, place, ports) = (cluster(3).await, Place::new(), Ports::reserve());
    let good = taker().await;
    let bad = |name: &str| format!("{}dead-letter = 'file:/dev/null/{name}'\n", table(name, &good));
    place.write(&format!("{}{}{}", table("good", &good), bad("first"), bad("second")));
    let (code, _, log) = place.run(&sim, &ports).output();
    assert_eq!(code, Some(2), "{log}");
    let named = log.lines().find(|line| line.contains("invalid configuration")).expect("it says why");
    for part in ["[pipeline.first]", "[pipeline.second]", "NOMAD_FIREHOSE_DEAD_LETTER"] {
        assert!(named.contains(part), "{named}");
    }
    assert_eq!(good.taken().len(), 0);
}
