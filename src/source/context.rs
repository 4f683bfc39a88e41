//! What every driver needs: the cluster, delivery, bounds, settings, and what reports to the operator.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    coordinator::OwnVariables,
    dead_letter::{DeadLetters, Input},
    delivery::Handle,
    kind::Kind,
    nomad::{Client, line::Event},
    position::RaftIndex,
    record::Record,
    telemetry::{Metrics, Status, Tap, metrics, recent::Seen},
    throttle::Outage,
    window::Window,
};

/// The program stops, or delivery has ended. Every caller passes it up.
pub(super) use crate::delivery::Stopped;

/// Where the very first start begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With everything that the cluster still has.
    All,
    /// With events from now on.
    Now,
    /// With events of this raft index or later, as far as the cluster still has them.
    Index(RaftIndex),
}

/// Where records come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// From the event stream if there is one, otherwise from lists until there is.
    #[default]
    Auto,
    /// From the event stream alone.
    Stream,
    /// From lists alone.
    Poll,
}

/// How lists are polled when there is no event stream.
#[derive(Clone, Copy, Debug)]
pub struct Polling {
    /// Whether they are polled.
    pub source: Source,
    /// The shortest pause between two lists of one kind.
    pub interval: Duration,
    /// How long ago a server may have heard from its leader; `None` allows only the leader to answer.
    pub stale: Option<Duration>,
}

impl Default for Polling {
    fn default() -> Self {
        Polling { source: Source::Auto, interval: Duration::from_secs(1), stale: None }
    }
}

/// What every driver needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// The cluster.
    pub client: Client,
    /// Where records go.
    pub delivery: Handle,
    /// Where input goes that cannot become a record.
    pub dead_letters: DeadLetters,
    /// The bound on bytes in flight.
    pub window: Window,
    /// Counters.
    pub metrics: Metrics,
    /// What each kind is doing, for the status page.
    pub status: Status,
    /// Where the status page sees the records that go by.
    pub tap: Tap,
    /// Where the first start begins.
    pub start: Start,
    /// The Variables of this program. What is published of them is noise: some records a second that say nothing about the cluster. The
    /// position moves past them all the same, so that it stays within the servers' event buffers.
    pub own_variables: Option<OwnVariables>,
    /// What replaces a missing stream.
    pub polling: Polling,
    /// Cancelled when the program stops reading.
    pub stop: CancellationToken,
}

/// Why an answer is of no use.
#[derive(Debug)]
pub(super) enum Interrupted<E> {
    Stopped,
    Failed(E),
}

impl<E> From<Stopped> for Interrupted<E> {
    fn from(Stopped: Stopped) -> Self {
        Interrupted::Stopped
    }
}

impl Context {
    /// Whether the event is about a Variable of this program.
    pub(super) fn is_own(&self, event: &Event<'_>) -> bool {
        let have = |own: &OwnVariables| own.have(&event.namespace, &event.key);
        event.topic == "Variable" && self.own_variables.as_ref().is_some_and(have)
    }

    pub(super) async fn submit(&self, records: Vec<Record>) -> Result<(), Stopped> {
        let seen = records.iter().map(|record| Seen {
            kind: record.kind,
            id: &record.id,
            namespace: &record.namespace,
            index: record.index,
            body: &record.body,
        });
        self.tap.pass(records.len(), seen);
        self.delivery.submit(records).await
    }

    /// Waits, unless the program stops meanwhile.
    pub(super) async fn pause(&self, pause: Duration) -> Result<(), Stopped> {
        tokio::select! {
            () = self.stop.cancelled() => Err(Stopped),
            () = sleep(pause) => Ok(()),
        }
    }

    /// Writes a dead letter for input that cannot become a record. Waits while the dead-letter file cannot be written.
    pub(super) async fn dead_letter(&self, kind: Kind, raw: &[u8], reason: &str) -> Result<(), Stopped> {
        self.unreadable(kind, Input { raw, reason, context: kind.name(), is_logged: false }).await
    }

    /// The same for input that the log may already contain.
    pub(super) async fn unreadable(&self, kind: Kind, input: Input<'_>) -> Result<(), Stopped> {
        let mut backoff = Backoff::default();
        let mut outage = Outage::new("writing dead letters");
        while let Err(error) = self.dead_letters.unreadable(input).await {
            outage.log(&error);
            self.pause(backoff.failed()).await?;
        }
        outage.over();
        self.metrics.dead_letters(kind, metrics::INPUT, 1);
        Ok(())
    }
}
