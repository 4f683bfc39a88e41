//! Reads from paged lists what the stream could have missed.
//!
//! A list gives final versions only. It delivers the objects whose `ModifyIndex` lies in the ranges that are owed; what
//! changed later comes through the stream. Between two pages the stream flows, so that it is never cut off for a long
//! list. A page is asked for at least as new as the newest event that was delivered, so that no version is delivered
//! after a newer one.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{
    Context, Stopped,
    member::{Batch, Member, report_gap},
    progress::Totals,
};
use crate::{
    checkpoint::{Owed, Pass},
    kind::Kind,
    nomad::{self, ListQuery, Page, Table},
    position::RaftIndex,
    resource::{self, Known, Listed, Made, Told},
    telemetry::ListState,
};

/// Objects a page: of allocations with ten task events each, about 3 MB.
const PER_PAGE: u32 = 500;
/// Full objects asked for at once.
const FETCHES: usize = 8;
/// As long as no more than so many allocations of a page are owed, they are asked for one by one, and the list goes
/// without the states of all tasks.
const ONE_BY_ONE: usize = 50;
/// How long the leader may take to commit what it has streamed already: events are published first.
const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// How often a page that is older than the stream is asked for again.
pub(super) const STALE_PAGES: u32 = 3;
/// The pause after a page that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Why a page has to be asked for again.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Nomad(#[from] nomad::Error),
    #[error("the list stands at index {page}, and the stream has come to {seen} already")]
    Late { page: RaftIndex, seen: RaftIndex },
    #[error("{id} is listed with index {listed}, and given with {given}: by a server that lags behind")]
    Older { id: String, listed: RaftIndex, given: RaftIndex },
    #[error("{id} is listed and not found; only when it is not found again it is gone")]
    Absent { id: String },
    #[error("the program is stopped in the midst of a list that does not page")]
    Stopped,
    #[error("the server at {server} heard of its leader {last_contact:?} ago, or knows none")]
    Stale { server: String, last_contact: Duration },
}

impl Failed {
    /// Whether nobody gives the list. The others are of a server that lags for a moment.
    fn is_outage(&self) -> bool {
        matches!(self, Failed::Nomad(_) | Failed::Stale { .. })
    }
}

/// Reads and delivers the next page that the member owes, and says whether it was the last of its list. A page that
/// fails is due again after a pause; what it has delivered by then is not repeated.
pub(super) async fn page(ctx: &Context, lane: &str, member: &mut Member) -> Result<bool, Stopped> {
    let (Some(mut pass), Some(table)) = (member.passes.front().cloned(), member.table()) else {
        member.passes.clear();
        return Ok(true);
    };
    match deliver(ctx, lane, member, &mut pass, table).await? {
        Ok(Read { next_page, index }) => {
            ctx.status.list(member.kind, member.lane(), ListState::Fine);
            member.page_after = None;
            member.page_done.clear();
            member.absent.clear();
            let ended = next_page.is_none();
            ctx.metrics.listed(member.kind, member.walk.page(next_page.as_deref(), index));
            if ended {
                member.list_in_full(false);
                let kind = member.kind;
                let Totals { delivered: objects, walked, pages, elapsed } = member.walk.end();
                match member.ahead {
                    Some(_) => debug!(%kind, namespace = lane, objects, walked, pages, ?elapsed, "the list is read"),
                    None => {
                        info!(%kind, namespace = lane, objects, walked, pages, ?elapsed, "the list is read: it gave what the stream could not")
                    }
                }
                for owed in pass.ranges.iter().filter(|_| pass.unreported) {
                    let (from, until) = (owed.from, owed.until);
                    info!(%kind, namespace = lane, %from, %until, "nothing new in the list; a deletion could not be seen");
                }
                member.passes.pop_front();
            } else if let Some(front) = member.passes.front_mut() {
                front.page = next_page;
                front.unreported = pass.unreported;
            }
            let mut batch = Batch::default();
            member.book_ahead(index, &mut batch);
            batch.effect.backfill = Some(member.backfill());
            member.submit(ctx, batch, None).await?;
            Ok(ended)
        }
        Err(Failed::Stopped) => {
            let mut batch = Batch::default();
            member.book_ahead(RaftIndex(0), &mut batch);
            let done = std::mem::take(&mut member.page_done);
            let ranges = member.passes.front_mut().map(|front| &mut front.ranges).into_iter().flatten();
            ranges.for_each(|owed| owed.known.extend(done.iter().copied()));
            batch.effect.backfill = Some(member.backfill());
            member.submit(ctx, batch, None).await?;
            Err(Stopped)
        }
        Err(error) => {
            if error.is_outage() {
                ctx.status.list(member.kind, member.lane(), ListState::Failing { reason: error.to_string() });
            }
            warn!(kind = %member.kind, namespace = lane, %error, "cannot read the list; trying again");
            member.page_after = Some(Instant::now() + RETRY.mul_f64(0.5 + fastrand::f64()));
            Ok(false)
        }
    }
}

