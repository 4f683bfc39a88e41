//! Records with real ack handles, and scripted sinks.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::future::{self, BoxFuture};
use tokio::sync::mpsc;

use crate::{
    checkpoint::Checkpoint,
    kind::Kind,
    lease::{Changes, Error, Lease, LeaseState, Progress},
    ledger::{Effect, Ledger},
    position::RaftIndex,
    record::{Envelope, Record},
    sink::{Closed, ErrorClass, Outcome, Sink},
    task_cursors::{Shard, TaskCursor, TaskKey},
    window::Share,
};

/// A lease whose state the test sets.
#[derive(Clone, Debug)]
pub(crate) struct Switch(Arc<Mutex<LeaseState>>);

impl Default for Switch {
    fn default() -> Self {
        Switch(Arc::new(Mutex::new(LeaseState::Held)))
    }
}

impl Switch {
    pub(crate) fn set(&self, lease_state: LeaseState) {
        *self.0.lock().expect("no test panics with it") = lease_state;
    }
}

/// A checkpoint that is stored whole each time.
impl Progress for Checkpoint {
    fn head(&self) -> Option<Checkpoint> {
        Some(Checkpoint::head(self))
    }

    fn changes(&self) -> Option<Changes> {
        Some(Changes {
            head: Checkpoint::head(self),
            task_cursors: self.task_cursors.iter().collect(),
            forgotten: false,
        })
    }

    fn not_stored(&self) {}

    fn task_cursors(&self, shard: Shard) -> Vec<(TaskKey, TaskCursor)> {
        self.task_cursors.shard(shard).collect()
    }

    fn task_cursors_len(&self) -> usize {
        self.task_cursors.len()
    }
}

impl Lease for Switch {
    fn lease_state(&self) -> LeaseState {
        *self.0.lock().expect("no test panics with it")
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

/// A ledger whose records are numbered from one; the number is the raft index of their entry.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) lease: Switch,
    pub(crate) ledger: Arc<Ledger>,
    entered: Arc<Mutex<u64>>,
}

impl Book {
    pub(crate) fn new() -> Self {
        let lease = Switch::default();
        Book { ledger: Ledger::new(Arc::new(lease.clone()), Checkpoint::default()), lease, entered: Arc::default() }
    }

    /// The next record; its id is `KEY/NUMBER`.
    pub(crate) fn record(&self, key: &str, body: impl Into<Bytes>) -> Record {
        self.record_with(key, body, None)
    }

    /// The same with a share of a window.
    pub(crate) fn record_with(&self, key: &str, body: impl Into<Bytes>, share: Option<Share>) -> Record {
        let mut number = self.entered.lock().expect("no test panics with it");
        *number += 1;
        let line = Some((RaftIndex(*number), Vec::new()));
        let effect = Effect { stream: "*".into(), line, ..Effect::default() };
        Record {
            kind: Kind::Jobs,
            id: format!("{key}/{number}").into(),
            key: key.into(),
            namespace: "default".into(),
            job: "".into(),
            node: "".into(),
            group: None,
            index: RaftIndex(*number),
            time: None,
            body: body.into(),
            envelope: Envelope::None,
            ack: self.ledger.enter(effect, 1, share).expect("there is a record to wait for"),
        }
    }

    /// Records with one key each.
    pub(crate) fn records(&self, keys: &[&str]) -> Vec<Record> {
        keys.iter().map(|key| self.record(key, "{}")).collect()
    }

    /// The number up to which all records are acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.ledger.stream("*").unwrap_or_default().position.index.0
    }
}

/// The number in a record's id.
pub(crate) fn number(record: &Record) -> u64 {
    record.id.rsplit('/').next().and_then(|number| number.parse().ok()).expect("ids are made above")
}

type Answer = Box<dyn FnMut(&[Record]) -> Option<Result<Vec<Outcome>, Closed>> + Send>;

/// A sink that asks a closure, never answers where that returns `None`, and reports which ids it was sent.
pub(crate) struct Script {
    answer: Mutex<Answer>,
    sent: mpsc::UnboundedSender<Vec<String>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

impl Script {
    pub(crate) fn new(
        answer: impl FnMut(&[Record]) -> Option<Result<Vec<Outcome>, Closed>> + Send + 'static,
    ) -> (Box<Self>, mpsc::UnboundedReceiver<Vec<String>>) {
        let (sent, batches) = mpsc::unbounded_channel();
        (Box::new(Script { answer: Mutex::new(Box::new(answer)), sent }), batches)
    }

    /// A sink that takes everything.
    pub(crate) fn willing() -> (Box<Self>, mpsc::UnboundedReceiver<Vec<String>>) {
        Script::new(|batch| Some(Ok(batch.iter().map(|_| Outcome::Delivered).collect())))
    }
}

impl Sink for Script {
    fn name(&self) -> &'static str {
        "script"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async move {
            if self.sent.send(batch.iter().map(|record| record.id.to_string()).collect()).is_err() {
                // The test looks at the ledger alone.
            }
            let answer = (self.answer.lock().expect("no panic"))(batch);
            match answer {
                Some(answer) => answer,
                None => future::pending().await,
            }
        })
    }
}

pub(crate) fn retry(reason: &str) -> Outcome {
    Outcome::retry(reason)
}

/// The far side answered with a refusal.
pub(crate) fn refuse(answer: &str) -> Outcome {
    let refusal = Some(answer.to_owned());
    Outcome::Retry {
        reason: format!("{answer}; see the credentials"),
        after: None,
        refusal,
        class: ErrorClass::Refused,
    }
}

pub(crate) fn reject(reason: &str) -> Outcome {
    Outcome::Reject { reason: reason.to_owned() }
}

/// Runs `test` again in a process whose files cannot grow past 8 KiB, and fails where it fails there. `true` in that
/// process: a write there ends halfway with an error, as on a full disk.
pub(crate) fn with_small_files(test: &str) -> bool {
    const MARK: &str = "WITH_SMALL_FILES";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    // The unit of -f is 512 bytes in sh. An ignored signal becomes an error of the write.
    let limited = "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\"";
    let program = std::env::current_exe().expect("this test");
    let output = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(program)
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{test} is no test: {text}");
    false
}
