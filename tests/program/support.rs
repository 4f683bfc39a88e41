//! A stage with a reader behind it, in place of delivery.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::{self, BoxFuture};
use nomad_firehose::{
    checkpoint::Checkpoint,
    dead_letter::{DeadLetters, Place},
    delivery::{self, Handle, Intake, Message},
    kind::Kind,
    lease::{Error, Lease, LeaseState, Progress},
    ledger::{Effect, Ledger},
    meta::Origin,
    position::RaftIndex,
    program::{self, Config, Enrich, Patience, Surroundings, Uses, check},
    record::{Envelope, Record},
    settings::ByteSize,
    telemetry::{Leadership, Metrics, SourceState, Status},
};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(crate) struct Switch(Arc<Mutex<LeaseState>>);

impl Switch {
    pub(crate) fn set(&self, state: LeaseState) {
        *self.0.lock().expect("no panic") = state;
    }
}

impl Lease for Switch {
    fn lease_state(&self) -> LeaseState {
        *self.0.lock().expect("no panic")
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::pending())
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        Box::pin(future::ready(Ok(None)))
    }

    fn save<'a>(&'a self, _progress: &'a dyn Progress) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(future::ready(Ok(())))
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(future::ready(Ok(())))
    }
}

/// A program that drops nothing, and its settings in tests.
pub(crate) fn config() -> Config {
    Config {
        jq: Some(".".into()),
        by: None,
        redact: Vec::new(),
        memory: ByteSize::new(256 << 20),
        uses: Uses::default(),
        worker: PathBuf::from(env!("CARGO_BIN_EXE_nomad-firehose")),
        patience: Patience { busy: Duration::from_millis(500), waiting: Duration::from_secs(20) },
    }
}

/// The stage, and all around it.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) lease: Switch,
    ledger: Arc<Ledger>,
    pub(crate) handle: Option<Handle>,
    behind: Option<Intake>,
    pub(crate) metrics: Metrics,
    pub(crate) status: Status,
    /// The groups of the records that have arrived.
    pub(crate) groups: Vec<Option<String>>,
    file: tempfile::TempDir,
    entered: u64,
}

impl Bench {
    pub(crate) fn of(code: &str) -> Self {
        Bench::with(|config| config.jq = Some(code.into()))
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        Bench::enriched(change, None)
    }

    pub(crate) fn enriched(change: impl FnOnce(&mut Config), enrich: Option<Arc<dyn Enrich>>) -> Self {
        let file = tempfile::tempdir().expect("a directory");
        let place = Place::File(file.path().join("letters"));
        Bench::placed(file, place, change, enrich)
    }

    /// Dead letters hold the pipeline.
    pub(crate) fn holding(change: impl FnOnce(&mut Config)) -> Self {
        Bench::placed(tempfile::tempdir().expect("a directory"), Place::Stop, change, None)
    }

    fn placed(
        file: tempfile::TempDir,
        place: Place,
        change: impl FnOnce(&mut Config),
        enrich: Option<Arc<dyn Enrich>>,
    ) -> Self {
        let lease = Switch(Arc::new(Mutex::new(LeaseState::Held)));
        let (metrics, status) = (Metrics::new(&[Kind::Jobs]), Status::new(&[Kind::Jobs]));
        status.lease(Kind::Jobs, Leadership::Leading);
        status.source(Kind::Jobs, "*", SourceState::Streaming);
        let around = Surroundings {
            dead_letters: DeadLetters::new(place),
            metrics: metrics.clone(),
            status: status.clone(),
            origin: Origin { cluster: Some("prod".into()), region: None },
        };
        let mut config = config();
        change(&mut config);
        let codes = [&config.jq, &config.by].into_iter().flatten();
        config.uses = codes.fold(Uses::default(), |all, code| all.or(check(code).expect("a program")));
        let (next, behind) = delivery::stage(16);
        Bench {
            ledger: Ledger::new(Arc::new(lease.clone()), Checkpoint::default()),
            lease,
            handle: Some(program::spawn(config, around, enrich, next)),
            behind: Some(behind),
            metrics,
            status,
            groups: Vec::new(),
            file,
            entered: 0,
        }
    }