/// A page that is delivered.
struct Read {
    /// The token of the next one.
    next_page: Option<String>,
    /// Where the table stood.
    index: RaftIndex,
}

/// Delivers one page.
async fn deliver(
    ctx: &Context,
    lane: &str,
    member: &mut Member,
    pass: &mut Pass,
    table: Table,
) -> Result<Result<Read, Failed>, Stopped> {
    let lean = member.lists_lean(pass);
    let stale = member.ahead.as_ref().and(ctx.polling.stale);
    match (&pass.page, &member.ahead) {
        (None, Some(_)) => ctx.metrics.poll(member.kind),
        (None, None) => ctx.metrics.reconcile(member.kind),
        (Some(_), _) => {}
    }
    let query = ListQuery {
        per_page: PER_PAGE,
        next_token: pass.page.as_deref(),
        min_index: Some(member.table_seen).filter(|index| index.0 > 0),
        wait: CATCH_UP_WAIT,
        task_states: !lean,
        stale: stale.is_some(),
        ..ListQuery::new(table, pass.namespace.as_deref().unwrap_or(lane))
    };
    let page = tokio::select! {
        biased;
        // A list that does not come must not take the time that a stop has.
        () = ctx.stop.cancelled() => return Err(Stopped),
        page = ctx.client.list(&query) => page,
    };
    let page = match page {
        Ok(page) => page,
        Err(error) => return Ok(Err(error.into())),
    };
    if stale.is_some_and(|bound| !page.known_leader || page.last_contact > bound) {
        ctx.client.fail_over(page.server());
        return Ok(Err(Failed::Stale { server: page.server().to_owned(), last_contact: page.last_contact }));
    }
    if page.index < member.table_seen {
        member.stale_pages += 1;
        // The table itself was seen there: it will come to it, unless the cluster is another one.
        if member.ahead.is_some() || member.stale_pages < STALE_PAGES {
            return Ok(Err(Failed::Late { page: page.index, seen: member.table_seen }));
        }
        // It will never come to it: an event that did not move its table, after all.
        member.table_seen = page.index;
    }
    member.stale_pages = 0;
    member.walk.begin();
    let mut gathered = Gathered::default();
    let read = walk(ctx, lane, member, pass, page, table, &mut gathered).await?;
    // Also where the rest of the page failed: what was made of it is not made again.
    gathered.submit(ctx, member).await?;
    Ok(read)
}

/// What several objects come to. They enter the ledger together: each entry costs a lock, a ticket, a share of the window
/// and most often a wake-up.
#[derive(Default)]
struct Gathered {
    batch: Batch,
    bytes: usize,
}

impl Gathered {
    /// Enough to make up for what an entry costs, and little enough for a processor's cache.
    const ENOUGH: usize = 128 << 10;
    /// And of the window no more than this part: what was handed over has to be delivered before a stop is through.
    const OF_WINDOW: usize = 4;

    async fn add(&mut self, ctx: &Context, member: &Member, made: Made) -> Result<u32, Stopped> {
        self.bytes += made.drafts.iter().map(|draft| draft.body.len()).sum::<usize>();
        let overruns = self.batch.add(made);
        if self.bytes >= Self::ENOUGH.min(ctx.window.for_objects() / Self::OF_WINDOW) {
            self.submit(ctx, member).await?;
        }
        Ok(overruns)
    }

    async fn submit(&mut self, ctx: &Context, member: &Member) -> Result<(), Stopped> {
        let Gathered { batch, bytes } = std::mem::take(self);
        if batch.drafts.is_empty() {
            return member.submit(ctx, batch, None).await;
        }
        let share = ctx.window.object(bytes).await;
        member.submit(ctx, batch, share).await
    }
}

