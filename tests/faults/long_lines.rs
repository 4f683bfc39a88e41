//! A line that is longer than 256 MiB, the most that is held of one, is a gap: reported once, and everything behind it
//! goes on, also after a restart.

use nomad_sim::Sim;
use serde_json::{Value, json};

use crate::common::{Process, Setup};
use crate::support::*;

/// What is held of a line at most.
const LIMIT: usize = 256 << 20;
/// What the program takes beside that.
const CONSTANT: u64 = 64 << 20;
/// How many jobs the line changes. One object alone would not fit into a list either.
const JOBS: u64 = 5;

/// One transaction with a new version of several jobs. Their stubs do not have what makes it long.
fn long_line(index: u64) -> String {
    let padding = "x".repeat(LIMIT / JOBS as usize + (1 << 20));
    let events = (1..=JOBS).map(|n| {
        let event = job(index, n, 10);
        let (_, event) = event.split_once('[').expect("an event");
        let (event, _) = event.rsplit_once(']').expect("the event's end");
        event.replacen("\"Status\"", &format!("\"Padding\":\"{padding}\",\"Status\""), 1)
    });
    format!("{{\"Events\":[{}],\"Index\":{index}}}", events.collect::<Vec<_>>().join(","))
}

fn gaps(printed: &[String]) -> Vec<String> {
    printed.iter().filter(|line| line.contains("\"Topic\":\"Firehose\"")).cloned().collect()
}

async fn gap_metric(ports: &Ports, kind: &str) -> u64 {
    metric(ports.base, &format!("nomad_firehose_gaps_total{{kind=\"{kind}\"}}")).await
}

/// The stub of a job in this version is printed.
fn has_stub(process: &Process, job: u64, index: u64) -> bool {
    let (id, modified) = (format!("\"ID\":\"job-{job}\""), format!("\"ModifyIndex\":{index}"));
    process.printed().iter().any(|line| !line.contains("\"Payload\"") && line.contains(&id) && line.contains(&modified))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_is_a_gap_and_everything_behind_it_goes_on() {
    let sim = Sim::builder().buffer(8).start().await.expect("starts");
    sim.append_line(job(10, 1, 10)).await.expect("a line");
    let (dir, ports) = (tempfile::tempdir().expect("a directory"), Ports::reserve());
    let setup = Setup::new(&["run", "--resources", "events,jobliststubs"], &sim.url(0))
        .data_dir(dir.path())
        .env("NOMAD_FIREHOSE_LISTEN", ports.address())
        .env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "100ms")
        .env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "4MiB");
    let process = setup.spawn();
    process.until_printed(2).await;
    until_stream(&sim).await;
    sim.append_line(long_line(20)).await.expect("a line");

    process.until("the gap is in the stream of events", || !gaps(&process.printed()).is_empty()).await;
    let gap: Value = serde_json::from_str(&gaps(&process.printed())[0]).expect("JSON");
    assert_eq!(gap["Payload"]["Gap"], json!({"FromIndex": 20, "UntilIndex": 21}));
    process.until("the list gives the jobs", || (1..=JOBS).all(|n| has_stub(&process, n, 20))).await;
    for kind in ["events", "jobliststubs"] {
        assert_eq!(gap_metric(&ports, kind).await, 1, "{kind}");
    }
    let peak = process.peak_memory();
    println!("{} MiB at most", peak >> 20);
    assert!(peak < LIMIT as u64 + CONSTANT, "{} MiB", peak >> 20);
    assert_eq!(process.logged("event stream line too long"), 1, "{}", process.log());
    let printed = process.stop().await;
    assert_eq!(gaps(&printed).len(), 1);

    // The position is that of the line, so that the server sends it again, and what follows on the same connection.
    let process = setup.spawn();
    process.until_logged("subscribed to the event stream").await;
    sim.append_line(job(21, 6, 10)).await.expect("a line");
    process.until("what follows comes", || has_stub(&process, 6, 21)).await;
    reconnect(&sim, &process).await;
    sim.append_line(job(22, 7, 10)).await.expect("a line");
    process.until("what follows comes", || has_stub(&process, 7, 22)).await;
    assert_eq!(gap_metric(&ports, "events").await, 0);
    assert_eq!(process.logged("too long"), 0, "{}", process.log());
    assert_eq!(process.stop().await.len(), 4, "two events and two stubs");
}
