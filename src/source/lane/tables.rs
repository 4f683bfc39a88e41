//! What tables tell a lane: where a first start begins, that nothing is missing, that the cluster is another one, and
//! that the stream has fallen behind.

use tracing::{debug, error, info, warn};

use super::Lane;
use crate::{
    backoff::Backoff,
    kind::Kind,
    nomad::{self, Table},
    position::RaftIndex,
    source::{Context, Start, Stopped, member::Member, outage::Outage, proof::TableVerdict},
};

impl Lane {
    /// The first start's position, where it has to be asked for: after everything that is there now.
    pub(super) async fn resolve_start(&mut self, backoff: &mut Backoff, outage: &mut Outage) -> Result<(), Stopped> {
        for member in &mut self.members {
            if !member.first_start {
                continue;
            }
            let start = match self.ctx.start {
                Start::All => continue,
                Start::Index(index) => RaftIndex(index.0.saturating_sub(1)),
                Start::Now => loop {
                    match newest_index(&self.ctx, member, &self.namespace).await {
                        Ok(index) => break index,
                        Err(error) => outage.log(&error),
                    }
                    self.ctx.pause(backoff.failed()).await?;
                },
            };
            member.start_after(&self.ctx, start, self.ctx.start == Start::Now).await?;
        }
        Ok(())
    }

    /// Nothing has proven the connection for a while: ask the tables, and whether this is still the same cluster.
    /// `true` when it is another one, and everything starts over.
    pub(super) async fn check_tables(&mut self) -> Result<bool, Stopped> {
        if self.cluster_is_another().await {
            error!(
                namespace = &*self.namespace,
                "the cluster's index is below the checkpoint's, and its events are not known: it was restored or is \
                 another cluster; starting over"
            );
            self.members.iter_mut().for_each(Member::start_over);
            self.history.clear();
            self.catch_up = None;
            self.covered = RaftIndex(0);
            return Ok(true);
        }
        let mut indexes = Vec::new();
        for member in self.members.iter_mut().filter(|member| !member.cursor.is_proven()) {
            if member.kind == Kind::Events && member.first_start {
                continue;
            }
            let Some(tables) = member.tables() else { continue };
            let Some(index) = greatest_index(&self.ctx, &self.namespace, &tables, &mut indexes).await else { continue };
            match member.take_table_index(&self.ctx, index).await? {
                TableVerdict::Proven => debug!(kind = %member.kind, %index, "nothing is missing: the table stands"),
                TableVerdict::Gap(owed) => {
                    info!(kind = %member.kind, from = %owed.from, until = %owed.until, "reading what was missed");
                }
                TableVerdict::Wait => debug!(kind = %member.kind, %index, "the server lags; waiting for it"),
            }
        }
        Ok(false)
    }

    /// Whether the table that surely moved at the anchor's index is below it, twice in a row, read consistently.
    pub(super) async fn cluster_is_another(&mut self) -> bool {
        let anchor = self
            .members
            .iter()
            .filter(|member| !member.cursor.is_proven())
            .filter_map(|member| member.ledger().lane(&self.namespace)?.anchor)
            .max_by_key(|anchor| anchor.index);
        let Some(anchor) = anchor else { return false };
        let Some(table) = Table::from_topic(&anchor.topic) else { return false };
        match self.ctx.client.table_index(table, &self.namespace).await {
            Ok(index) if index < anchor.index => self.strikes += 1,
            Ok(_) => self.strikes = 0,
            Err(error) => debug!(%error, "cannot read the table's index"),
        }
        if self.strikes < 2 {
            return false;
        }
        self.strikes = 0;
        true
    }

    /// The watchdog: has some table moved past everything that the stream brought since the last watch?
    pub(super) async fn stream_is_behind(&mut self) -> Result<bool, Stopped> {
        let mut indexes = Vec::new();
        let mut behind = false;
        for member in &mut self.members {
            let Some(tables) = member.tables() else { continue };
            let Some(index) = greatest_index(&self.ctx, &self.namespace, &tables, &mut indexes).await else { continue };
            let read = member.cursor.position().index;
            self.ctx.metrics.lag(member.kind, index.0.saturating_sub(read.0));
            let before = std::mem::replace(&mut member.table_before, index);
            let read = read.max(member.excused);
            if before > read && member.cursor.is_proven() {
                warn!(kind = %member.kind, table = %before, read = %read, "the stream is behind the table; subscribing again");
                member.excused = before;
                behind = true;
            }
        }
        if behind {
            self.ctx.client.fail_over(&self.server);
        }
        Ok(behind)
    }
}

/// The greatest index of `tables`; each is asked once for all members. `None` while one cannot be read.
async fn greatest_index(
    ctx: &Context,
    namespace: &str,
    tables: &[Table],
    known: &mut Vec<(Table, RaftIndex)>,
) -> Option<RaftIndex> {
    let mut greatest = RaftIndex(0);
    for table in tables {
        let index = match known.iter().find(|(other, _)| other == table) {
            Some((_, index)) => *index,
            None => match ctx.client.table_index(*table, namespace).await {
                Ok(index) => {
                    known.push((*table, index));
                    index
                }
                Err(error) => {
                    debug!(%error, "cannot read the table's index");
                    return None;
                }
            },
        };
        greatest = greatest.max(index);
    }
    Some(greatest)
}

/// The index after which a start at `now` begins.
async fn newest_index(ctx: &Context, member: &Member, namespace: &str) -> Result<RaftIndex, nomad::Error> {
    let all = || Table::ALL.to_vec();
    let mut newest = RaftIndex(0);
    for table in member.tables().unwrap_or_else(all) {
        newest = newest.max(ctx.client.table_index(table, namespace).await?);
    }
    Ok(newest)
}
