//! A token in a variable goes stale, and the file that holds the same one is renewed.

mod common;

use std::{path::PathBuf, time::Duration};

use common::{
    Process, Setup,
    consul::{Consul, Options},
    made::evaluation,
    server::{Reply, Server},
};
use nomad_sim::{Policy, Sim};

/// The tokens that Nomad gives one after the other. None may ever be logged.
const TOKENS: [&str; 3] = ["hush-hush-first", "hush-hush-second", "hush-hush-third"];

async fn cluster() -> Sim {
    let sim = TOKENS.iter().fold(Sim::builder(), |sim, token| sim.token(token, Policy::read_jobs(&["*"])));
    let (soon, beat) = (Duration::from_millis(100), Duration::from_millis(500));
    sim.buffer(1_000).refusal(soon).revocation(soon).heartbeat(beat).start().await.expect("starts")
}

async fn append(sim: &Sim, indexes: std::ops::RangeInclusive<u64>) {
    let lines: Vec<_> = indexes.map(|index| evaluation(index, index)).collect();
    sim.append_lines(lines).await.expect("lines of events");
}

/// The directory that Nomad names in `NOMAD_SECRETS_DIR`, with the identity of the task.
struct Secrets(tempfile::TempDir);

impl Secrets {
    fn new(token: &str) -> Self {
        let secrets = Secrets(tempfile::tempdir().expect("a directory"));
        secrets.renew(token);
        secrets
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("nomad_token")
    }

    fn renew(&self, token: &str) {
        std::fs::write(self.file(), token).expect("a file");
    }

    /// The program as a task with `identity { env = true file = true }`.
    fn setup(&self, sim: &Sim) -> Setup {
        Setup::new(&["evaluations"], &sim.url(0))
            .env("NOMAD_TOKEN", TOKENS[0])
            .env("NOMAD_SECRETS_DIR", self.0.path())
            .env("LOG_LEVEL", "debug")
    }
}

fn assert_no_secret(process: &Process) {
    let log = process.log();
    assert!(!log.contains("hush-hush"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_the_same_token_is_followed_from_the_start() {
    let (sim, secrets) = (cluster().await, Secrets::new(TOKENS[0]));
    append(&sim, 10..=19).await;
    let process = secrets.setup(&sim).spawn();
    process.until_printed(10).await;
    assert_eq!(process.logged("following the token file"), 1, "{}", process.log());
    for (round, pair) in (2..).zip(TOKENS.windows(2)) {
        secrets.renew(pair[1]);
        sim.expire_token(pair[0]);
        append(&sim, round * 10..=round * 10 + 9).await;
        process.until_printed(usize::try_from(round * 10).expect("a small number")).await;
    }
    assert_eq!(process.logged("does not accept the token"), 0, "{}", process.log());
    assert_no_secret(&process);
    assert_eq!(process.stop().await.len(), 30);
}

/// The program is started again after the file was renewed, or the variable was set by hand and the token deleted.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_replaced_by_that_of_the_file() {
    for expires in [true, false] {
        let (sim, secrets) = (cluster().await, Secrets::new(TOKENS[1]));
        append(&sim, 10..=19).await;
        let process = secrets.setup(&sim).spawn();
        process.until_printed(10).await;
        assert_eq!(process.logged("refused token replaced"), 0, "the variable goes first: {}", process.log());
        if expires {
            sim.expire_token(TOKENS[0]);
        } else {
            sim.revoke_token(TOKENS[0]);
        }
        append(&sim, 20..=29).await;
        process.until_printed(20).await;
        let said = "refused token replaced by the token file  variable=NOMAD_TOKEN";
        assert_eq!(process.logged(said), 1, "{}", process.log());
        assert_eq!(process.logged(&secrets.file().display().to_string()), 1, "{}", process.log());
        // For good: the file is renewed on.
        secrets.renew(TOKENS[2]);
        sim.revoke_token(TOKENS[1]);
        append(&sim, 30..=39).await;
        process.until_printed(30).await;
        assert_eq!(process.logged("refused token replaced"), 1, "{}", process.log());
        assert_no_secret(&process);
        assert_eq!(process.stop().await.len(), 30);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_another_token_in_the_file_the_refusal_stays() {
    let (sim, secrets) = (cluster().await, Secrets::new(TOKENS[0]));
    append(&sim, 10..=19).await;
    sim.expire_token(TOKENS[0]);
    std::fs::remove_file(secrets.file()).expect("a file");
    let process = secrets.setup(&sim).spawn();
    process.until_logged("does not accept the token: ACL token expired").await;
    assert_eq!(process.logged("the token file"), 0, "{}", process.log());
    // It comes late.
    secrets.renew(TOKENS[1]);
    process.until_printed(10).await;
    assert_no_secret(&process);
    process.stop().await;
}

/// `CONSUL_HTTP_TOKEN` on the command line comes before the file; Nomad renews the file alone.
#[tokio::test(flavor = "multi_thread")]
async fn consul_and_the_http_sink_are_asked_with_the_token_of_the_file() {
    let consul = Consul::start(Options { acls: true, ..Options::default() }).await;
    let (sim, files) = (cluster().await, tempfile::tempdir().expect("a directory"));
    let server = Server::start(|_| Reply::Take).await;
    server.wants("Bearer hush-hush-new");
    append(&sim, 10..=19).await;
    let file = |name: &str, token: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, token).expect("a file");
        path
    };
    let process = Setup::new(&["evaluations"], &sim.url(0))
        .flag("--consul-http-token=00000000-dead-4000-8000-000000000000")
        .env("NOMAD_TOKEN", TOKENS[0])
        .env("NOMAD_FIREHOSE_COORDINATOR", "consul")
        .env("CONSUL_HTTP_ADDR", consul.url())
        .env("CONSUL_HTTP_TOKEN_FILE", file("consul", consul.management().expect("ACLs")))
        .env("SINK_TYPE", "http")
        .env("SINK_HTTP_ADDRESS", server.url())
        .env("SINK_HTTP_TOKEN_FILE", file("sink", "hush-hush-new"))
        .flag("--sink-http-token=hush-hush-old")
        .spawn();
    process.until("all arrive", || server.taken().len() >= 10).await;
    for variable in ["CONSUL_HTTP_TOKEN", "SINK_HTTP_TOKEN"] {
        let said = format!("refused token replaced by the token file  variable={variable} ");
        assert_eq!(process.logged(&said), 1, "{}", process.log());
    }
    assert_no_secret(&process);
    process.stop().await;
}
