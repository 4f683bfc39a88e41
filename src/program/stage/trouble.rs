//! What goes wrong with programs: how long to wait, what the log says, and what the status shows.

use std::{mem, time::Duration};

use super::NAME;
use crate::{
    backoff::Backoff,
    dead_letter,
    record::Record,
    telemetry::Status,
    throttle::{Class, Outage, Throttle},
};

/// The bound of the first pause after a record that holds the pipeline.
const HELD: Duration = Duration::from_secs(1);

/// The bound of all pauses.
const LONGEST: Duration = Duration::from_secs(30);

/// How often the worker can end without an answer before the status shows it.
const ENDS: u32 = 3;

/// What the status shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The worker cannot be started.
    Start,
    /// It ends again and again.
    Ends,
    /// A record holds the pipeline.
    Held,
}

#[derive(Debug)]
pub(super) struct Trouble {
    status: Status,
    cause: Option<Cause>,
    /// How often the worker has ended since the last answer.
    ends: u32,
    restart: Backoff,
    held: Backoff,
    log: Throttle,
    is_logged: bool,
    letters: Outage,
}

impl Trouble {
    pub(super) fn new(status: Status) -> Self {
        Trouble {
            status,
            cause: None,
            ends: 0,
            restart: Backoff::default(),
            held: Backoff::new(HELD, LONGEST),
            log: Throttle::default(),
            is_logged: false,
            letters: Outage::new("writing dead letters"),
        }
    }

    /// Whether a record holds the pipeline.
    pub(super) fn is_held(&self) -> bool {
        self.cause == Some(Cause::Held)
    }

    /// The worker has started.
    pub(super) fn started(&mut self) {
        if self.cause == Some(Cause::Start) {
            self.clear();
        }
    }

    /// The worker has answered for a record.
    pub(super) fn over(&mut self) {
        if self.ends > 0 || self.cause.is_some() {
            self.clear();
        }
    }

    /// Nothing is left that could fail.
    pub(super) fn dropped(&mut self) {
        if self.is_held() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.ends = 0;
        self.restart.reset();
        self.held.reset();
        if self.cause.take().is_some() {
            self.status.program(None);
        }
        if mem::take(&mut self.is_logged) {
            tracing::info!("jq worker recovered");
        }
    }

    fn show(&mut self, cause: Cause, reason: String) {
        self.cause = Some(cause);
        self.status.program(Some(reason));
    }

    /// The worker cannot be started. Returns how long to wait.
    pub(super) fn cannot_start(&mut self, reason: &str) -> Duration {
        let delay = self.restart.failed();
        if !self.is_held() {
            self.show(Cause::Start, format!("the process that runs jq cannot be started: {reason}"));
        }
        if let Some(times) = self.log.due(Class::of_text(reason)) {
            self.is_logged = true;
            tracing::error!(%reason, times, retry_in = ?delay, "jq worker cannot start");
        }
        delay
    }

    /// The worker has ended. Returns how long to wait.
    pub(super) fn ended(&mut self, reason: &str, blamed: Option<&Record>) -> Duration {
        self.ends = self.ends.saturating_add(1);
        if self.ends > ENDS && !self.is_held() {
            self.show(Cause::Ends, format!("the process that runs jq ends again and again: {reason}"));
        }
        if let Some(times) = self.log.due(Class::of_text(reason)) {
            let (kind, id) = (blamed.map(|record| record.kind.name()), blamed.map(|record| &*record.id));
            tracing::warn!(%reason, kind, id, times, "jq worker restarted");
        }
        // A single end costs no pause.
        if self.ends > 1 { self.restart.failed() } else { Duration::ZERO }
    }

    /// A record holds the pipeline. Returns how long to wait.
    pub(super) fn held(&mut self, record: &Record, reason: &str, attempts: u32) -> Duration {
        let delay = self.held.failed();
        self.show(
            Cause::Held,
            format!(
                "the jq program takes no {} record {}: {reason}; fix the program, or set NOMAD_FIREHOSE_DEAD_LETTER=file:PATH",
                record.kind, record.id
            ),
        );
        if let Some(times) = self.log.due("rejected") {
            self.is_logged = true;
            let Record { kind, id, key, .. } = record;
            tracing::error!(
                sink = NAME, %kind, %id, %key, %reason, attempts, rejected = 1, times,
                "pipeline held by a rejected record"
            );
        }
        delay
    }

    /// Dead letters cannot be written. Returns how long to wait.
    pub(super) fn no_letters(&mut self, error: &dead_letter::Error) -> Duration {
        self.letters.log(error);
        self.status.program(Some(format!("{error}")));
        self.restart.failed()
    }

    pub(super) fn letters_written(&mut self) {
        self.letters.over();
        if self.cause.is_none() {
            self.status.program(None);
        }
    }
}
