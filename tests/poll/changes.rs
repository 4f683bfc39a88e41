//! From the stream to lists and back.

use std::collections::BTreeSet;

use nomad_sim::{Broker, Sim};

use crate::common::{Process, Setup, seed};
use crate::support::*;

const BACK: &str = "event stream available again";

/// Takes the stream away, as a server does that starts anew with its broker off, and waits for the lists.
async fn away(sim: &Sim, process: &Process) {
    let before = process.logged(POLLING);
    sim.set_broker(Broker::Missing);
    sim.server(0).restart();
    process.until("lists are read", || process.logged(POLLING) > before).await;
}

/// Gives it back.
async fn back(sim: &Sim, process: &Process) {
    let before = process.logged(BACK);
    sim.set_broker(Broker::Enabled);
    process.until("the stream is read", || process.logged(BACK) > before && sim.server(0).open_streams() > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_all_changes_everything_comes_once() {
    let mut random = fastrand::Rng::with_seed(seed());
    let sim = recorded().await;
    let process = setup(&sim).spawn();
    process.until_logged("subscribed").await;
    let mut more = true;
    while more {
        more = sim.step(random.u64(1..30)).await > 0;
        until_shown(&sim, &process, &[]).await;
        away(&sim, &process).await;
        // What comes right at the change is in nobody's hands.
        more &= sim.step(random.u64(1..30)).await > 0;
        if random.bool() {
            until_shown(&sim, &process, &[]).await;
        }
        back(&sim, &process).await;
    }
    until_shown(&sim, &process, &[]).await;
    let log = process.log();
    let printed = versions(&process.stop().await);
    assert_true(&sim, &printed);
    assert_no_more_than_streamed(&sim, &printed);
    assert_eq!(log.matches(POLLING).count(), log.matches(BACK).count(), "{log}");
}

/// Raw events wait, and what they missed is told in their stream; the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn raw_events_wait_for_the_stream() {
    let sim = recorded().await;
    let ports = Ports::reserve();
    let setup = Setup::new(&["run", "--resources", "all"], &sim.url(0))
        .env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let process = setup.spawn();
    process.until_logged("subscribed").await;
    sim.play_to(60).await;
    let is_raw = |record: &&String| record.contains("\"Topic\":");
    let raw = |process: &Process| process.printed().iter().filter(is_raw).count();
    let events = |sim: &Sim| sim.truth().iter().map(|line| line.events.len()).sum::<usize>();
    process.until("all events", || raw(&process) == events(&sim)).await;
    away(&sim, &process).await;
    let before = raw(&process);
    sim.play_to(90).await;
    until_shown(&sim, &process, &[]).await;
    let page = get(&format!("http://{}/", ports.address())).await;
    assert!(page.contains("raw events come from the stream alone") && page.contains("leader, polling"), "{page}");
    assert_eq!(raw(&process), before);
    back(&sim, &process).await;
    sim.play_to(100).await;
    let since: BTreeSet<String> =
        sim.truth().iter().filter(|line| line.index > 90).map(|line| line.index.to_string()).collect();
    process
        .until("events again, and the gap", || {
            let raw = process.printed().into_iter().filter(|record| is_raw(&record));
            let raw: Vec<_> = raw.skip(before).collect();
            raw.iter().any(|record| record.contains("\"Topic\":\"Firehose\""))
                && since.iter().all(|index| raw.iter().any(|record| record.contains(&format!("\"Index\":{index}"))))
        })
        .await;
    let page = get(&format!("http://{}/", ports.address())).await;
    assert!(!page.contains("polling") && !page.contains("raw events come"), "{page}");
    process.stop().await;
}