/// Reads the page to its end.
async fn walk(
    ctx: &Context,
    lane: &str,
    member: &mut Member,
    pass: &mut Pass,
    mut page: Page,
    table: Table,
    gathered: &mut Gathered,
) -> Result<Result<Read, Failed>, Stopped> {
    let lean = member.lists_lean(pass);
    let mut to_fetch = VecDeque::new();
    let mut elements = 0;
    loop {
        // A page that was begun is finished; but a Nomad that does not page has only one.
        if elements > PER_PAGE && ctx.stop.is_cancelled() {
            return Ok(Err(Failed::Stopped));
        }
        elements += 1;
        let element = match ctx.unless_stopped(page.next()).await? {
            Ok(Some(element)) => element,
            Ok(None) => break,
            Err(error) => return Ok(Err(error.into())),
        };
        let listed = match Listed::parse(&element) {
            Ok(listed) => listed.of(member.kind),
            Err(reason) => {
                member.refuse(ctx, &element, &reason).await?;
                continue;
            }
        };
        member.walk.walked();
        if !is_owed(member, pass, &listed) {
            if pass.baseline && pass.ranges.iter().all(|owed| listed.modify_index < owed.from) {
                baseline(ctx, member, &element, gathered).await?;
            }
        } else if lean || matches!(member.kind, Kind::Jobs | Kind::Nodes) {
            to_fetch.push_back(listed);
        } else {
            // Records that are the object itself wait for the sink, and must not keep the whole of what was read.
            let keeps = member.kind != Kind::Allocations;
            let element = if keeps { Bytes::copy_from_slice(&element) } else { element };
            object(ctx, lane, member, pass, &element, listed, gathered).await?;
        }
    }
    if lean && to_fetch.len() > ONE_BY_ONE {
        member.list_in_full(true);
        return Box::pin(deliver(ctx, lane, member, pass, table)).await;
    }
    let kind = member.kind;
    let fetches = to_fetch.into_iter().map(|listed| async move {
        let answer = fetch(ctx, kind, &listed).await;
        (listed, answer)
    });
    // Pinned on the heap: the stream of futures is not movable once polled.
    let mut fetched = Box::pin(stream::iter(fetches).buffered(FETCHES));
    let mut failed = None;
    while let Some((wanted, answer)) = ctx.unless_stopped(fetched.next()).await? {
        if elements > PER_PAGE && ctx.stop.is_cancelled() {
            return Ok(Err(Failed::Stopped));
        }
        match answer {
            Ok(Some(element)) => match Listed::parse(&element).map(|listed| listed.of(kind)) {
                // A new leader that has not applied all that the old one listed.
                Ok(listed) if listed.modify_index < wanted.modify_index => {
                    let (id, listed, given) = (wanted.id, wanted.modify_index, listed.modify_index);
                    failed = Some(Failed::Older { id, listed, given });
                }
                // What it has become by now can be for the stream to give.
                Ok(listed) if !is_owed(member, pass, &listed) => {}
                Ok(listed) => object(ctx, lane, member, pass, &element, listed, gathered).await?,
                Err(reason) => member.refuse(ctx, &element, &reason).await?,
            },
            // So would such a leader say. If it is gone, the stream has its purge, if there is one.
            Ok(None) => {
                if member.absent.insert(wanted.identity(kind.topic().unwrap_or_default())) {
                    failed = Some(Failed::Absent { id: wanted.id });
                }
            }
            Err(error) => return Ok(Err(error.into())),
        }
    }
    if let Some(failed) = failed {
        // The same page, or a newer one.
        member.table_seen = member.table_seen.max(page.index);
        return Ok(Err(failed));
    }
    Ok(Ok(Read { next_page: page.next_token.take(), index: page.index }))
}

async fn fetch(ctx: &Context, kind: Kind, listed: &Listed) -> Result<Option<Bytes>, nomad::Error> {
    match kind {
        Kind::Jobs => ctx.client.job(&listed.namespace, &listed.id).await,
        Kind::Allocations => ctx.client.allocation(&listed.namespace, &listed.id).await,
        _ => ctx.client.node(&listed.id).await,
    }
}

fn is_owed(member: &Member, pass: &Pass, listed: &Listed) -> bool {
    let index = listed.modify_index;
    // Most objects of most lists are in no range, and an identity costs a hash.
    let in_range = |owed: &Owed| owed.from <= index && index < owed.until;
    if !pass.ranges.iter().any(in_range) && !member.may_be_ahead(index) {
        return false;
    }
    let identity = listed.identity(member.kind.topic().unwrap_or_default());
    let owed = pass.ranges.iter().any(|owed| owed.contains(index, identity));
    (owed || member.is_ahead(index, identity)) && !member.page_done.contains(&identity)
}

/// Delivers one object that is owed.
async fn object(
    ctx: &Context,
    lane: &str,
    member: &mut Member,
    pass: &mut Pass,
    element: &Bytes,
    listed: Listed,
    gathered: &mut Gathered,
) -> Result<(), Stopped> {
    let made = {
        let mark = |task| member.ledger().mark(task);
        resource::from_object(member.kind, element, Known::marks(&mark).and(member.told))
    };
    let made = match made {
        Ok(made) => made,
        Err(reason) => return member.refuse(ctx, element, &reason).await,
    };
    let identity = listed.identity(member.kind.topic().unwrap_or_default());
    let is_ahead = member.is_ahead(listed.modify_index, identity);
    if !is_ahead && std::mem::take(&mut pass.unreported) {
        pass.ranges.iter().for_each(|owed| report_gap(ctx, member.kind, lane, owed));
    }
    let overruns = gathered.add(ctx, member, made).await?;
    member.report_overruns(ctx, overruns, &listed.id, listed.modify_index);
    member.walk.delivered();
    member.page_done.insert(identity);
    if is_ahead {
        member.note_ahead(listed.modify_index, identity);
    }
    Ok(())
}

async fn baseline(ctx: &Context, member: &mut Member, element: &Bytes, gathered: &mut Gathered) -> Result<(), Stopped> {
    let made = {
        let mark = |task| member.ledger().mark(task);
        resource::from_object(member.kind, element, Known::marks(&mark).and(Told::All))
    };
    match made {
        Ok(made) => gathered.add(ctx, member, made).await.map(|_| ()),
        Err(reason) => member.refuse(ctx, element, &reason).await,
    }
}
