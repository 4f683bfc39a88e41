//! One table that is watched: what is asked, and what an answer means.

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

/// How long one question may wait for a change, in shortest pauses between two lists, and at most. A server that was
/// restored below the index it is asked to pass answers no earlier, and is seen no later.
const WAIT: u32 = 30;
const WAIT_AT_MOST: Duration = Duration::from_secs(60);
/// Between two looks at a table that stands below where it stood. Two of them are no hiccup of an election.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A question under way.
pub(super) type Question = BoxFuture<'static, (Table, Result<TableState, Error>)>;

/// One table, and where it stood.
pub(super) struct Watch {
    pub(super) table: Table,
    /// When it may be asked for.
    pub(super) after: Instant,
    /// `None` before the first answer.
    index: Option<RaftIndex>,
    asking: bool,
    /// The next question does not wait for a change.
    at_once: bool,
    /// How often in a row the leader said that it stands below where it stood.
    strikes: u32,
    backoff: Backoff,
    /// The last answer was of no use.
    pub(super) failing: bool,
}

/// What an answer comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The table is asked for again; nothing is known yet.
    Again,
    /// The same, and for this reason nothing flows.
    Blocked(Failure),
    /// The table stands here.
    At(RaftIndex),
    /// The cluster is another one.
    StartOver,
}

/// Holds an empty list of all namespaces against that of one: before 1.2.4, Nomad's lists of evaluations and of
/// deployments take `*` for a namespace that has nothing in it.
async fn shows_all(client: &Client, table: Table, state: TableState) -> Result<TableState, Error> {
    if !table.namespaced() {
        return Ok(state);
    }
    match client.table(&ListQuery::new(table, "default")).await {
        Ok(default) if !default.is_empty => {}
        // What the token may not read says nothing of the others.
        Ok(_) | Err(Error::Denied { .. }) => return Ok(state),
        Err(error) => return Err(error),
    }
    // The first object can have come between the two.
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

    /// Whether it was seen where it belongs.
    pub(super) fn is_seen(&self) -> bool {
        self.index.is_some() && self.strikes == 0
    }

    /// Whether it is to be asked for: not while a list is read that is owed, unless that does not come to where the
    /// table was seen.
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
        // Who says that the table went back has to be the leader.
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

    /// Takes in an answer. `anchor` is where the table surely stood, by the checkpoint.
    pub(super) fn take(&mut self, ctx: &Context, anchor: Option<RaftIndex>, answer: Result<TableState, Error>) -> Step {
        self.asking = false;
        let state = match answer {
            Ok(state) => state,
            Err(error) => {
                let again = std::mem::replace(&mut self.failing, true);
                self.at_once = true;
                self.after = Instant::now() + self.backoff.failed();
                // A server that leaves closes what waits; that alone is nothing to tell of.
                return if again || !error.is_retryable() { Step::Blocked(Failure::of(&error)) } else { Step::Again };
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
            return Step::Blocked(Failure { class: "stale".into(), reason });
        }
        self.failing = false;
        let before = self.index.max(anchor).unwrap_or_default();
        if state.index < before {
            return self.went_back(state.index, before);
        }
        self.strikes = 0;
        self.index = Some(state.index);
        self.at_once = false;
        // One that does not wait for a change may not be asked all the time.
        self.after = Instant::now() + ctx.polling.interval;
        Step::At(state.index)
    }

    fn went_back(&mut self, index: RaftIndex, before: RaftIndex) -> Step {
        self.at_once = true;
        self.after = Instant::now() + LOOK_AGAIN;
        self.strikes += 1;
        // The first can be a server that lags; from then on it is the leader that is asked.
        match self.strikes {
            ..=2 => Step::Again,
            _ => {
                warn!(table = self.table.topic(), %index, %before, "table index went backwards");
                Step::StartOver
            }
        }
    }
}
