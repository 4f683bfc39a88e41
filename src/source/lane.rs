//! One stream connection and the kinds that read it: connect, prove, deliver, and go on after every failure.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};
use tracing::{debug, error, info, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Context, Start, Stopped,
    backoff::Backoff,
    catch_up::{CatchUp, History},
    line::{Garbage, Line, Occurrences},
    member::{Batch, Member, report_gap},
    namespaces,
    outage::Outage,
    proof::TableVerdict,
    reader::Reader,
    reconcile,
    tables::{greatest_index, newest_index},
    window::Share,
};
use crate::{
    checkpoint::{Owed, Pass},
    kind::Kind,
    nomad::{self, Namespace, StreamQuery, Table, Topic},
    position::RaftIndex,
    telemetry::Phase,
};

/// How long a connection may take to prove that it goes on before tables are asked.
const PROOF_WAIT: Duration = Duration::from_secs(2);
/// How often the watchdog compares the tables with the stream.
const WATCH_EVERY: Duration = Duration::from_secs(60);
/// A connection that lived this long was a good one: the next failure starts with the shortest pause again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// How much of a line that cannot be read is logged; the dead-letter place has all of it.
const SHOWN: usize = 64 << 10;
/// How many lines are delivered between two pages of a list.
const LINES_PER_PAGE: usize = 256;

/// A stream of one namespace, or of all, and what it needs to go on.
#[derive(Debug)]
pub(super) struct Lane {
    /// `*`, or the name of a namespace.
    namespace: Arc<str>,
    /// Events without a namespace belong to the first lane alone.
    first: bool,
    members: Vec<Member>,
    ctx: Context,
    history: History,
    catch_up: Option<CatchUp>,
    /// Namespaces up to this index are in the subscription.
    covered: RaftIndex,
    /// The last line that could not be read.
    garbage: Garbage,
    /// The address that streams.
    server: String,
    /// How often the anchor's table was seen below the anchor.
    strikes: u32,
}

/// Why a connection was given up.
enum End {
    /// It ended or failed.
    Lost,
    /// A new subscription is needed at once.
    Resubscribe,
}

impl Lane {
    pub(super) fn new(namespace: Arc<str>, first: bool, members: Vec<Member>, ctx: Context) -> Self {
        let covered = members.iter().filter_map(|member| member.ledger().lane(&namespace)).map(|lane| lane.namespaces);
        let covered = RaftIndex(covered.min().unwrap_or(0));
        Lane {
            namespace,
            first,
            members,
            ctx,
            history: History::default(),
            catch_up: None,
            covered,
            garbage: Garbage::default(),
            server: String::new(),
            strikes: 0,
        }
    }

    /// Reads the lane until it is stopped.
    pub(super) async fn run(mut self) {
        let stop = self.ctx.stop.clone();
        // What was begun is finished: a stop between two records of one page would repeat the page at the next start.
        if self.run_until_stopped().await.is_err() {
            debug!(namespace = &*self.namespace, stopping = stop.is_cancelled(), "lane ended");
        }
    }

    async fn run_until_stopped(&mut self) -> Result<(), Stopped> {
        let mut backoff = Backoff::default();
        let mut outage = Outage::new("reading the event stream");
        self.resolve_start(&mut backoff, &mut outage).await?;
        loop {
            match self.connect().await {
                Ok((reader, found)) => {
                    outage.over();
                    let connected = Instant::now();
                    let end = self.session(reader, found).await?;
                    if connected.elapsed() >= HEALTHY_AFTER {
                        backoff.reset();
                    }
                    self.ctx.metrics.reconnect();
                    if matches!(end, End::Resubscribe) {
                        continue;
                    }
                }
                Err(error) => {
                    outage.log(&error);
                    self.phase(&Phase::Blocked { reason: error.to_string() });
                }
            }
            self.ctx.pause(backoff.next()).await?;
        }
    }

