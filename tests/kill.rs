//! Killed at random moments and started again: nothing is missing, order per key holds, and only what followed the last
//! checkpoint comes again.

mod common;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use common::{
    Setup, Signal, fixture_lines, seed,
    truth::{ALL, Seen, all_seen, expected_by_line},
};
use nomad_sim::Sim;
use serde_json::Value;

const KILLS: usize = 40;

/// What must come for one key, and how far it has come.
#[derive(Clone, Default)]
struct Key {
    /// Each version with the raft index that brought it.
    versions: Vec<(String, u64)>,
    delivered: usize,
}

type Keys = BTreeMap<(&'static str, String), Key>;

fn keys(lines: &[String]) -> Keys {
    let mut keys = Keys::new();
    for kind in ALL {
        for (line, seen) in lines.iter().zip(expected_by_line(kind, lines)) {
            let index = index_of(line);
            for Seen { kind, key, version } in seen {
                keys.entry((kind, key)).or_default().versions.push((version, index));
            }
        }
    }
    keys
}

fn index_of(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).expect("JSON")["Index"].as_u64().expect("an index")
}

/// Takes in what one run printed. Of each key it must be a stretch in order, that begins at most where the last one
/// ended, and not before the checkpoint that the run began with. Returns how many of the records were repeats.
fn take_run(keys: &mut Keys, printed: &[String], checkpoint: &HashMap<&str, u64>) -> usize {
    let mut runs: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for Seen { kind, key, version } in all_seen(printed) {
        runs.entry((kind, key)).or_default().push(version);
    }
    let mut repeats = 0;
    for (name, run) in runs {
        let key = keys.get_mut(&name).unwrap_or_else(|| panic!("nobody expects {name:?}"));
        let stored = checkpoint.get(name.0).copied().unwrap_or(0);
        let fits = |start: &usize| {
            let stretch = key.versions.get(*start..start + run.len());
            stretch.is_some_and(|stretch| stretch.iter().map(|(version, _)| version).eq(&run) && stretch[0].1 >= stored)
        };
        let start = (0..=key.delivered).rev().find(fits).unwrap_or_else(|| {
            panic!("{name:?} of {:?}: after {} and index {stored} came {run:?}", key.versions, key.delivered)
        });
        repeats += run.len().min(key.delivered - start);
        key.delivered = key.delivered.max(start + run.len());
    }
    repeats
}

/// The position of each kind's checkpoint.
fn checkpoint(data_dir: &Path) -> HashMap<&'static str, u64> {
    let position = |kind: &'static str| {
        let name = if kind == "jobliststubs" { "jobliststub" } else { kind };
        let text = std::fs::read_to_string(data_dir.join(format!("{name}.json"))).ok()?;
        let checkpoint: Value = serde_json::from_str(&text).expect("a checkpoint is whole at any moment");
        Some((kind, checkpoint["lanes"]["*"]["position"]["index"].as_u64().unwrap_or(0)))
    };
    ALL.into_iter().filter_map(position).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_nothing_is_missing_and_only_the_newest_comes_again() {
    let mut random = fastrand::Rng::with_seed(seed());
    let lines = fixture_lines("stream-complete.ndjson");
    let names = ["team-a", "team-b", "late"];
    let sim = names.iter().fold(Sim::builder().buffer(1_000), |sim, name| sim.namespace(name, 1));
    let sim = sim.start().await.expect("the simulator starts");
    let data_dir = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["run", "--resources", "all"], &sim.url(0))
        .data_dir(data_dir.path())
        .env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "100ms");
    let mut keys = keys(&lines);
    let (mut left, mut cut, mut repeats) = (lines.iter(), 0, 0);
    for run in 0..KILLS {
        let stored = checkpoint(data_dir.path());
        // However slow the machine: every second run has printed something when it is killed, and of each fourth one
        // nothing is stored, so that all of it comes again.
        let (is_waited_for, is_stored) = (run % 2 == 0, run % 4 > 0);
        let setup = setup.clone().env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", if is_stored { "100ms" } else { "1h" });
        let process = setup.spawn();
        // The moment of the kill is what is random, so this one does sleep.
        let mut moment = Duration::from_millis(random.u64(50..150));
        let more = random.usize(0..=lines.len() / KILLS).max(usize::from(is_waited_for));
        for line in left.by_ref().take(more) {
            sim.append_line(line.clone()).await.expect("a line of a stream");
            let pause = Duration::from_millis(random.u64(0..20));
            tokio::time::sleep(pause).await;
            moment = moment.saturating_sub(pause);
        }
        if is_waited_for {
            process.until_printed(1).await;
        }
        tokio::time::sleep(moment).await;
        let ended = process.end_by(Signal::KILL).await;
        cut += usize::from(!ended.printed.is_empty());
        repeats += take_run(&mut keys, &ended.printed, &stored);
    }
    sim.append_lines(left.cloned()).await.expect("lines of a stream");
    let stored = checkpoint(data_dir.path());
    let process = setup.spawn();
    let due = |keys: &Keys| keys.values().map(|key| key.versions.len() - key.delivered).sum::<usize>();
    let is_all_printed = || {
        let mut keys = keys.clone();
        take_run(&mut keys, &process.printed(), &stored);
        due(&keys) == 0
    };
    process.until_logged("subscribed to the event stream").await;
    process.until("everything is printed", is_all_printed).await;
    repeats += take_run(&mut keys, &process.stop().await, &stored);
    assert_eq!(due(&keys), 0);
    println!("{cut} of {KILLS} runs had printed something when they were killed; {repeats} records came again");
    assert!(cut >= KILLS / 2 && repeats > 0, "the kills came too early or too late to show anything");
}
