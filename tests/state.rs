//! What an operator can see of the stored state, and do about one that cannot be read.

mod common;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Setup,
    consul::{Consul, Options},
    made,
};
use nomad_sim::Sim;
use reqwest::Method;
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

/// The consumers' lock protocol marks a lock with it.
const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;
const REFUSED: &str = "nomad-firehose state reset allocations";

/// A cluster with one allocation, of three task events.
async fn cluster() -> Sim {
    let sim = Sim::builder().buffer(100).start().await.expect("the simulator starts");
    sim.append_line(made::allocation(10, 1, 1..=3)).await.expect("a line of a stream");
    sim
}

/// Where the state is.
#[derive(Clone, Copy)]
enum At<'a> {
    Folder(&'a Consul, &'a str),
    Directory(&'a Path),
}

impl At<'_> {
    fn place(self, setup: Setup) -> Setup {
        match self {
            At::Folder(consul, prefix) => setup
                .env("NOMAD_FIREHOSE_COORDINATOR", "consul")
                .env("CONSUL_HTTP_ADDR", consul.url())
                .env("NOMAD_FIREHOSE_CONSUL_PREFIX", prefix),
            At::Directory(path) => setup.data_dir(path),
        }
    }

    fn run(self, sim: &Sim, kind: &str) -> Setup {
        self.place(Setup::new(&[kind], &sim.url(0)))
    }

    /// Exit code, stdout, stderr.
    async fn state(self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let arguments = [&["state"], arguments].concat();
        // Nothing of Nomad is set, and nothing of a sink.
        let setup = self.place(Setup::bare(&arguments));
        tokio::task::spawn_blocking(move || setup.output()).await.expect("it does not panic")
    }

    async fn show(self) -> Value {
        let (code, text, log) = self.state(&["show", "--json"]).await;
        assert_eq!(code, Some(0), "{text}{log}");
        serde_json::from_str(&text).expect("it is JSON")
    }

    /// A start refuses it, and says which key and what to do; `state show` says the same. Reset, it works.
    async fn refuses_until_reset(self, sim: &Sim, wrong: &str) {
        let refused = self.run(sim, "allocations").spawn().end().await;
        assert_eq!(refused.status.code(), Some(1), "{wrong}: {}", refused.log);
        assert!(refused.log.contains(wrong) && refused.log.contains(REFUSED), "{wrong} is not named: {}", refused.log);
        assert_eq!(refused.printed, [""; 0], "{wrong}: nothing is sent");
        let (code, text, _) = self.state(&["show"]).await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(wrong) && text.contains(REFUSED), "{wrong} is not named: {text}");
        let (code, text, _) = self.state(&["show", "--json", "allocations"]).await;
        assert_eq!(code, Some(1), "{text}");
        let told: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!((&told["kinds"][0]["leader"], &told["kinds"][0]["checkpoint"]), (&Value::Null, &Value::Null));
        if let At::Folder(consul, prefix) = self {
            gives_out_the_lock(consul, prefix).await;
        }
        let (code, text, log) = self.state(&["reset", "allocations"]).await;
        assert_eq!(code, Some(0), "{wrong}: {text}{log}");
        let process = self.run(sim, "allocations").spawn();
        process.until_printed(3).await;
        assert_eq!(process.stop().await.len(), 3);
        self.show().await;
    }
}

/// No lock-delay: another replica would get the lock at once.
async fn gives_out_the_lock(consul: &Consul, prefix: &str) {
    let lock = format!("{prefix}/allocations.lock");
    assert_eq!(consul.holder(&lock).await, None, "the lease is given back");
    assert_eq!(consul.entry(&format!("{prefix}/allocations.heartbeat")).await, None);
    let session = session(consul).await;
    let (_, taken) = acquire(consul, &lock, &session).await;
    assert_eq!(taken, "true", "at once");
    consul.request(Method::PUT, &format!("kv/{lock}?release={session}&flags={LOCK_FLAGS}"), "").await;
    consul.request(Method::PUT, &format!("session/destroy/{session}"), "").await;
}

