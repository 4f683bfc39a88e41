//! `state set`: the next leader continues right after the index that an operator has chosen, from Consul and from files.

mod common;

use std::path::Path;

use common::{
    Setup,
    consul::{Consul, Options},
    made,
};
use nomad_sim::Sim;
use serde_json::Value;

/// A cluster whose evaluations have even indexes, from 2 to `until`.
async fn cluster(until: u64, buffer: usize) -> Sim {
    let sim = Sim::builder().buffer(buffer).start().await.expect("the simulator starts");
    append(&sim, 2, until).await;
    sim
}

async fn append(sim: &Sim, from: u64, until: u64) {
    let lines: Vec<_> = (from..=until).step_by(2).map(|index| made::evaluation(index, index)).collect();
    sim.append_lines(lines).await.expect("lines of a stream");
}

/// Where the state is.
#[derive(Clone, Copy)]
enum At<'a> {
    /// In a folder of this name.
    Consul(&'a Consul, &'a str),
    Directory(&'a Path),
}

impl At<'_> {
    fn place(self, setup: Setup) -> Setup {
        match self {
            At::Consul(consul, folder) => setup
                .env("NOMAD_FIREHOSE_COORDINATOR", "consul")
                .env("CONSUL_HTTP_ADDR", consul.url())
                .env("NOMAD_FIREHOSE_CONSUL_PREFIX", folder),
            At::Directory(path) => setup.data_dir(path),
        }
    }

    fn run(self, sim: &Sim, kind: &str) -> Setup {
        self.place(Setup::new(&[kind], &sim.url(0)))
    }

    /// Exit code, stdout, stderr.
    async fn set(self, sim: &Sim, arguments: &[&str]) -> (Option<i32>, String, String) {
        let arguments = [&["state", "set"], arguments].concat();
        let setup = self.place(Setup::bare(&arguments)).env("NOMAD_ADDR", sim.url(0));
        tokio::task::spawn_blocking(move || setup.output()).await.expect("it does not panic")
    }
}

/// The indexes of the records, in their order.
fn indexes(printed: &[String]) -> Vec<u64> {
    let index = |line: &String| {
        let record: Value = serde_json::from_str(line).expect("JSON");
        record.get("ModifyIndex").or(record.get("Index")).and_then(Value::as_u64).expect("an index")
    };
    printed.iter().map(index).collect()
}

fn even(from: u64, until: u64) -> Vec<u64> {
    (from..=until).step_by(2).collect()
}