    /// Records of these bodies; the ids are `a/1`, `a/2` …
    pub(crate) fn records(&mut self, bodies: impl IntoIterator<Item = impl Into<String>>) -> Vec<Record> {
        let record = |body: String| {
            self.entered += 1;
            let line = Some((RaftIndex(self.entered), Vec::new()));
            let effect = Effect { stream: "*".into(), line, ..Effect::default() };
            Record {
                kind: Kind::Jobs,
                id: format!("a/{}", self.entered).into(),
                key: "a".into(),
                namespace: "default".into(),
                job: "".into(),
                node: "".into(),
                group: None,
                index: RaftIndex(self.entered),
                time: None,
                body: body.into(),
                envelope: Envelope::None,
                ack: self.ledger.enter(effect, 1, None).expect("a record waits"),
            }
        };
        bodies.into_iter().map(Into::into).map(record).collect()
    }

    pub(crate) async fn submit(&mut self, bodies: impl IntoIterator<Item = impl Into<String>>) {
        let records = self.records(bodies);
        let handle = self.handle.clone().expect("open");
        // The reader may have to make room.
        tokio::spawn(async move { handle.submit(records).await.expect("the stage runs") }).await.expect("no panic");
    }

    /// Waits for the next records; acknowledges them. `None` for a drain.
    pub(crate) async fn next(&mut self) -> Option<Vec<(String, String)>> {
        let behind = self.behind.as_mut().expect("open");
        match tokio::time::timeout(PATIENCE, behind.next()).await.expect("something arrives in time")? {
            Message::Drain(_) => None,
            Message::Records(records) => Some(self.arrive(records)),
        }
    }

    fn arrive(&mut self, records: Vec<Record>) -> Vec<(String, String)> {
        let arrive = |record: Record| {
            assert_eq!(&*record.key, "a");
            self.groups.push(record.group.as_deref().map(str::to_owned));
            record.ack.delivered();
            (record.id.into(), String::from_utf8(record.body.to_vec()).expect("JSON"))
        };
        records.into_iter().map(arrive).collect()
    }

    /// All records up to a drain behind everything that was submitted.
    pub(crate) async fn drained(&mut self) -> Vec<(String, String)> {
        let handle = self.handle.clone().expect("open");
        // Dropped by the reader, the drain is not drained.
        let drain = tokio::spawn(async move { handle.drain().await.is_err() });
        let mut arrived = Vec::new();
        while let Some(records) = self.next().await {
            arrived.extend(records);
        }
        assert!(drain.await.expect("no panic"));
        arrived
    }

    /// Up to which record all are acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.ledger.stream("*").unwrap_or_default().position.index.0
    }

    /// The ids and reasons of the dead letters.
    pub(crate) fn letters(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.file.path().join("letters")).unwrap_or_default();
        let letter = |line: &str| {
            let letter: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let of = |name: &str| letter[name].as_str().expect("text").to_owned();
            (of("id"), of("reason"))
        };
        text.lines().map(letter).collect()
    }

    /// What the status page says.
    pub(crate) fn phase(&self) -> String {
        self.status.phases()[0].1.to_string()
    }

    /// The delivery ends.
    pub(crate) fn close_behind(&mut self) {
        self.behind = None;
    }
}

/// Waits until `is` is true.
pub(crate) async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

/// The workers with this limit on memory, which tells those of one test from all others.
pub(crate) fn workers(memory: u64) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_worker = |id: &i32| {
        let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap_or_default();
        limits.lines().any(|line| line.starts_with("Max address space") && line.contains(&format!(" {memory} ")))
    };
    ids.filter(is_worker).collect()
}

pub(crate) fn signal(id: i32, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_raw(id).expect("a process");
    // It can have ended meanwhile.
    rustix::process::kill_process(id, signal).ok();
}
