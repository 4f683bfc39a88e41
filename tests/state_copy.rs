//! `state copy`: a run with another coordinator continues where the last one ended, with every task cursor.

mod common;

use common::{
    Setup, Signal,
    consul::{Consul, Options},
    made,
};
use nomad_sim::Sim;
use reqwest::Method;

/// More task cursors than one Variable or one key holds.
const TASKS: u64 = 4_000;
const FIRST: u64 = 10;

/// The places of one cluster.
struct Places {
    sim: Sim,
    consul: Consul,
    directory: tempfile::TempDir,
    /// The folder in Consul.
    prefix: &'static str,
}

impl Places {
    async fn start() -> Self {
        let sim = Sim::builder().buffer(10_000).start().await.expect("the simulator starts");
        let directory = tempfile::tempdir().expect("a directory");
        Places { sim, consul: Consul::start(Options::default()).await, directory, prefix: "nomad-firehose" }
    }

    fn place(&self, setup: Setup) -> Setup {
        setup
            .env("NOMAD_ADDR", self.sim.url(0))
            .env("CONSUL_HTTP_ADDR", self.consul.url())
            .env("NOMAD_FIREHOSE_CONSUL_PREFIX", self.prefix)
            .env("NOMAD_FIREHOSE_DATA_DIR", self.directory.path())
    }

    fn run(&self, coordinator: &str, kind: &str) -> Setup {
        self.place(Setup::new(&[kind], &self.sim.url(0))).env("NOMAD_FIREHOSE_COORDINATOR", coordinator)
    }

    /// Exit code, stdout, stderr.
    async fn copy(&self, from: &str, to: &str, kinds: &[&str]) -> (Option<i32>, String, String) {
        let setup = self.place(Setup::bare(&[&["state", "copy", "--from", from, "--to", to], kinds].concat()));
        tokio::task::spawn_blocking(move || setup.output()).await.expect("it does not panic")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_task_cursor_comes_along_from_place_to_place() {
    let mut places = Places::start().await;
    let lines = (0..TASKS).map(|n| made::allocation(FIRST + n, n, 1..=1));
    places.sim.append_lines(lines.collect::<Vec<_>>()).await.expect("lines of a stream");
    let process = places.run("consul", "allocations").spawn();
    process.until_printed(usize::try_from(TASKS).expect("a few")).await;

    let (code, text, log) = places.copy("consul", "nomad", &[]).await;
    assert_eq!((code, &*text), (Some(1), ""), "{log}");
    assert!(log.contains("nothing was copied:\nallocations: ") && log.contains("leads in consul at "), "{log}");
    process.stop().await;

    let mut newest = FIRST + TASKS - 1;
    for (n, from, to, place) in [
        (0, "consul", "nomad", "Nomad Variables at "),
        (1, "nomad", "file", "files in "),
        (2, "file", "consul", "consul at "),
    ] {
        if from == "file" {
            // The first one still has its checkpoint.
            places.prefix = "second";
        }
        let (code, text, log) = places.copy(from, to, &[]).await;
        assert_eq!(code, Some(0), "{from} to {to}: {text}{log}");
        let copied = format!("allocations: copied *@{newest} and 4,000 task cursors to {place}");
        assert!(text.contains(&copied), "{text}");
        newest = newest.max(places.sim.last_index().await) + 1;
        places.sim.append_line(made::allocation(newest, n, 1..=2)).await.expect("a line of a stream");
        let process = places.run(to, "allocations").spawn();
        process.until_printed(1).await;
        assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
        // The older event of that task, and those of all others, do not come again.
        assert_eq!(process.stop().await.len(), 1, "{from} to {to}");

        let (code, text, log) = places.copy(from, to, &["allocations"]).await;
        assert_eq!((code, &*text), (Some(1), ""), "{log}");
        let mend = format!("remove it with: nomad-firehose state reset allocations --coordinator {to}");
        assert!(log.contains(&format!("has the checkpoint *@{newest} already")) && log.contains(&mend), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_original_has_stored_is_copied_too() {
    let places = Places::start().await;
    let lines: Vec<_> = (FIRST..=20).map(|index| made::evaluation(index, index)).collect();
    places.sim.append_lines(lines).await.expect("lines of a stream");
    for kinds in [&[][..], &["jobs"]] {
        let (code, text, log) = places.copy("consul", "file", kinds).await;
        assert_eq!((code, &*text), (Some(1), ""), "{log}");
        assert!(log.contains("nothing was copied:") && log.contains("has no checkpoint"), "{log}");
    }

    places.consul.put("nomad-firehose/evaluations.value", "15").await;
    let (code, text, log) = places.copy("consul", "file", &[]).await;
    assert_eq!(code, Some(0), "{text}{log}");
    assert!(text.contains("evaluations: copied no position, with the legacy value 15 to files in "), "{text}");
    let process = places.run("file", "evaluations").spawn();
    // Of index 15 the original may not have sent everything.
    process.until_printed(6).await;
    let printed = process.stop().await;
    let ids: std::collections::BTreeSet<_> = printed.iter().map(String::as_str).collect();
    assert_eq!(ids.len(), 6, "{printed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_not_copied() {
    let places = Places::start().await;
    places.consul.put("nomad-firehose/jobs.state", "{").await;
    places.consul.put("nomad-firehose/nodes.value", "15").await;
    let (code, text, log) = places.copy("consul", "file", &[]).await;
    // The kind that could be copied is not copied alone.
    assert_eq!((code, &*text), (Some(1), ""), "{log}");
    assert!(log.contains("nothing was copied:\njobs: ") && log.contains("jobs.state cannot be read"), "{log}");
    assert!(std::fs::read_dir(places.directory.path()).expect("a directory").next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_stopped_leaves_no_lease_behind() {
    let places = Places::start().await;
    let lines: Vec<_> = (FIRST..=20).map(|index| made::evaluation(index, index)).collect();
    places.sim.append_lines(lines).await.expect("lines of a stream");
    let process = places.run("file", "evaluations").spawn();
    process.until_printed(11).await;
    process.stop().await;
    // Nobody has the lock of the target, and Consul gives it to nobody for a while.
    let (_, session) = places.consul.request(Method::PUT, "session/create", r#"{"LockDelay": "60s"}"#).await;
    let session: serde_json::Value = serde_json::from_str(&session).expect("JSON");
    let session = session["ID"].as_str().expect("an id");
    let lock = format!("kv/nomad-firehose/evaluations.lock?flags=3304740253564472344&acquire={session}");
    assert_eq!(places.consul.request(Method::PUT, &lock, "").await.1, "true");
    let destroyed = places.consul.request(Method::PUT, &format!("session/destroy/{session}"), "").await;
    assert_eq!(destroyed.1, "true");

    let setup = Setup::bare(&["state", "copy", "--from", "file", "--to", "consul"]);
    let process = places.place(setup).spawn();
    process.until_logged("session created").await;
    assert_eq!(places.consul.sessions().await.len(), 1);
    let ended = process.end_by(Signal::TERM).await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(places.consul.sessions().await.is_empty());
    let process = places.run("file", "evaluations").spawn();
    process.until_logged("became leader").await;
    assert!(process.stop().await.is_empty());
}
