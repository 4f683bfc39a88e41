//! A simulated cluster that never rests, a real Consul, and replicas that compete.

use std::{
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nomad_sim::Sim;
use rustix::process::Pid;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    common::{
        Lines, Setup, Signal, collect,
        consul::{Consul, Options},
        made,
        truth::ALL,
        until,
    },
    journal::{Journal, Repeat, check, missing},
};

/// The server's buffer: fewer transactions than pass while a lease runs out.
pub const BUFFER: usize = 100;
/// Transactions a second, at least.
const PACE: f64 = 60.0;
/// What a replica says that holds the stream ready.
const OPEN: &str = "standby subscribed to the event stream";
/// Objects of each kind.
const OBJECTS: u64 = 12;

/// How often a fault is made: a few times, or as often as `CHAOS` says.
pub fn rounds(few: usize) -> usize {
    std::env::var("CHAOS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(few)
}

/// Whether this is `make chaos`, which has the machine for itself: faults last as long, and times are held to their bars.
pub fn is_chaos() -> bool {
    std::env::var_os("CHAOS").is_some()
}

/// A cluster, a Consul, and whoever watches.
pub struct Scene {
    pub sim: Arc<Sim>,
    pub consul: Consul,
    pub journal: Journal,
    /// Things begin to happen when the first replica leads, so that a slow start misses nothing of the server's buffer.
    is_busy: bool,
    churn: Option<AbortOnDropHandle<()>>,
    last: Arc<AtomicU64>,
    started: usize,
    /// Leases and checkpoints are in Nomad's Variables, and not in Consul.
    pub in_variables: bool,
}

impl Scene {
    /// A cluster in which something happens all the time, once a [`leader`](Scene::leader) reads it.
    pub async fn busy() -> Self {
        Scene { is_busy: true, ..Scene::quiet(Options::default()).await }
    }

    /// A cluster in which nothing happens.
    pub async fn quiet(options: Options) -> Self {
        let sim = Sim::builder().buffer(BUFFER).start().await.expect("the simulator starts");
        let consul = Consul::start(options).await;
        let (journal, last) = (Journal::default(), Arc::new(AtomicU64::new(9)));
        Scene {
            sim: Arc::new(sim),
            consul,
            journal,
            is_busy: false,
            churn: None,
            last,
            started: 0,
            in_variables: false,
        }
    }

    /// Lets things happen from now on.
    pub fn go_on(&mut self) {
        let (sim, last) = (Arc::clone(&self.sim), Arc::clone(&self.last));
        self.churn = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut timer = interval(Duration::from_secs_f64(1.0 / PACE));
            timer.set_missed_tick_behavior(MissedTickBehavior::Burst);
            loop {
                timer.tick().await;
                let index = last.load(Ordering::SeqCst) + 1;
                sim.append_line(transaction(index)).await.expect("a line of a stream");
                last.store(index, Ordering::SeqCst);
            }
        })));
    }

    /// One transaction more.
    pub async fn one_more(&self) {
        let index = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        self.sim.append_line(transaction(index)).await.expect("a line of a stream");
    }

    /// Nothing happens any more. Gives all that did.
    pub async fn rest(&mut self) -> Vec<String> {
        if let Some(churn) = self.churn.take() {
            churn.abort();
            // What it is about to do, it does.
            churn.await.ok();
        }
        let truth = self.sim.truth();
        truth.iter().map(|line| String::from_utf8(line.raw.to_vec()).expect("UTF-8")).collect()
    }

    /// A replica that reaches Consul directly.
    pub fn replica(&mut self) -> Replica {
        let url = self.consul.url();
        self.replica_with(|setup| setup.env("CONSUL_HTTP_ADDR", url))
    }

    /// A replica with other variables.
    pub fn replica_with(&mut self, with: impl FnOnce(Setup) -> Setup) -> Replica {
        let setup = Setup::bare(&["run", "--resources", "all"]).env("NOMAD_ADDR", self.sim.url(0));
        let setup = with(setup.env("NOMAD_FIREHOSE_COORDINATOR", "consul"));
        self.started += 1;
        Replica::start(&setup, self.journal.clone(), self.started)
    }

    /// A replica that leads every kind. Two that start together can share the kinds between them.
    pub async fn leader(&mut self) -> Replica {
        let url = self.consul.url();
        self.leader_with(|setup| setup.env("CONSUL_HTTP_ADDR", url)).await
    }

    /// As [`leader`](Scene::leader), with other variables.
    pub async fn leader_with(&mut self, with: impl FnOnce(Setup) -> Setup) -> Replica {
        let replica = self.replica_with(with);
        replica.until_logged("became leader", ALL.len()).await;
        replica.until_reads().await;
        if self.is_busy && self.churn.is_none() {
            self.go_on();
        }
        replica
    }

    /// A leader of every kind and a standby, both with a lease of so many seconds.
    pub async fn pair(&mut self, lease: u64) -> [Replica; 2] {
        let url = self.consul.url();
        let with = |setup: Setup| {
            // The lease may not be longer than it.
            let setup = setup.env("CONSUL_HTTP_ADDR", url.clone()).env("NOMAD_FIREHOSE_CONSUL_SESSION_TTL", "30s");
            setup.env("NOMAD_FIREHOSE_LEASE", format!("{lease}s"))
        };
        let leader = self.leader_with(with).await;
        let standby = self.replica_with(with);
        standby.until_ready().await;
        [leader, standby]
    }

    /// Where the heartbeat of a kind is: it moves with each one.
    pub async fn heartbeat(&self, kind: &str) -> u64 {
        let entry = self.consul.entry(&format!("nomad-firehose/{kind}.heartbeat")).await.expect("a leader");
        entry["ModifyIndex"].as_u64().expect("an index")
    }

    /// Waits until the leader of a kind has written a heartbeat after that one.
    pub async fn until_beats(&self, kind: &str, before: u64) {
        let deadline = Instant::now() + crate::common::PATIENCE;
        while self.heartbeat(kind).await == before {
            assert!(Instant::now() < deadline, "no heartbeat of {kind} comes");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all that happened has arrived, and holds it to the truth: gives what came again.
    pub async fn settle(&mut self, replicas: &[Replica]) -> Vec<Repeat> {
        let lines = self.rest().await;
        // Of a raw event.
        let last = format!("\"Index\":{},", self.last.load(Ordering::SeqCst));
        let has_come = || self.journal.all().iter().rev().take(1000).any(|arrival| arrival.record.contains(&last));
        until("the last transaction arrives", has_come).await;
        self.until_whole(&lines).await;
        // Nothing comes behind it.
        sleep(Duration::from_millis(500)).await;
        if std::env::var_os("SHOW_LOGS").is_some() {
            replicas.iter().for_each(|replica| println!("--- replica {}\n{}", replica.number, replica.log()));
        }
        check(&self.journal.all(), &lines, true)
    }

    /// Waits until all that happened has arrived, of every kind; where it never does, [`check`] says what is missing.
    pub async fn until_whole(&self, lines: &[String]) {
        let deadline = Instant::now() + crate::common::PATIENCE;
        while missing(&self.journal.all(), lines) > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until a replica stands by, and what it holds reaches back to what the leader has told. Before that, a leader
    /// that dies leaves a hole to tell of: its last heartbeat can be older than the server's buffer was when the stream
    /// was opened.
    pub async fn until_held_by(&self, replica: &Replica) {
        let deadline = Instant::now() + crate::common::PATIENCE;
        loop {
            replica.until_ready().await;
            let (opened, head) = (replica.logged(OPEN), self.last.load(Ordering::SeqCst));
            while self.told_by_all().await < head {
                assert!(Instant::now() < deadline, "no heartbeat tells of {head}");
                sleep(Duration::from_millis(20)).await;
            }
            // One that was opened again has begun anew.
            if replica.logged(OPEN) == opened {
                return;
            }
        }
    }

    /// The smallest of what [`Scene::told`] gives.
    async fn told_by_all(&self) -> u64 {
        let mut smallest = u64::MAX;
        for kind in ALL {
            smallest = smallest.min(self.told(kind).await);
        }
        smallest
    }

    /// The raft index up to which a kind's stored checkpoint reaches: what went with the last heartbeat.
    pub async fn told(&self, kind: &str) -> u64 {
        let name = if kind == "jobliststubs" { "jobliststub" } else { kind };
        let text = match self.in_variables {
            true => variable(&self.sim.url(0), &format!("nomad-firehose/{name}")).await,
            false => self.consul.get(&format!("nomad-firehose/{name}.state")).await.unwrap_or_default(),
        };
        let head: Value = serde_json::from_slice(&text).unwrap_or_default();
        head["lanes"]["*"]["position"]["index"].as_u64().unwrap_or(0)
    }
}

/// The checkpoint in a Variable; nothing where there is none.
async fn variable(url: &str, path: &str) -> Vec<u8> {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let answer = client.get(format!("{url}/v1/var/{path}")).send().await.expect("an answer");
    let found: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).unwrap_or_default();
    found["Items"]["checkpoint"].as_str().unwrap_or_default().as_bytes().to_vec()
}

/// What happens at an index: the kinds take turns, and so do their objects.
fn transaction(index: u64) -> String {
    let (turn, object) = (index / 5, index / 5 % OBJECTS);
    match index % 5 {
        0 => made::evaluation(index, object),
        1 => made::job(index, object, 20),
        2 => made::node(index, object),
        3 => made::deployment(index, object),
        _ => made::allocation(index, object, 1..=turn / OBJECTS + 1),
    }
}

/// A running replica. Dropping it kills it.
pub struct Replica {
    pub number: usize,
    child: Child,
    log: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Replica {
    fn start(setup: &Setup, journal: Journal, number: usize) -> Self {
        let mut command = setup.command();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let pipe = child.stdout.take().expect("stdout is piped");
        let (log, from_stderr) = collect(child.stderr.take().expect("stderr is piped"));
        let from_stdout = std::thread::spawn(move || journal.read(number, pipe));
        Replica { number, child, log, readers: vec![from_stdout, from_stderr] }
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panics with it").join("\n")
    }

    pub fn logged(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until this text is logged so often.
    pub async fn until_logged(&self, text: &str, times: usize) {
        let deadline = Instant::now() + crate::common::PATIENCE;
        while self.logged(text) < times {
            assert!(Instant::now() < deadline, "not logged {times} times: {text:?}; the log:\n{}", self.log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until it reads the stream as a leader.
    pub async fn until_reads(&self) {
        let reads = || self.logged("subscribed to the event stream") > self.logged(OPEN);
        until("it reads the stream", reads).await;
    }

    /// Waits until it stands by with the stream held ready, since it last led.
    pub async fn until_ready(&self) {
        let last = |text: &str| self.log().rfind(text);
        let is_ready = || last(OPEN) > last("became leader");
        until("the replica holds the stream ready", is_ready).await;
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        rustix::process::kill_process(id.expect("a process id"), signal).expect("it is our child");
    }

    /// Waits for its end, and for the rest of its output. The exit code; none where a signal ended it.
    pub async fn end(&mut self) -> Option<i32> {
        let mut status = None;
        until("the replica ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        })
        .await;
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        status.and_then(|status| status.code())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until somebody but `other` has sent something after `since`: how long it took, and who it is.
pub async fn next_leader(scene: &Scene, other: usize, since: Instant) -> (Duration, usize) {
    let mut found = None;
    until("another replica leads", || {
        found = scene.journal.first_of_another(other, since);
        found.is_some()
    })
    .await;
    let arrival = found.expect("just found");
    (arrival.at.duration_since(since), arrival.replica)
}

/// Prints the median and the longest of some durations.
pub fn print_times(what: &str, times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    let longest = times.last().copied().unwrap_or_default();
    println!("{what}: {} times, p50 {:?}, max {longest:?}", times.len(), times[times.len() / 2]);
    longest
}