async fn continues_exactly(at: At<'_>, kind: &str) {
    let sim = cluster(60, 1_000).await;
    let process = at.run(&sim, kind).spawn();
    process.until_printed(30).await;
    process.stop().await;

    // Back, to an index without an event.
    let (code, text, log) = at.set(&sim, &["--index", "41"]).await;
    assert_eq!((code, text), (Some(0), format!("{kind}: *@60 → *@41\n")), "{log}");
    let process = at.run(&sim, kind).spawn();
    process.until_printed(10).await;
    append(&sim, 62, 70).await;
    process.until_printed(15).await;
    assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
    assert_eq!(indexes(&process.stop().await), even(42, 70));

    // Forward, to one with an event, past what was never delivered.
    append(&sim, 72, 90).await;
    let (code, text, log) = at.set(&sim, &["--index", "80", "--json", kind]).await;
    assert_eq!(code, Some(0), "{text}{log}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let row = &report["kinds"][0];
    assert_eq!((&row["before"][0]["index"], &row["after"][0]["index"]), (&70.into(), &80.into()), "{text}");
    let process = at.run(&sim, kind).spawn();
    process.until_printed(5).await;
    assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
    assert_eq!(indexes(&process.stop().await), even(82, 90));

    // To the end.
    append(&sim, 92, 100).await;
    let (code, text, log) = at.set(&sim, &["--now"]).await;
    assert_eq!((code, text), (Some(0), format!("{kind}: *@90 → *@100\n")), "{log}");
    let process = at.run(&sim, kind).spawn();
    process.until_logged("subscribed to the event stream").await;
    append(&sim, 102, 104).await;
    process.until_printed(2).await;
    assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
    assert_eq!(indexes(&process.stop().await), even(102, 104));

    // A second start goes on as ever.
    append(&sim, 106, 106).await;
    let process = at.run(&sim, kind).spawn();
    process.until_printed(1).await;
    assert_eq!(indexes(&process.stop().await), [106]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_continues_right_after_the_index_in_consul() {
    let consul = Consul::start(Options::default()).await;
    continues_exactly(At::Consul(&consul, "a"), "evaluations").await;
    assert_eq!(consul.get("a/evaluations.value").await.as_deref(), Some(b"106".as_slice()));
    continues_exactly(At::Consul(&consul, "b"), "events").await;
    let names: Vec<_> = consul.sessions().await.iter().map(|session| session["Name"].clone()).collect();
    assert_eq!(names, [""; 0], "no session is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_continues_right_after_the_index_in_files() {
    for kind in ["evaluations", "events"] {
        let directory = tempfile::tempdir().expect("a directory");
        continues_exactly(At::Directory(directory.path()), kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_left_alone_or_deposed_with_force() {
    let consul = Consul::start(Options::default()).await;
    let (at, sim) = (At::Consul(&consul, "a"), cluster(60, 1_000).await);
    let process = at.run(&sim, "evaluations").env("NOMAD_FIREHOSE_LEASE", "2s").spawn();
    process.until_printed(30).await;
    let (code, text, _) = at.set(&sim, &["--index", "41", "evaluations"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("nothing was changed: ") && text.contains("--force"), "{text}");
    // Its writes are refused from the first moment on, so it resumes from what was set.
    let (code, text, log) = at.set(&sim, &["--index", "41", "--force", "evaluations"]).await;
    assert_eq!(code, Some(0), "{text}{log}");
    assert!(text.contains("→ *@41") && text.contains("the lease was taken from "), "{text}");
    assert!(log.contains("lease taken from its leader"), "{log}");
    process.until_printed(40).await;
    append(&sim, 62, 62).await;
    process.until_printed(41).await;
    assert_eq!(process.logged("lease lost"), 1, "{}", process.log());
    let printed = indexes(&process.stop().await);
    assert_eq!(printed, [even(2, 60), even(42, 62)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_running_process_cannot_be_taken_away() {
    let (sim, directory) = (cluster(10, 1_000).await, tempfile::tempdir().expect("a directory"));
    let at = At::Directory(directory.path());
    let process = at.run(&sim, "evaluations").spawn();
    process.until_printed(5).await;
    let (code, text, _) = at.set(&sim, &["--index", "4", "--force", "evaluations"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot be taken away") && text.contains("stop it first"), "{text}");
    append(&sim, 12, 12).await;
    process.until_printed(6).await;
    assert_eq!(indexes(&process.stop().await), even(2, 12));
    // Where nothing is stored, a kind has to be named.
    let empty = tempfile::tempdir().expect("a directory");
    let (code, _, log) = At::Directory(empty.path()).set(&sim, &["--index", "4"]).await;
    assert!(code == Some(1) && log.contains("name the kinds"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_nomad_cannot_serve_is_warned_of() {
    let (sim, directory) = (cluster(200, 20).await, tempfile::tempdir().expect("a directory"));
    let at = At::Directory(directory.path());
    let (code, text, log) = at.set(&sim, &["--index", "900", "events"]).await;
    assert!(code == Some(0) && text.contains("the cluster has only reached index 200"), "{text}{log}");
    let (code, text, log) = at.set(&sim, &["--index", "50", "events", "evaluations"]).await;
    assert!(code == Some(0) && text.contains("Nomad's event buffer begins at index 16"), "{text}{log}");
    // What is gone is reported, and not passed over in silence.
    let process = at.run(&sim, "events").spawn();
    process.until_logged("gap detected").await;
    process.until_printed(21).await;
    let printed = process.stop().await;
    let gap: Value = serde_json::from_str(&printed[0]).expect("JSON");
    assert_eq!((&gap["Topic"], &gap["Payload"]["Gap"]["FromIndex"]), (&"Firehose".into(), &51.into()));
    // Lists have the newest version of each evaluation.
    let process = at.run(&sim, "evaluations").spawn();
    process.until_printed(75).await;
    let mut found = indexes(&process.stop().await);
    found.sort_unstable();
    assert_eq!(found, even(52, 200));

    // Without Nomad, it is set all the same, but not to now.
    let away = |arguments: &[&str]| {
        let setup =
            at.place(Setup::bare(&[&["state", "set"], arguments].concat())).env("NOMAD_ADDR", "http://127.0.0.1:1");
        tokio::task::spawn_blocking(move || setup.output())
    };
    let (code, text, log) = away(&["--index", "60"]).await.expect("it does not panic");
    assert!(code == Some(0) && text.contains("→ *@60") && text.contains("Nomad was not asked"), "{text}{log}");
    let (code, _, log) = away(&["--now"]).await.expect("it does not panic");
    assert!(code == Some(1) && log.contains("name an --index"), "{log}");
}

/// Tasks have no index: what was there when it was set is known, and only what comes later is sent.
#[tokio::test(flavor = "multi_thread")]
async fn task_events_that_were_there_are_not_sent_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = At::Directory(directory.path());
    let sim = Sim::builder().buffer(100).start().await.expect("the simulator starts");
    sim.append_line(made::allocation(10, 1, 1..=3)).await.expect("a line of a stream");
    let (code, text, log) = at.set(&sim, &["--now", "allocations"]).await;
    assert!(code == Some(0) && text.contains("no position → *@10"), "{text}{log}");
    let process = at.run(&sim, "allocations").verbose().spawn();
    process.until_logged("backfill finished").await;
    sim.append_line(made::allocation(11, 1, 1..=4)).await.expect("a line of a stream");
    process.until_printed(1).await;
    let printed = process.stop().await;
    assert!(printed.len() == 1 && printed[0].contains("\"Time\":4"), "{printed:?}");
}
