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
use tracing::{info, warn};

use super::{
    Context, Stopped,
    member::{Batch, Member, report_gap},
};
use crate::{
    checkpoint::Pass,
    kind::Kind,
    nomad::{self, ListQuery, Table},
    position::RaftIndex,
    resource::{self, Known, Listed, Told},
};

/// Objects a page: of allocations with ten task events each, about 3 MB.
const PER_PAGE: u32 = 500;
/// Full objects asked for at once.
const FETCHES: usize = 8;
/// How long the leader may take to commit what it has streamed already: events are published first.
const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// How often a page that is older than the stream is asked for again.
const STALE_PAGES: u32 = 3;
/// The pause after a page that failed.
const RETRY: Duration = Duration::from_secs(1);

/// Why a page has to be asked for again.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Nomad(#[from] nomad::Error),
    #[error("the list stands at index {page}, and the stream has come to {seen} already")]
    Late { page: RaftIndex, seen: RaftIndex },
}

/// Reads and delivers the next page that the member owes. A page that fails is due again after a pause; what it has
/// delivered by then is not repeated.
pub(super) async fn page(ctx: &Context, lane: &str, member: &mut Member) -> Result<(), Stopped> {
    let (Some(mut pass), Some(table)) = (member.passes.front().cloned(), member.table()) else {
        member.passes.clear();
        return Ok(());
    };
    match deliver(ctx, lane, member, &mut pass, table).await? {
        Ok(next_page) => {
            member.page_after = None;
            member.page_done.clear();
            if next_page.is_none() {
                let (kind, objects) = (member.kind, std::mem::take(&mut member.listed));
                info!(%kind, namespace = lane, objects, "the list is read: it gave what the stream could not");
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
            batch.effect.backfill = Some(member.passes.iter().cloned().collect());
            member.submit(ctx, batch, None).await
        }
        Err(error) => {
            warn!(kind = %member.kind, namespace = lane, %error, "cannot read the list; trying again");
            member.page_after = Some(Instant::now() + RETRY.mul_f64(0.5 + fastrand::f64()));
            Ok(())
        }
    }
}

/// Delivers one page. Returns the token of the next one.
async fn deliver(
    ctx: &Context,
    lane: &str,
    member: &mut Member,
    pass: &mut Pass,
    table: Table,
) -> Result<Result<Option<String>, Failed>, Stopped> {
    if pass.page.is_none() {
        ctx.metrics.reconcile(member.kind);
    }
    let query = ListQuery {
        per_page: PER_PAGE,
        next_token: pass.page.as_deref(),
        min_index: Some(member.table_seen).filter(|index| index.0 > 0),
        wait: CATCH_UP_WAIT,
        ..ListQuery::new(table, pass.namespace.as_deref().unwrap_or(lane))
    };
    let page = tokio::select! {
        biased;
        // A list that does not come must not take the time that a stop has.
        () = ctx.stop.cancelled() => return Err(Stopped),
        page = ctx.client.list(&query) => page,
    };
    let mut page = match page {
        Ok(page) => page,
        Err(error) => return Ok(Err(error.into())),
    };
    if page.index < member.table_seen {
        member.stale_pages += 1;
        if member.stale_pages < STALE_PAGES {
            return Ok(Err(Failed::Late { page: page.index, seen: member.table_seen }));
        }
        // It will never come to it: an event that did not move its table, after all.
        member.table_seen = page.index;
    }
    member.stale_pages = 0;
    let mut to_fetch = VecDeque::new();
    loop {
        let element = match ctx.unless_stopped(page.next()).await? {
            Ok(Some(element)) => element,
            Ok(None) => break,
            Err(error) => return Ok(Err(error.into())),
        };
        let listed = match Listed::parse(&element) {
            Ok(listed) => listed,
            Err(reason) => {
                member.unusable(ctx, &element, &reason).await?;
                continue;
            }
        };
        if !is_owed(member, pass, &listed) {
            if pass.baseline && pass.ranges.iter().all(|owed| listed.modify_index < owed.from) {
                baseline(ctx, member, &element).await?;
            }
        } else if matches!(member.kind, Kind::Jobs | Kind::Nodes) {
            to_fetch.push_back(listed);
        } else {
            object(ctx, lane, member, pass, &element).await?;
        }
    }
    let kind = member.kind;
    let fetches = to_fetch.into_iter().map(|listed| fetch(ctx, kind, listed));
    // Pinned on the heap: the stream of futures is not movable once polled.
    let mut fetched = Box::pin(stream::iter(fetches).buffered(FETCHES));
    while let Some(answer) = ctx.unless_stopped(fetched.next()).await? {
        match answer {
            Ok(Some(element)) => object(ctx, lane, member, pass, &element).await?,
            // Gone meanwhile: the stream has its purge.
            Ok(None) => {}
            Err(error) => return Ok(Err(error.into())),
        }
    }
    Ok(Ok(page.next_token.take()))
}

async fn fetch(ctx: &Context, kind: Kind, listed: Listed) -> Result<Option<Bytes>, nomad::Error> {
    match kind {
        Kind::Jobs => ctx.client.job(&listed.namespace, &listed.id).await,
        _ => ctx.client.node(&listed.id).await,
    }
}

fn is_owed(member: &Member, pass: &Pass, listed: &Listed) -> bool {
    let topic = member.kind.topic().unwrap_or_default();
    let identity = listed.identity(topic);
    pass.ranges.iter().any(|owed| owed.contains(listed.modify_index, identity)) && !member.page_done.contains(&identity)
}

/// Delivers one object, if the version it has by now is still owed by the list and not by the stream.
async fn object(
    ctx: &Context,
    lane: &str,
    member: &mut Member,
    pass: &mut Pass,
    element: &Bytes,
) -> Result<(), Stopped> {
    let listed = match Listed::parse(element) {
        Ok(listed) if is_owed(member, pass, &listed) => listed,
        Ok(_) => return Ok(()),
        Err(reason) => return member.unusable(ctx, element, &reason).await,
    };
    let made = {
        let mark = |task| member.ledger().mark(task);
        resource::from_object(member.kind, element, Known::marks(&mark).and(member.told))
    };
    let made = match made {
        Ok(made) => made,
        Err(reason) => return member.unusable(ctx, element, &reason).await,
    };
    if std::mem::take(&mut pass.unreported) {
        pass.ranges.iter().for_each(|owed| report_gap(ctx, member.kind, lane, owed));
    }
    let mut batch = Batch::default();
    let overruns = batch.add(made);
    member.report_overruns(ctx, overruns, &listed.id, listed.modify_index);
    let bytes = batch.drafts.iter().map(|draft| draft.body.len()).sum();
    let share = ctx.window.object(bytes).await;
    member.submit(ctx, batch, share).await?;
    member.listed += 1;
    member.page_done.push(listed.identity(member.kind.topic().unwrap_or_default()));
    Ok(())
}

async fn baseline(ctx: &Context, member: &Member, element: &Bytes) -> Result<(), Stopped> {
    let made = {
        let mark = |task| member.ledger().mark(task);
        resource::from_object(member.kind, element, Known::marks(&mark).and(Told::All))
    };
    match made {
        Ok(made) => {
            let mut batch = Batch::default();
            batch.add(made);
            member.submit(ctx, batch, None).await
        }
        Err(reason) => member.unusable(ctx, element, &reason).await,
    }
}
