//! Stopped and killed in the midst of everything: nothing is missing, and a clean stop repeats nothing.

use std::time::Duration;

use nomad_sim::Broker;

use crate::common::{Signal, seed};
use crate::support::*;

const KILLS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_nothing_is_missing() {
    let mut random = fastrand::Rng::with_seed(seed());
    let sim = recorded().await;
    sim.set_broker(Broker::Missing);
    let data_dir = tempfile::tempdir().expect("a directory");
    let setup = setup(&sim).data_dir(data_dir.path()).env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "100ms");
    // Once it is known that there is no stream, lists begin at once.
    sim.step(1).await;
    let process = setup.spawn();
    until_shown(&sim, &process, &[]).await;
    let (mut printed, mut cut) = (versions(&process.stop().await), 0);
    for run in 0..KILLS {
        let process = setup.spawn();
        // However slow the machine: every second run has printed something when it is killed. So many entries change
        // some table.
        if run % 2 == 0 && sim.step(random.u64(5..9)).await > 0 {
            process.until_printed(1).await;
        }
        // The moment of the kill is what is random, so this one does sleep.
        for _ in 0..random.usize(1..6) {
            sim.step(random.u64(0..3)).await;
            tokio::time::sleep(Duration::from_millis(random.u64(10..120))).await;
        }
        let ended = process.end_by(Signal::KILL).await;
        cut += usize::from(!ended.printed.is_empty());
        let run = versions(&ended.printed);
        assert_true(&sim, &run);
        printed.extend(run);
    }
    sim.play_all().await;
    let process = setup.spawn();
    until_shown(&sim, &process, &printed).await;
    let run = versions(&process.stop().await);
    assert_true(&sim, &run);
    println!("{cut} of {KILLS} runs had printed something when they were killed");
    assert!(cut > KILLS / 4, "the kills came too early to show anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_and_started_nothing_comes_twice() {
    let mut random = fastrand::Rng::with_seed(seed());
    let sim = recorded().await;
    sim.set_broker(Broker::Missing);
    let data_dir = tempfile::tempdir().expect("a directory");
    let setup = setup(&sim).data_dir(data_dir.path());
    let mut printed = Vec::new();
    while sim.step(random.u64(5..40)).await > 0 {
        let process = setup.spawn();
        let before = process.count();
        // Stopped as soon as anything comes, too: in the midst of the lists.
        process.until("something is printed", || process.count() > before).await;
        if random.bool() {
            until_shown(&sim, &process, &printed).await;
        }
        printed.extend(versions(&process.stop().await));
        // What a run finds is new: each step changes some table.
        assert_no_repeats(&printed);
    }
    let process = setup.spawn();
    // There may be nothing left to print, and a signal that comes before the program listens to it would kill it.
    process.until_logged("became leader").await;
    until_shown(&sim, &process, &printed).await;
    printed.extend(versions(&process.stop().await));
    assert_no_repeats(&printed);
    assert_true(&sim, &printed);
}
