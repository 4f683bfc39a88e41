//! What the tables say about a stream: where a first start begins, that nothing is missing, that the cluster is another
//! one, and that the stream has fallen behind.

use futures_util::future::BoxFuture;
use tracing::{debug, error, info};

use super::{ConnectionEnd, Driver};
use crate::{
    backoff::Backoff,
    checkpoint::Anchor,
    nomad::{self, Client, Table},
    position::RaftIndex,
    source::{
        context::{Context, Source, Start, Stopped},
        resume::{coverage::Coverage, proof::TableVerdict, topics::tables},
        stream::unconfirmed::UnconfirmedLines,
        tracker::Tracker,
    },
    telemetry::{ListState, SourceState},
    throttle::Outage,
};

impl Driver {
    /// Finds where to start if the checkpoint does not say it alone: after what the original program had delivered, or
    /// on a first start at `now` after everything that exists.
    pub(super) async fn resolve_start(&mut self, backoff: &mut Backoff, outage: &mut Outage) -> Result<(), Stopped> {
        let polls = self.ctx.polling.source == Source::Poll;
        let mut now = None;
        let mut watermarks = Vec::new();
        for tracker in &mut self.trackers {
            let own = tracker.stored_watermark();
            if tracker.needs_legacy_value() {
                let tables = tables(tracker.topics());
                let table = ask_newest(&self.ctx, tracker, &tables, &self.namespace, backoff, outage).await?;
                watermarks.extend(tracker.resume_from_legacy_value(&self.ctx, table).await?.or(own));
                continue;
            }
            if !tracker.start_mode.is_first_start() || self.ctx.start == Start::All {
                watermarks.extend(own);
                continue;
            }
            let start = match (self.ctx.start, now) {
                (Start::All, _) => RaftIndex(0),
                (Start::Index(index), _) => RaftIndex(index.0.saturating_sub(1)),
                // One moment for all kinds of a stream: Nomad's oldest line can be of any, and nothing before it is missing.
                (Start::Now, Some(now)) if !polls => now,
                // Lists are of one kind.
                (Start::Now, _) => {
                    let tables = tables(if polls { tracker.topics() } else { &self.topics });
                    *now.insert(ask_newest(&self.ctx, tracker, &tables, &self.namespace, backoff, outage).await?)
                }
            };
            tracker.start_after(&self.ctx, start, self.ctx.start == Start::Now).await?;
            watermarks.push(start);
        }
        self.coverage = Coverage::from(watermarks.into_iter().min().unwrap_or_default());
        Ok(())
    }

    /// Asks for the tables that could prove what the stream has not, in the background: an answer can take long while
    /// the cluster has no leader, and the stream must not wait for it.
    pub(super) fn ask_for_proof(&self) -> Probe {
        let unproven = self.trackers.iter().filter(|tracker| !tracker.cursor.is_proven());
        let tables = unproven.filter_map(Tracker::tables).flatten().collect();
        probe(&self.ctx.client, &self.namespace, Why::Proof, tables, self.anchor())
    }

    /// Asks for the tables of all kinds, to compare them with the stream. `stalled` says that half a line has arrived,
    /// and does not grow.
    pub(super) fn ask_for_watch(&self, stalled: bool) -> Probe {
        let tables = self.trackers.iter().filter_map(Tracker::tables).flatten().collect();
        probe(&self.ctx.client, &self.namespace, Why::Watch { stalled }, tables, None)
    }

    /// Asks for the tables of all kinds, to show how far they are ahead of the stream.
    pub(super) fn ask_for_look(&self) -> Probe {
        let tables = self.trackers.iter().filter_map(Tracker::tables).flatten().collect();
        probe(&self.ctx.client, &self.namespace, Why::Look, tables, None)
    }

    /// Asks for the tables that can confirm the index of a line.
    pub(super) fn ask_for_confirmation(&self) -> Probe {
        probe(&self.ctx.client, &self.namespace, Why::Unconfirmed, tables(&self.topics), None)
    }

    /// Processes the answer of the tables. `quiet` says that no line is under way that could still bring the proof, and `held_up` that
    /// lines wait for the sink. Returns whether to give up the connection.
    pub(super) async fn take_tables(
        &mut self,
        answer: TableAnswer,
        quiet: bool,
        held_up: bool,
    ) -> Result<Option<ConnectionEnd>, Stopped> {
        self.take_confirmed(RaftIndex(0)).await?;
        match answer.why {
            Why::Proof if self.cluster_is_another(&answer) => {
                self.start_over();
                Ok(Some(ConnectionEnd::Resubscribe))
            }
            // A table that may be another cluster's proves nothing.
            Why::Proof if self.strikes > 0 || !quiet => Ok(None),
            Why::Proof => self.prove(&answer, |_| true).await.map(|()| None),
            Why::Watch { stalled } => Ok(self.stream_is_behind(&answer, stalled, held_up && !stalled)),
            Why::Look => {
                self.look(&answer);
                Ok(None)
            }
            Why::Lists => Ok(self.take_lists(&answer)),
            Why::Unconfirmed => Ok(self.give_up_unconfirmed(answer.indexes.is_empty()).then_some(ConnectionEnd::Lost)),
        }
    }

