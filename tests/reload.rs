//! SIGHUP reads the configuration file again, also without `[pipeline.NAME]` tables: what can change changes, and no record is lost
//! or repeated by it.

mod common;

use std::{fs, path::PathBuf, time::Duration};

use common::{
    Process, Setup, Signal, made,
    server::{Reply, Server},
    tls::Authority,
};
use nomad_sim::{Builder, Policy, Sim};
use tempfile::TempDir;

/// A cluster, a server, and a configuration file that brings the jobs of the one to the other.
struct Stage {
    sim: Sim,
    server: Server,
    directory: TempDir,
    /// How many jobs there are, at the raft indexes from 1 on.
    jobs: u64,
}

impl Stage {
    async fn new() -> Self {
        Self::of(Sim::builder()).await
    }

    async fn of(cluster: Builder) -> Self {
        let sim = cluster.buffer(1_000).start().await.expect("the simulator starts");
        let server = Server::start(|_| Reply::Take).await;
        Stage { sim, server, directory: tempfile::tempdir().expect("a directory"), jobs: 0 }
    }

    fn file(&self) -> PathBuf {
        self.path("firehose.toml")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the file: the settings of every test, except for those that `other` has, and `other`.
    fn write(&self, other: &str) {
        let has = |key: &str| other.lines().any(|line| line.split_once(" = ").is_some_and(|(given, _)| given == key));
        let usual = [
            ("nomad-addr", self.sim.url(0)),
            ("sink-type", "http".to_owned()),
            ("sink-http-address", self.server.url()),
            ("coordinator", "file".to_owned()),
            ("data-dir", self.path("data").display().to_string()),
            // On a busy machine, what is delivered at once can take long.
            ("shutdown-grace", "2m".to_owned()),
            ("retry-max", "200ms".to_owned()),
        ];
        let usual: String =
            usual.iter().filter(|(key, _)| !has(key)).map(|(key, value)| format!("{key} = '{value}'\n")).collect();
        fs::write(self.file(), usual + other).expect("there is room");
    }

    fn spawn(&self) -> Process {
        Setup::bare(&["jobs"]).env("NOMAD_FIREHOSE_CONFIG", self.file()).spawn()
    }

    async fn append(&mut self, jobs: u64) {
        let indexes = self.jobs + 1..=self.jobs + jobs;
        self.jobs += jobs;
        self.sim.append_lines(indexes.map(|index| made::job(index, index, 1))).await.expect("lines of a stream");
    }

    async fn until_taken(&self, process: &Process, jobs: u64) {
        let jobs = usize::try_from(jobs).expect("few");
        process.until("the jobs arrive", || self.server.taken().len() >= jobs).await;
    }

    /// Every job arrived once, in order.
    fn is_exact(&self) {
        let ids: Vec<_> = self.server.taken().iter().map(|job| job["ID"].clone()).collect();
        let expected: Vec<_> = (1..=self.jobs).map(|number| format!("job-{number}")).collect();
        assert_eq!(ids, expected);
    }
}

/// The newest line of the log with this text.
fn last(process: &Process, text: &str) -> String {
    let log = process.log();
    log.lines().rfind(|line| line.contains(text)).expect("it is logged").to_owned()
}

/// The newest line that says which settings restart the pipeline.
fn restarted(process: &Process) -> String {
    last(process, "restarting pipeline")
}

/// Sends SIGHUP, and waits for the next line with `logged`.
async fn reload(process: &Process, logged: &str) {
    let before = process.logged(logged);
    process.signal(Signal::HUP);
    process.until(logged, || process.logged(logged) > before).await;
}

/// A wrong token or header is corrected in the file: what the sink refused until then arrives once.
#[tokio::test(flavor = "multi_thread")]
async fn the_sink_sees_a_new_token_or_header_and_gets_what_it_had_refused() {
    let mut stage = Stage::new().await;
    // The stop cannot deliver what is refused: it takes the whole grace period.
    let settings = |credentials: &str| format!("shutdown-grace = '1s'\n{credentials}\n");
    stage.append(3).await;
    stage.server.wants("Bearer first-token");
    stage.write(&settings("sink-http-token = 'first-token'"));
    let process = stage.spawn();
    stage.until_taken(&process, 3).await;
    for (round, wanted, corrected, changed) in [
        (1, "Bearer second-token", "sink-http-token = 'second-token'", "sink-http-token"),
        (2, "third-header", "sink-http-headers = ['Authorization: third-header']", "sink-http-headers,sink-http-token"),
        (3, "fourth-header", "sink-http-headers = ['Authorization: fourth-header']", "sink-http-headers"),
    ] {
        let failed = process.logged("delivery failed");
        stage.server.wants(wanted);
        stage.append(2).await;
        process.until("the sink refuses", || process.logged("delivery failed") > failed).await;
        stage.write(&settings(corrected));
        reload(&process, "configuration reloaded").await;
        assert!(restarted(&process).ends_with(&format!("settings={changed}")), "{}", process.log());
        stage.until_taken(&process, stage.jobs).await;
        process.until("the stop gave up", || process.logged("grace period expired") == round).await;
    }
    for secret in ["first-token", "second-token", "third-header", "fourth-header"] {
        assert_eq!(process.logged(secret), 0, "{secret}");
    }
    // What a pipeline could not deliver, its successor did.
    process.stop().await;
    stage.is_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn nomad_is_asked_with_a_new_token() {
    let (old, new, soon) = ("hush-hush-old", "hush-hush-new", Duration::from_millis(100));
    let cluster = [old, new].iter().fold(Sim::builder(), |sim, token| sim.token(token, Policy::read_jobs(&["*"])));
    let mut stage = Stage::of(cluster.refusal(soon).revocation(soon)).await;
    stage.append(3).await;
    stage.write(&format!("nomad-token = '{old}'\n"));
    let process = stage.spawn();
    stage.until_taken(&process, 3).await;
    stage.sim.revoke_token(old);
    process.until_logged("does not accept the token").await;
    stage.append(2).await;
    stage.write(&format!("nomad-token = '{new}'\n"));
    reload(&process, "configuration reloaded").await;
    assert!(restarted(&process).ends_with("settings=nomad-token"), "{}", process.log());
    stage.until_taken(&process, 5).await;
    assert_eq!(process.logged("hush-hush"), 0, "{}", process.log());
    process.stop().await;
    stage.is_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_at_another_path_is_used() {
    const NAME: &str = "collector.example.com";
    let mut stage = Stage::new().await;
    stage.append(3).await;
    let (trusted, other) = (Authority::new(), Authority::new());
    fs::write(stage.path("ca.pem"), trusted.pem()).expect("there is room");
    for (name, authority) in [("wrong", &other), ("right", &trusted)] {
        let (certificate, key) = authority.issue("firehose");
        fs::write(stage.path(name).with_extension("pem"), certificate.pem()).expect("there is room");
        fs::write(stage.path(name).with_extension("key"), key.serialize_pem()).expect("there is room");
    }
    let (address, _tls) = trusted.front(NAME, &stage.server.addr().to_string(), true).await;
    let directory = stage.path("");
    let settings = |name: &str| {
        let path = directory.display();
        format!(
            "sink-http-address = 'https://{address}'\nsink-http-tls-server-name = '{NAME}'\nshutdown-grace = '1s'\n\
             sink-http-cacert = '{path}/ca.pem'\nsink-http-client-cert = '{path}/{name}.pem'\n\
             sink-http-client-key = '{path}/{name}.key'\n"
        )
    };
    stage.write(&settings("wrong"));
    let process = stage.spawn();
    process.until_logged("delivery failed").await;
    assert!(stage.server.taken().is_empty());
    stage.write(&settings("right"));
    reload(&process, "configuration reloaded").await;
    let changed = "settings=sink-http-client-cert,sink-http-client-key";
    assert!(restarted(&process).ends_with(changed), "{}", process.log());
    stage.until_taken(&process, 3).await;
    stage.append(2).await;
    stage.until_taken(&process, 5).await;
    process.stop().await;
    stage.is_exact();
}

/// Neither what cannot change, nor what is wrong, nor what cannot be used stops anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_change_is_named_with_the_reason_and_everything_goes_on() {
    let mut stage = Stage::new().await;
    stage.append(1).await;
    stage.write("");
    let process = stage.spawn();
    stage.until_taken(&process, 1).await;

    stage.write("coordinator = 'none'\ndata-dir = '/elsewhere'\ncluster = 'other'\nlisten = '127.0.0.1:1'\n");
    reload(&process, "configuration reloaded").await;
    assert_eq!(process.logged("changed settings ignored"), 1, "{}", process.log());
    for part in [
        "settings=coordinator,data-dir,cluster,listen because=",
        "leases and checkpoints would be in another place",
        "checkpoints carry the label",
        "the port is opened once",
        "fix=\"restart the program\"",
    ] {
        assert!(last(&process, "changed settings ignored").contains(part), "{part}: {}", process.log());
    }
    for (text, problem) in [
        ("cluster = 'a'\ncluster = 'b'\n", "duplicate key"),
        ("retry-max = 'never'\n", "retry-max in "),
        ("max-in-flight = '1KiB'\n", "max-in-flight in "),
        ("dead-letter = 'file:/does/not/exist/letters'\n", "NOMAD_FIREHOSE_DEAD_LETTER"),
        ("[pipeline.a]\nresources = 'jobs'\n", "[pipeline] tables"),
    ] {
        stage.write(text);
        reload(&process, "configuration not reloaded").await;
        assert!(last(&process, "configuration not reloaded").contains(problem), "{problem}: {}", process.log());
    }
    stage.append(1).await;
    stage.until_taken(&process, 2).await;
    assert_eq!(process.logged("restarting pipeline"), 0, "{}", process.log());
    assert_eq!(process.logged("became leader"), 1, "{}", process.log());
    process.stop().await;
    stage.is_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_changes_at_once() {
    let mut stage = Stage::new().await;
    stage.append(1).await;
    stage.write("");
    let process = stage.spawn();
    stage.until_taken(&process, 1).await;
    stage.write("log-level = 'debug'\nlog-format = 'json'\n");
    reload(&process, "\"configuration reloaded\"").await;
    let changed = "\"settings changed at once\",\"settings\":\"log-level,log-format\"";
    assert_eq!(process.logged(changed), 1, "{}", process.log());
    stage.write("");
    reload(&process, "configuration reloaded  added").await;
    stage.append(1).await;
    stage.until_taken(&process, 2).await;
    assert_eq!(process.logged("restarting pipeline"), 0, "{}", process.log());
    process.stop().await;
    stage.is_exact();
}

/// A pipeline that has no lease yet stops for the next reload: its successor starts.
#[tokio::test(flavor = "multi_thread")]
async fn reloads_may_follow_each_other_before_a_pipeline_leads() {
    let mut stage = Stage::new().await;
    stage.append(3).await;
    stage.write("");
    let process = stage.spawn();
    stage.until_taken(&process, 3).await;
    for size in 1..=10 {
        stage.write(&format!("max-in-flight = '{size}MiB'\n"));
        reload(&process, "configuration reloaded").await;
    }
    stage.append(3).await;
    stage.until_taken(&process, 6).await;
    assert_eq!(process.logged("restarting pipeline"), 10, "{}", process.log());
    process.stop().await;
    stage.is_exact();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_is_lost_or_repeated_however_often_it_reloads() {
    let mut stage = Stage::new().await;
    stage.append(20).await;
    stage.write("");
    let process = stage.spawn();
    for round in 1..=8 {
        // Some are delivered before the reload, some while it stops, and some after it.
        stage.until_taken(&process, stage.jobs - 10).await;
        stage.write(&format!("max-in-flight = '{round}MiB'\n"));
        stage.append(20).await;
        process.signal(Signal::HUP);
        stage.append(20).await;
        process.until("it is read again", || process.logged("configuration reloaded") == round).await;
    }
    stage.until_taken(&process, stage.jobs).await;
    process.stop().await;
    stage.is_exact();
}

/// A pipeline that starts again in place goes on in the line where its predecessor stopped.
#[tokio::test(flavor = "multi_thread")]
async fn standard_output_is_shared_by_the_pipelines_that_follow_each_other() {
    let mut stage = Stage::new().await;
    stage.append(5).await;
    let text = |more: &str| {
        let (nomad, data) = (stage.sim.url(0), stage.directory.path().join("data"));
        let data = data.display();
        let text =
            format!("nomad-addr = '{nomad}'\ncoordinator = 'file'\ndata-dir = '{data}'\nshutdown-grace = '2m'\n");
        fs::write(stage.file(), text + more).expect("there is room");
    };
    text("");
    let process = stage.spawn();
    process.until_printed(5).await;
    text("retry-max = '1s'\n");
    reload(&process, "configuration reloaded").await;
    process.until("it leads again", || process.logged("became leader") == 2).await;
    stage.append(5).await;
    process.until_printed(10).await;
    assert_eq!(process.stop().await.len(), 10);
}