async fn session(consul: &Consul) -> String {
    let (code, made) = consul.request(Method::PUT, "session/create", r#"{"TTL":"60s"}"#).await;
    assert_eq!(code, 200, "{made}");
    serde_json::from_str::<Value>(&made).expect("a session")["ID"].as_str().expect("an id").to_owned()
}

async fn acquire(consul: &Consul, lock: &str, session: &str) -> (u16, String) {
    let (code, text) =
        consul.request(Method::PUT, &format!("kv/{lock}?acquire={session}&flags={LOCK_FLAGS}"), "").await;
    (code, text.trim().to_owned())
}

/// A head whose marks are in one page of generation 1.
fn head(version: u32) -> String {
    let stored = json!({"generation": 1, "pages": 1, "logs": 0});
    json!({"version": version, "value": 0, "lanes": {}, "stored_marks": stored, "stored_value": 0}).to_string()
}

/// A folder, the keys below it with their texts, and what the refusal has to name.
type Broken<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[tokio::test(flavor = "multi_thread")]
async fn a_state_in_consul_that_cannot_be_read_is_refused_until_it_is_reset() {
    let (consul, sim) = (Consul::start(Options::default()).await, cluster().await);
    let page = format!("allocations.state/{}/page/{:06}", 1, 0);
    // What would be the checksum of no mark at all.
    assert_ne!(xxh3_64(&[]).to_le_bytes(), *b"xxxxxxxx");
    let broken: [Broken<'_>; 7] = [
        ("cut", &[("allocations.state", "{\"version\":1,\"value\":")], "allocations.state "),
        ("text", &[("allocations.state", "no JSON")], "allocations.state "),
        ("missing", &[("allocations.state", &head(1))], &format!("{page} ")),
        ("sum", &[("allocations.state", &head(1)), (&page, "xxxxxxxx")], &format!("{page} ")),
        ("ahead", &[("allocations.state", &head(3)), (&page, "xxxxxxxx")], "layout 3"),
        ("headless", &[(&page, "xxxxxxxx")], "allocations.state "),
        ("value", &[("allocations.value", "soon")], "soon"),
    ];
    for (prefix, keys, wrong) in broken {
        for (key, text) in keys {
            consul.put(&format!("{prefix}/{key}"), text).await;
        }
        At::Folder(&consul, prefix).refuses_until_reset(&sim, wrong).await;
    }
    let names: Vec<_> = consul.sessions().await.iter().map(|session| session["Name"].clone()).collect();
    assert_eq!(names, [""; 0], "no session is left");
}

/// Of several kinds, too: the leases of the others are given back as well.
#[tokio::test(flavor = "multi_thread")]
async fn one_kind_that_cannot_be_read_ends_a_run_and_holds_no_lease() {
    let (consul, sim) = (Consul::start(Options::default()).await, cluster().await);
    consul.put("r/nodes.state", &head(3)).await;
    let setup = At::Folder(&consul, "r").place(Setup::new(&["run", "--resources", "allocations,nodes"], &sim.url(0)));
    let ended = setup.spawn().end().await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.log);
    assert!(ended.log.contains("r/nodes.state ") && ended.log.contains("state reset nodes"), "{}", ended.log);
    assert_eq!(consul.holder("r/nodes.lock").await, None);
    gives_out_the_lock(&consul, "r").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_in_a_file_that_cannot_be_read_is_refused_until_it_is_reset() {
    let sim = cluster().await;
    let task_cursors = json!({"version": 1, "value": 0, "lanes": {}, "marks": ["12"]}).to_string();
    for text in ["{\"version\":1,", "", &head(3), &head(0), &task_cursors] {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("allocations.json"), text).expect("it can be written");
        At::Directory(directory.path()).refuses_until_reset(&sim, "allocations.json ").await;
    }
}