    /// Passes the tables' indexes to the trackers that wait for a proof and are `meant`.
    pub(super) async fn prove(
        &mut self,
        answer: &TableAnswer,
        meant: impl Fn(&Tracker) -> bool,
    ) -> Result<(), Stopped> {
        for tracker in self.trackers.iter_mut().filter(|tracker| !tracker.cursor.is_proven() && meant(tracker)) {
            let Some(index) = tracker.tables().and_then(|tables| answer.greatest(&tables)) else { continue };
            match tracker.take_table_index(&self.ctx, index).await? {
                TableVerdict::Proven => debug!(kind = %tracker.kind, %index, "nothing is missing: the table stands"),
                TableVerdict::Gap(gap) => {
                    info!(kind = %tracker.kind, from = %gap.from, until = %gap.until, "backfill started");
                }
                TableVerdict::Wait => debug!(kind = %tracker.kind, %index, "waiting for the server's stream"),
            }
        }
        Ok(())
    }

    /// The newest anchor of the kinds whose positions are not proven.
    pub(super) fn anchor(&self) -> Option<Anchor> {
        let unproven = self.trackers.iter().filter(|tracker| !tracker.cursor.is_proven());
        unproven.filter_map(Tracker::anchor).max_by_key(|anchor| anchor.index)
    }

    /// Whether the table of the anchor is below it, twice in a row, read from the leader.
    fn cluster_is_another(&mut self, answer: &TableAnswer) -> bool {
        let Some(anchor) = &answer.anchor else {
            self.strikes = 0;
            return false;
        };
        let table = Table::from_topic(&anchor.topic).and_then(|table| answer.greatest(&[table]));
        match table {
            Some(index) if index < anchor.index => self.strikes += 1,
            Some(_) => self.strikes = 0,
            None => {}
        }
        self.strikes >= 2
    }

    pub(super) fn start_over(&mut self) {
        let reason = "its index is below that of the checkpoint, and its events are not known";
        error!(namespace = &*self.namespace, reason, "starting over on another or restored cluster");
        for tracker in &mut self.trackers {
            tracker.start_over();
            self.ctx.status.list(tracker.kind, &self.namespace, ListState::Fine);
            self.ctx.metrics.forget_seen(tracker.kind);
        }
        self.unconfirmed = UnconfirmedLines::default();
        self.suspicion = Default::default();
        self.coverage = Coverage::default();
        self.strikes = 0;
    }
}

/// Why tables are asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Why {
    /// Nothing has proven the connection for a while.
    Proof,
    /// The regular comparison.
    Watch {
        /// Half a line has arrived, and does not grow.
        stalled: bool,
    },
    /// The stream brings nothing: how far are the tables?
    Look,
    /// The stream may be held back: do lists have what it should have brought?
    Lists,
    /// A line has an implausible index.
    Unconfirmed,
}

/// A query under way.
pub(super) type Probe = BoxFuture<'static, TableAnswer>;

/// The indexes of tables, from the leader.
#[derive(Debug)]
pub(super) struct TableAnswer {
    why: Why,
    anchor: Option<Anchor>,
    pub(super) indexes: Vec<(Table, RaftIndex)>,
    /// Versions that lists have, and the stream had not brought.
    pub(super) newer: Vec<(Table, RaftIndex)>,
    /// Some query failed.
    pub(super) failed: bool,
}

impl TableAnswer {
    pub(super) fn new(why: Why) -> Self {
        TableAnswer { why, anchor: None, indexes: Vec::new(), newer: Vec::new(), failed: false }
    }

    /// The greatest index of `tables`; `None` if one of them could not be read.
    pub(super) fn greatest(&self, tables: &[Table]) -> Option<RaftIndex> {
        let of = |table: &Table| self.indexes.iter().find(|(other, _)| other == table).map(|(_, index)| *index);
        tables.iter().map(of).try_fold(RaftIndex(0), |greatest, index| index.map(|index| greatest.max(index)))
    }
}

fn probe(client: &Client, namespace: &str, why: Why, mut tables: Vec<Table>, anchor: Option<Anchor>) -> Probe {
    let (client, namespace) = (client.clone(), namespace.to_owned());
    tables.extend(anchor.iter().filter_map(|anchor| Table::from_topic(&anchor.topic)));
    Box::pin(async move {
        let mut indexes: Vec<(Table, RaftIndex)> = Vec::new();
        for table in tables {
            if indexes.iter().any(|(known, _)| *known == table) {
                continue;
            }
            match client.table_index(table, &namespace).await {
                Ok(index) => indexes.push((table, index)),
                Err(error) => debug!(%error, "cannot read the index of a table"),
            }
        }
        TableAnswer { anchor, indexes, ..TableAnswer::new(why) }
    })
}

/// The index after which a start at `now` begins, and the newest version that the original program can have known.
/// Waits until the leader answers.
async fn ask_newest(
    ctx: &Context,
    tracker: &Tracker,
    tables: &[Table],
    namespace: &str,
    backoff: &mut Backoff,
    outage: &mut Outage,
) -> Result<RaftIndex, Stopped> {
    loop {
        match newest_index(ctx, tables, namespace).await {
            Ok(index) => return Ok(index),
            Err(error) => {
                outage.log(&error);
                tracker.show(ctx, SourceState::Blocked { reason: error.to_string() });
            }
        }
        ctx.pause(backoff.failed()).await?;
    }
}

/// The greatest index of these tables.
async fn newest_index(ctx: &Context, tables: &[Table], namespace: &str) -> Result<RaftIndex, nomad::Error> {
    let mut newest = RaftIndex(0);
    for table in tables {
        newest = newest.max(ctx.client.table_index(*table, namespace).await?);
    }
    Ok(newest)
}
