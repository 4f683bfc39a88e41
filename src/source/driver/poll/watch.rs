//! One watched table: how it is asked, and what an answer means.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::Instant;
use tracing::warn;

use crate::{
    backoff::Backoff,
    nomad::{Client, Error, ListQuery, Table, TableState},
    position::RaftIndex,
    source::{
        context::Context,
        tracker::{Tracker, lists},
    },
    throttle::Failure,
};

/// How long one query may wait for a change, in shortest pauses between two lists, and at most. A server that was
/// restored to below the index of the query answers no earlier.
const WAIT: u32 = 30;
const WAIT_AT_MOST: Duration = Duration::from_secs(60);
/// The pause between two queries of a table that is below its earlier index. Two of them are no hiccup of an election.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A query under way.
pub(super) type Question = BoxFuture<'static, (Table, Result<TableState, Error>)>;

/// One table, and its last index.
pub(super) struct Watch {
    pub(super) table: Table,
    /// When it may be asked for.
    pub(super) after: Instant,
    /// `None` before the first answer.
    index: Option<RaftIndex>,
    asking: bool,
    /// The next query does not wait for a change.
    at_once: bool,
    /// How often in a row the leader gave an index below the earlier one.
    strikes: u32,
    backoff: Backoff,
    /// The last answer was of no use.
    pub(super) failing: bool,
}

/// What an answer means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TableStep {
    /// The table is asked for again; nothing is known yet.
    Again,
    /// The same, and this reason blocks the kind.
    Blocked(Failure),
    /// The index of the table.
    At(RaftIndex),
    /// The cluster is another one.
    StartOver,
}

/// Checks an empty list of all namespaces against that of one: before 1.2.4, Nomad's lists of evaluations and of
/// deployments take `*` for the name of a namespace.
async fn shows_all(client: &Client, table: Table, state: TableState) -> Result<TableState, Error> {
    if !table.namespaced() {
        return Ok(state);
    }
    match client.table(&ListQuery::new(table, "default")).await {
        Ok(default) if !default.is_empty => {}
        // What the token may not read says nothing about the others.
        Ok(_) | Err(Error::Denied { .. }) => return Ok(state),
        Err(error) => return Err(error),
    }
    // The first object can have been created between the two queries.
    let again = client.table(&ListQuery::new(table, "*")).await?;
    if !again.is_empty {
        return Ok(again);
    }
    Err(Error::Unsupported {
        address: state.server,
        what: format!("a list of {} of all namespaces", table.path().trim_start_matches("/v1/")),
        text: "name the namespaces in NOMAD_NAMESPACE".to_owned(),
    })
}

impl Watch {
    pub(super) fn new(table: Table) -> Self {
        Watch {
            table,
            after: Instant::now(),
            index: None,
            asking: false,
            at_once: true,
            strikes: 0,
            backoff: Backoff::default(),
            failing: false,
        }
    }

    /// Whether its index proved to be of the same cluster.
    pub(super) fn is_seen(&self) -> bool {
        self.index.is_some() && self.strikes == 0
    }

    /// Whether it should be asked for: not while a booked list is being read, unless that list does not reach the
    /// table's index.
    pub(super) fn is_wanted(&self, trackers: &[Tracker]) -> bool {
        let mut own = trackers.iter().filter(|tracker| tracker.table() == Some(self.table));
        let is_read = |tracker: &Tracker| tracker.backfill.is_empty() || tracker.list.stale_pages >= lists::STALE_PAGES;
        !self.asking && (!self.is_seen() || own.all(is_read))
    }

    /// Not before `instant`.
    pub(super) fn rest(&mut self, instant: Instant) {
        self.after = self.after.max(instant);
    }

    pub(super) fn ask(&mut self, ctx: &Context, namespace: &str) -> Question {
        self.asking = true;
        // An index of 0 would not wait at all.
        let past = self.index.map(|index| RaftIndex(index.0.max(1).saturating_add(1))).filter(|_| !self.at_once);
        let (client, table, namespace) = (ctx.client.clone(), self.table, namespace.to_owned());
        // Only the leader can say that the table went back.
        let stale = ctx.polling.stale.is_some() && self.strikes == 0;
        let wait = (ctx.polling.interval * WAIT).min(WAIT_AT_MOST);
        async move {
            let query = ListQuery { min_index: past, wait, stale, ..ListQuery::new(table, &namespace) };
            let state = client.table(&query).await;
            match state {
                Ok(state) if state.is_empty && namespace == "*" => (table, shows_all(&client, table, state).await),
                state => (table, state),
            }
        }
        .boxed()
    }

    /// Processes an answer. `anchor` is a certain index of the table, from the checkpoint.
    pub(super) fn take(
        &mut self,
        ctx: &Context,
        anchor: Option<RaftIndex>,
        answer: Result<TableState, Error>,
    ) -> TableStep {
        self.asking = false;
        let state = match answer {
            Ok(state) => state,
            Err(error) => {
                let again = std::mem::replace(&mut self.failing, true);
                self.at_once = true;
                self.after = Instant::now() + self.backoff.failed();
                // A server that leaves closes what waits; that alone is not worth reporting.
                return if again || !error.is_retryable() {
                    TableStep::Blocked(Failure::of(&error))
                } else {
                    TableStep::Again
                };
            }
        };
        self.backoff.reset();
        let stale = ctx.polling.stale.filter(|_| self.strikes == 0);
        if let Some(bound) = stale
            && (!state.known_leader || state.last_contact > bound)
        {
            let reason = format!(
                "the server at {} heard of its leader {:?} ago, or knows none (NOMAD_FIREHOSE_STALE)",
                state.server, state.last_contact
            );
            ctx.client.fail_over(&state.server);
            self.failing = true;
            self.after = Instant::now() + LOOK_AGAIN;
            return TableStep::Blocked(Failure { class: "stale".into(), reason });
        }
        self.failing = false;
        let before = self.index.max(anchor).unwrap_or_default();
        if state.index < before {
            return self.went_back(state.index, before);
        }
        self.strikes = 0;
        self.index = Some(state.index);
        self.at_once = false;
        // A server that does not wait for a change must not be asked all the time.
        self.after = Instant::now() + ctx.polling.interval;
        TableStep::At(state.index)
    }

    fn went_back(&mut self, index: RaftIndex, before: RaftIndex) -> TableStep {
        self.at_once = true;
        self.after = Instant::now() + LOOK_AGAIN;
        self.strikes += 1;
        // The first can be a server that lags; after that the leader is asked.
        match self.strikes {
            ..=2 => TableStep::Again,
            _ => {
                warn!(table = self.table.topic(), %index, %before, "table index went backwards");
                TableStep::StartOver
            }
        }
    }
}