/// What a version ahead of this one stores, with fields that this one does not know, everywhere.
fn of_tomorrow(text: &[u8]) -> String {
    let mut head: Value = serde_json::from_slice(text).expect("a checkpoint");
    assert_eq!(head["version"], 1);
    head["version"] = 2.into();
    head["unknown"] = json!({"a": [1]});
    let lanes = head["lanes"].as_object_mut().expect("lanes");
    assert_eq!(lanes.len(), 1);
    for lane in lanes.values_mut() {
        lane["unknown"] = json!("a");
        lane["position"]["unknown"] = json!(1.5);
    }
    if let Some(stored) = head.get_mut("stored_marks") {
        stored["unknown"] = json!(null);
    }
    head.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_one_version_ahead_is_read() {
    let (consul, directory) = (Consul::start(Options::default()).await, tempfile::tempdir().expect("a directory"));
    for at in [At::Folder(&consul, "a/b"), At::Directory(directory.path())] {
        let sim = cluster().await;
        let process = at.run(&sim, "allocations").spawn();
        process.until_printed(3).await;
        process.stop().await;
        match at {
            At::Folder(..) => {
                let head = consul.get("a/b/allocations.state").await.expect("it is stored");
                consul.put("a/b/allocations.state", &of_tomorrow(&head)).await;
            }
            At::Directory(path) => {
                let path = path.join("allocations.json");
                let text = std::fs::read(&path).expect("it is stored");
                std::fs::write(path, of_tomorrow(&text)).expect("it can be written");
            }
        }
        let told = at.show().await;
        assert_eq!(told["kinds"][0]["checkpoint"]["version"], 2);
        assert_eq!(told["kinds"][0]["checkpoint"]["task_cursors"], 1);
        sim.append_line(made::allocation(11, 1, 1..=4)).await.expect("a line of a stream");
        let process = at.run(&sim, "allocations").spawn();
        process.until_printed(1).await;
        let printed = process.stop().await;
        assert_eq!(printed.len(), 1, "only what is new: {printed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_tells_who_leads_and_how_far_and_forgets_nothing_of_a_leader() {
    let (consul, sim) = (Consul::start(Options::default()).await, cluster().await);
    let at = At::Folder(&consul, "nomad-firehose");
    let (code, text, _) = at.state(&["show"]).await;
    assert_eq!(code, Some(0));
    assert!(text.contains("Nothing is stored"), "{text}");
    let process = at.run(&sim, "allocations").spawn();
    process.until_printed(3).await;
    // Stored a second after the start.
    let deadline = Instant::now() + PATIENCE;
    let told = loop {
        let told = at.show().await;
        if !told["kinds"][0]["checkpoint"].is_null() {
            break told;
        }
        assert!(Instant::now() < deadline, "no checkpoint is stored: {}", process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let row = &told["kinds"][0];
    assert_eq!(told["kinds"].as_array().map(Vec::len), Some(1), "only what is stored: {told}");
    assert_eq!(row["leader"]["lease_ms"], 4_000);
    assert_eq!(
        row["leader"]["session"].as_str().map(str::to_owned),
        consul.holder("nomad-firehose/allocations.lock").await
    );
    assert_eq!(row["checkpoint"]["streams"][0]["name"], "*");
    assert_eq!((&row["value"], &row["value_time"]), (&json!(3), &json!("1970-01-01T00:00:00.000Z")));
    assert!(row["entries"].as_u64() >= Some(4) && row["bytes"].as_u64() > Some(100), "{row}");
    let holder = row["leader"]["holder"].as_str().expect("it says who it is");
    let (_, table, _) = at.state(&["show", "allocations", "jobs"]).await;
    assert!(table.contains(holder) && table.contains("\njobs "), "{table}");

    // Led, it is left alone; the other kind is not.
    let (code, text, _) = at.state(&["reset", "allocations", "jobs"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains(&format!("allocations: nothing was removed: {holder}")), "{text}");
    assert!(text.contains("jobs: there was no checkpoint."), "{text}");
    sim.append_line(made::allocation(11, 1, 1..=4)).await.expect("a line of a stream");
    process.until_printed(4).await;
    process.stop().await;
    let told = at.show().await;
    assert_eq!(
        (&told["kinds"][0]["leader"], &told["kinds"][0]["checkpoint"]["streams"][0]["index"]),
        (&Value::Null, &json!(11))
    );

    // The value stays, and the next start goes on from it.
    let (code, text, _) = at.state(&["reset", "allocations"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("The next start resumes from the legacy value 4."), "{text}");
    assert_eq!(consul.get("nomad-firehose/allocations.value").await.as_deref(), Some(b"4".as_slice()));
    let (_, keys) = consul.request(Method::GET, "kv/nomad-firehose/allocations.?keys", "").await;
    assert_eq!(keys.matches("state").count() + keys.matches("heartbeat").count(), 0, "{keys}");
    // With it, everything is gone.
    let (code, text, _) = at.state(&["reset", "allocations", "--value"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("too: \"4\"") && text.contains("NOMAD_FIREHOSE_START"), "{text}");
    let process = at.run(&sim, "allocations").spawn();
    process.until_printed(4).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_the_original_and_its_delay_are_respected() {
    let consul = Consul::start(Options::default()).await;
    let at = At::Folder(&consul, "f");
    for key in ["jobs.state", "jobs.state/1/page/000000", "jobliststub.state"] {
        consul.put(&format!("f/{key}"), "old").await;
    }
    let session = session(&consul).await;
    assert_eq!(acquire(&consul, "f/jobs.lock", &session).await.1, "true");
    let (code, text, _) = at.state(&["reset", "jobs"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains(&session) && text.contains("the original"), "{text}");
    // Its session ends without a word: what it had under way can still arrive.
    consul.request(Method::PUT, &format!("session/destroy/{session}"), "").await;
    let (code, text, _) = at.state(&["reset", "jobs"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("the lock is not available"), "{text}");
    assert_eq!(consul.get("f/jobs.state").await.as_deref(), Some(b"old".as_slice()));
    // Of another kind, whose lock is free, everything goes, and nothing that only begins alike.
    consul.put("f/nodes.state", "old").await;
    consul.put("f/nodes.statement", "old").await;
    let (code, text, _) = at.state(&["reset", "nodes", "jobliststubs"]).await;
    assert_eq!(code, Some(0), "{text}");
    for (key, is_there) in [
        ("nodes.state", false),
        ("jobliststub.state", false),
        ("nodes.statement", true),
        ("jobs.state", true),
        ("jobs.state/1/page/000000", true),
    ] {
        assert_eq!(consul.get(&format!("f/{key}")).await.is_some(), is_there, "{key}");
    }
    // A key in the lock's place that is none.
    consul.put("f/events.lock", "mine").await;
    let (code, text, _) = at.state(&["reset", "events"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("f/events.lock is not a lock"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_forgotten_only_where_nobody_leads() {
    let (sim, directory) = (cluster().await, tempfile::tempdir().expect("a directory"));
    let at = At::Directory(directory.path());
    let process = at.run(&sim, "allocations").spawn();
    process.until_printed(3).await;
    let (code, text, _) = at.state(&["reset", "allocations"]).await;
    assert_eq!(code, Some(1));
    assert!(text.contains("nothing was removed: pid "), "{text}");
    assert!(at.show().await["kinds"][0]["leader"]["holder"].as_str().is_some_and(|holder| holder.starts_with("pid ")));
    process.stop().await;
    std::fs::write(directory.path().join("jobs.json"), "other").expect("it can be written");
    let (code, text, _) = at.state(&["reset", "allocations"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 file") && text.contains("NOMAD_FIREHOSE_START"), "{text}");
    assert!(!directory.path().join("allocations.json").exists() && directory.path().join("jobs.json").exists());
    let process = at.run(&sim, "allocations").spawn();
    process.until_printed(3).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_looking_is_said() {
    let nowhere = Path::new("/nonexistent/firehose");
    let (code, text, log) = At::Directory(nowhere).state(&["show"]).await;
    assert_eq!((code, text.as_str()), (Some(1), ""));
    assert!(log.contains("/nonexistent/firehose"), "{log}");
    let (code, _, log) = At::Directory(nowhere).state(&["reset", "jobs"]).await;
    assert_eq!(code, Some(1), "{log}");
    let away = Setup::bare(&["state", "show"]).env("CONSUL_HTTP_ADDR", "http://127.0.0.1:1");
    let (code, text, log) = away.output();
    assert_eq!((code, text.as_str()), (Some(1), ""));
    assert!(log.contains("127.0.0.1:1"), "{log}");
    let (code, _, log) = Setup::bare(&["state", "reset"]).output();
    assert_eq!(code, Some(2));
    assert!(log.contains("jobliststubs") && log.contains("all"), "{log}");
    let (code, _, log) = Setup::bare(&["state", "show"]).env("CONSUL_HTTP_ADDR", "ftp://a").output();
    assert_eq!(code, Some(2));
    assert!(log.contains("CONSUL_HTTP_ADDR"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_least_rights_are_enough() {
    let consul = Consul::start(Options { acls: true, ..Options::default() }).await;
    consul.put("nomad-firehose/jobs.state", "no JSON").await;
    consul.set_policy("all", include_str!("../deploy/policies/consul.hcl")).await;
    consul.set_policy("read", r#"key_prefix "nomad-firehose/" { policy = "read" }"#).await;
    let (all, read) = (consul.create_token("all").await, consul.create_token("read").await);
    let state = |arguments: &[&str], token: &str| {
        let setup = At::Folder(&consul, "nomad-firehose").place(Setup::bare(arguments)).env("CONSUL_HTTP_TOKEN", token);
        tokio::task::spawn_blocking(move || setup.output())
    };
    let output = |outcome: Result<_, _>| -> (Option<i32>, String, String) { outcome.expect("it does not panic") };
    let (code, text, _) = output(state(&["state", "show"], &read).await);
    assert!(code == Some(1) && text.contains("state reset jobs"), "{text}");
    let (code, text, log) = output(state(&["state", "reset", "jobs"], &read).await);
    assert!(code == Some(1) && log.contains("session_prefix"), "the missing line is named: {text}{log}");
    let (code, _, log) = output(state(&["state", "show"], "00000000-0000-0000-0000-000000000000").await);
    assert!(code == Some(1) && !log.is_empty(), "{log}");
    let (code, text, log) = output(state(&["state", "reset", "jobs"], &all).await);
    assert_eq!(code, Some(0), "{text}{log}");
    assert_eq!(consul.get("nomad-firehose/jobs.state").await, None);
}
