//! Lists, single objects and summaries that hang or trickle: live events flow all the same.

use std::time::{Duration, Instant};

use nomad_sim::{Hanging, Sim};

use crate::common::{
    PATIENCE, Process, Setup, made,
    truth::{all_seen, assert_exactly},
};
use crate::support::*;

/// Objects that only a list has.
const LISTED: u64 = 40;
/// What the server's buffer still holds of them at the start.
const BUFFER: u64 = 10;
/// Live events of one test: few, for the program gives up a page that takes a minute, and machines can be busy.
const LIVE: u64 = 100;

const NOTHING: Hanging = Hanging { pages: false, tables: false, objects: false, summaries: false };
const PAGES: Hanging = Hanging { pages: true, ..NOTHING };
const OBJECTS: Hanging = Hanging { objects: true, ..NOTHING };
const SUMMARIES: Hanging = Hanging { summaries: true, ..NOTHING };

/// Appends a line after another, each when the one before is printed, and gives how long each took to come.
async fn live(sim: &Sim, process: &Process, line: impl Fn(u64) -> String) -> Vec<Duration> {
    let mut latencies = Vec::new();
    for n in 0..LIVE {
        let (before, begun) = (process.count(), Instant::now());
        sim.append_line(line(n)).await.expect("a line");
        while process.count() == before {
            assert!(begun.elapsed() < PATIENCE, "live event {n} does not come:\n{}", process.log());
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        latencies.push(begun.elapsed());
    }
    latencies
}

/// Not asserted: a busy machine is no fault of the program.
fn show(what: &str, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let (half, most) = (latencies[latencies.len() / 2], latencies[latencies.len() * 99 / 100]);
    println!("{what}: live events took {half:?} (median), {most:?} (p99), {:?} (max)", latencies[latencies.len() - 1]);
}

async fn pages_hang_or_trickle(what: &str, hanging: Hanging, trickle: Duration) {
    let sim = Sim::builder().buffer(BUFFER as usize).start().await.expect("starts");
    append_evaluations(&sim, 10..=9 + LISTED).await;
    sim.server(0).hang(hanging);
    sim.server(0).trickle(trickle);
    let process = Setup::new(&["evaluations"], &sim.url(0)).spawn();
    process.until_printed(BUFFER as usize).await;
    process.until("a page is asked for", || !full_lists(&sim).is_empty()).await;
    let asked = full_lists(&sim).len();
    show(what, live(&sim, &process, |n| made::evaluation(1_000 + n, 1_000 + n)).await);
    assert_eq!(full_lists(&sim).len(), asked, "the first page is still under way");
    assert_eq!(process.logged("cannot read the list") + process.logged("backfill finished"), 0, "{}", process.log());
    sim.server(0).hang(NOTHING);
    sim.server(0).trickle(Duration::ZERO);
    process.until_printed((LISTED + LIVE) as usize).await;
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_flow_while_a_page_is_not_answered() {
    pages_hang_or_trickle("a page that hangs", PAGES, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_flow_while_a_page_trickles() {
    pages_hang_or_trickle("a page that trickles", NOTHING, Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_events_flow_while_single_objects_are_not_answered() {
    let sim = Sim::builder().buffer(BUFFER as usize).start().await.expect("starts");
    sim.append_lines((10..10 + LISTED).map(|n| made::job(n, n, 1)).collect::<Vec<_>>()).await.expect("lines");
    sim.server(0).hang(OBJECTS);
    let process = Setup::new(&["jobs"], &sim.url(0)).spawn();
    process.until_printed(BUFFER as usize).await;
    let asked = || sim.requests().iter().filter(|request| request.target.starts_with("/v1/job/")).count();
    process.until("a job is asked for", || asked() > 0).await;
    show("jobs that hang", live(&sim, &process, |n| made::job(1_000 + n, 1_000 + n, 1)).await);
    assert_eq!(process.logged("cannot read the list") + process.logged("backfill finished"), 0, "{}", process.log());
    sim.server(0).hang(NOTHING);
    process.until_printed((LISTED + LIVE) as usize).await;
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["jobs"]));
}

/// The stubs wait for their summaries; jobs, on the same connection, do not. Then all stubs come, each job's in order.
#[tokio::test(flavor = "multi_thread")]
async fn live_events_of_other_kinds_flow_while_summaries_are_not_answered() {
    let sim = Sim::builder().start().await.expect("starts");
    sim.append_line(made::job(10, 10, 1)).await.expect("a line");
    let process = Setup::new(&["run", "--resources", "jobs,jobliststubs"], &sim.url(0)).spawn();
    process.until_printed(2).await;
    sim.server(0).hang(SUMMARIES);
    show("summaries that hang", live(&sim, &process, |n| made::job(1_000 + n, 1_000 + n % 50, 1)).await);
    assert_eq!(process.count(), 2 + LIVE as usize, "no stub comes without its summary");
    sim.server(0).hang(NOTHING);
    process.until_printed(2 + 2 * LIVE as usize).await;
    let printed = all_seen(&process.stop().await);
    assert_exactly(&printed, &expected_of(&sim, &["jobs", "jobliststubs"]));
}