    /// The first start's position, where it has to be asked for: after everything that is there now.
    async fn resolve_start(&mut self, backoff: &mut Backoff, outage: &mut Outage) -> Result<(), Stopped> {
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
                    self.ctx.pause(backoff.next()).await?;
                },
            };
            member.start_after(&self.ctx, start, self.ctx.start == Start::Now).await?;
        }
        Ok(())
    }

    /// Subscribes, and says which namespaces the subscription has that were not covered before.
    async fn connect(&mut self) -> Result<(Reader, Option<Vec<Namespace>>), nomad::Error> {
        let found = match &*self.namespace {
            "*" => namespaces::list(&self.ctx.client).await?,
            name => {
                namespaces::check(&self.ctx.client, name).await?;
                None
            }
        };
        let position = self.members.iter().map(|member| member.cursor.position().index).min().unwrap_or_default();
        self.find_uncovered(found.as_deref().unwrap_or_default(), position);
        let index = self.catch_up.as_ref().map_or(position, |catch_up| catch_up.ask().min(position));
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.reconnected();
        }
        for member in &mut self.members {
            member.cursor.reconnected();
        }
        let query = StreamQuery { namespace: self.namespace.to_string(), topics: self.topics(), index };
        let stream = self.ctx.client.stream(&query).await?;
        info!(namespace = &*self.namespace, %index, server = stream.server(), "subscribed to the event stream");
        self.phase(&Phase::Leading);
        self.server = stream.server().to_owned();
        Ok((Reader::new(stream, self.ctx.window.clone()), found))
    }

    fn phase(&self, phase: &Phase) {
        self.members.iter().for_each(|member| self.ctx.status.set(member.kind, phase.clone()));
    }

    fn topics(&self) -> Vec<Topic> {
        let mut topics: Vec<Topic> = Vec::new();
        for topic in self.members.iter().flat_map(Member::topics) {
            if topic.name == "*" && topic.key.is_none() {
                return vec![topic.clone()];
            }
            if !topics.contains(topic) {
                topics.push(topic.clone());
            }
        }
        topics
    }

    /// Delivers what one connection brings.
    async fn session(&mut self, mut reader: Reader, found: Option<Vec<Namespace>>) -> Result<End, Stopped> {
        let mut occurrences = Occurrences::default();
        let mut proof_timer = every(PROOF_WAIT);
        let mut watch_timer = every(WATCH_EVERY);
        let mut lines = 0;
        let all = found.is_some();
        let (mut new_namespaces, _watch) = match &found {
            Some(found) => namespaces::watch(self.ctx.client.clone(), newest(found)),
            None => (mpsc::channel(1).1, None),
        };
        if let Some(found) = found {
            self.cover(found).await?;
        }
        loop {
            let page = self.next_page();
            let page_is_due = page.is_some_and(|(_, after)| after.is_none_or(|after| after <= Instant::now()));
            if let (true, Some((member, _))) = (page_is_due && (reader.is_empty() || lines >= LINES_PER_PAGE), page) {
                reconcile::page(&self.ctx, &self.namespace, &mut self.members[member]).await?;
                lines = 0;
                continue;
            }
            let page_after = page.and_then(|(_, after)| after).unwrap_or_else(|| Instant::now() + WATCH_EVERY);
            tokio::select! {
                biased;
                () = self.ctx.stop.cancelled() => return Err(Stopped),
                Some(found) = new_namespaces.recv(), if all => {
                    self.begin_catch_up(found);
                    return Ok(End::Resubscribe);
                }
                _ = proof_timer.tick(), if self.members.iter().any(|member| !member.cursor.is_proven()) => {
                    if self.check_tables(reader.is_quiet()).await? {
                        return Ok(End::Resubscribe);
                    }
                }
                _ = watch_timer.tick() => {
                    if self.stream_is_behind().await? {
                        return Ok(End::Lost);
                    }
                }
                line = reader.next() => match line {
                    Ok(Some((line, share))) => {
                        lines += 1;
                        if !self.take(line, share, &mut occurrences).await? {
                            return Ok(End::Lost);
                        }
                    }
                    Ok(None) => {
                        info!(namespace = &*self.namespace, "the server ended the event stream; subscribing again");
                        return Ok(End::Lost);
                    }
                    Err(error) => {
                        warn!(namespace = &*self.namespace, %error, "the event stream broke; subscribing again");
                        return Ok(End::Lost);
                    }
                },
                () = sleep_until(page_after), if page.is_some() => {}
            }
        }
    }

    /// Delivers one line. `false` when it cannot be read, so that the connection is not to be trusted further.
    async fn take(
        &mut self,
        text: Bytes,
        share: Option<Share>,
        occurrences: &mut Occurrences,
    ) -> Result<bool, Stopped> {
        let mut line = match Line::parse(&text, occurrences) {
            Ok(line) => line,
            Err(error) => return self.garbage(&text, &error.to_string()).await,
        };
        let identities = line.identities();
        if !self.first {
            line.events.retain(|event| !event.namespace.is_empty());
        }
        for (raw, reason) in &line.unusable {
            self.ctx.dead_letter(Kind::Events, raw, reason).await?;
        }
        // A line of nothing has no place that could be known again.
        if identities.is_empty() {
            return Ok(true);
        }
        if let Some(catch_up) = &mut self.catch_up {
            let owed = catch_up.observe(&line, &identities);
            self.owe_namespaces(owed).await?;
        }
        for member in &mut self.members {
            member.take_line(&self.ctx, &line, &identities, &share, self.catch_up.as_ref()).await?;
        }
        // One proof serves all: what is complete from an earlier position is complete from a later one.
        if let Some(from) = self.members.iter().filter_map(|member| member.cursor.complete_from()).min() {
            self.members.iter_mut().for_each(|member| member.cursor.proven_from(from));
        }
        if self.members.iter().all(|member| member.cursor.is_proven()) {
            self.history.push(line.index);
        }
        if let Some(catch_up) = &mut self.catch_up {
            catch_up.advance(line.index, &identities);
        }
        if self.catch_up.as_ref().is_some_and(|catch_up| catch_up.is_done_at(line.index))
            && let Some(done) = self.catch_up.take()
        {
            self.covered = self.covered.max(done.newest);
            self.mark_covered().await?;
        }
        Ok(true)
    }

    /// A line that is no JSON is an error message of the server or damage on the wire: it is logged whole, and the
    /// connection is given up. Where it comes again at the same place, it is the server's own, and it is passed over.
    async fn garbage(&mut self, text: &Bytes, reason: &str) -> Result<bool, Stopped> {
        self.ctx.metrics.garbage_line();
        let place = self.members.iter().map(|member| member.cursor.position().index).max().unwrap_or_default();
        let times = self.garbage.seen(xxh3_64(text), place);
        error!(
            namespace = &*self.namespace,
            reason,
            times,
            bytes = text.len(),
            line = %String::from_utf8_lossy(&text[..text.len().min(SHOWN)]),
            "a line of the event stream cannot be read"
        );
        if times < Garbage::PASSED_OVER {
            return Ok(false);
        }
        self.ctx.dead_letter(Kind::Events, text, reason).await?;
        Ok(true)
    }

    /// Nothing has proven the connection for a while: ask the tables, and whether this is still the same cluster.
    /// `true` when it is another one, and everything starts over.
    async fn check_tables(&mut self, quiet: bool) -> Result<bool, Stopped> {
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
        // A table that is suspected to be another cluster's proves nothing, and one that moved means nothing as long as
        // lines are still on their way.
        if self.strikes > 0 || !quiet {
            return Ok(false);
        }
        let mut indexes = Vec::new();
        for member in self.members.iter_mut().filter(|member| !member.cursor.is_proven()) {
            let Some(tables) = member.tables() else { continue };
            let Some(index) = greatest_index(&self.ctx, &self.namespace, &tables, &mut indexes).await else { continue };
            match member.take_table_index(&self.ctx, index).await? {
                TableVerdict::Proven => debug!(kind = %member.kind, %index, "nothing is missing: the table stands"),
                TableVerdict::Gap(owed) => {
                    info!(kind = %member.kind, from = %owed.from, until = %owed.until, "reading what was missed");
                }
                TableVerdict::Wait => debug!(kind = %member.kind, %index, "waiting for what the server streams"),
            }
        }
        Ok(false)
    }

    /// Whether the table that surely moved at the anchor's index is below it, twice in a row, read consistently.
    async fn cluster_is_another(&mut self) -> bool {
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
    async fn stream_is_behind(&mut self) -> Result<bool, Stopped> {
        let mut indexes = Vec::new();
        let mut behind = false;
        for member in &mut self.members {
            let Some(tables) = member.tables() else { continue };
            let Some(index) = greatest_index(&self.ctx, &self.namespace, &tables, &mut indexes).await else { continue };
            let before = std::mem::replace(&mut member.table_before, index);
            let read = member.cursor.position().index.max(member.excused);
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

    /// The member whose page is next, and when it may be asked for.
    fn next_page(&self) -> Option<(usize, Option<Instant>)> {
        let due = self.members.iter().enumerate().filter(|(_, member)| !member.passes.is_empty());
        due.map(|(n, member)| (n, member.page_after)).min_by_key(|(_, after)| *after)
    }

    /// Takes in the namespaces that the subscription has.
    async fn cover(&mut self, found: Vec<Namespace>) -> Result<(), Stopped> {
        if let Some(catch_up) = &mut self.catch_up {
            // The others were created behind the position: the stream has them whole.
            catch_up.newest = catch_up.newest.max(newest(&found));
            return Ok(());
        }
        self.covered = self.covered.max(newest(&found));
        self.mark_covered().await
    }

    /// What was created at or below the position, but never covered, is caught up with: it came while the program was
    /// stopped, or between two looks.
    fn find_uncovered(&mut self, found: &[Namespace], position: RaftIndex) {
        let is_known = |name: &str| self.catch_up.as_ref().is_some_and(|catch_up| catch_up.has(name));
        let uncovered = found.iter().filter(|namespace| {
            namespace.create_index > self.covered && namespace.create_index <= position && !is_known(&namespace.name)
        });
        let uncovered: Vec<Namespace> = uncovered.cloned().collect();
        if !uncovered.is_empty() {
            self.begin_catch_up(uncovered);
        }
    }

    fn begin_catch_up(&mut self, found: Vec<Namespace>) {
        let names: Vec<&str> = found.iter().map(|namespace| namespace.name.as_str()).collect();
        info!(namespaces = ?names, "new namespaces; subscribing again");
        let furthest = self.members.iter().map(|member| member.cursor.position()).max_by_key(|position| position.index);
        let until = furthest.cloned().unwrap_or_default();
        let earlier = self.catch_up.take();
        self.catch_up = Some(CatchUp::new(&found, until, &self.history, earlier));
    }

    /// Books what namespaces could have had, where their events can't be seen any more.
    async fn owe_namespaces(&mut self, owed: Vec<(String, Owed)>) -> Result<(), Stopped> {
        for member in self.members.iter_mut().filter(|member| !member.first_start && member.kind != Kind::Nodes) {
            let mut batch = Batch::default();
            for (name, owed) in &owed {
                report_gap(&self.ctx, member.kind, name, owed);
                if member.kind == Kind::Events {
                    batch.drafts.push(crate::resource::gap(name, owed));
                } else {
                    let ranges = vec![owed.clone()];
                    member.add_pass(Pass { ranges, namespace: Some(name.clone()), ..Pass::default() });
                    batch.effect.backfill = Some(member.passes.iter().cloned().collect());
                }
            }
            member.submit(&self.ctx, batch, None).await?;
        }
        Ok(())
    }

    async fn mark_covered(&mut self) -> Result<(), Stopped> {
        for member in &self.members {
            let mut batch = Batch::default();
            batch.effect.namespaces = Some(self.covered);
            member.submit(&self.ctx, batch, None).await?;
        }
        Ok(())
    }
}

fn newest(namespaces: &[Namespace]) -> RaftIndex {
    namespaces.iter().map(|namespace| namespace.create_index).max().unwrap_or_default()
}

fn every(period: Duration) -> Interval {
    let mut timer = interval_at(Instant::now() + period, period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}
