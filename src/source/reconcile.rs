//! Delivers from paged lists what the stream could have missed.
//!
//! A list gives final versions only. It delivers the objects whose `ModifyIndex` lies in the ranges that are owed; what
//! changed later comes through the stream. A page is read by a task of its own, see [`super::page`], while the stream
//! flows. Everything that decides is here, on the lane's own task. A page is asked for at least as new as the newest event
//! that was delivered by then, and of what the stream delivers while it is under way nothing older is taken from it: so
//! no version is delivered after a newer one.

use std::{task::Poll, time::Duration};

use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::{
    Context, Stopped,
    fetch::Unread,
    newest::Newest,
    page::{Asked, Head, Piece, Read},
    progress::Totals,
    tokens::Endless,
    tracker::{Batch, Tracker, report_gap},
};
use crate::{
    checkpoint::{Gap, Pass},
    kind::Kind,
    nomad,
    position::{Identity, RaftIndex},
    resource::{self, Known, LegacyProgress, Listed, Unusable},
    telemetry::ListState,
    window::Share,
};

/// As long as no more than so many allocations of a page are owed, they are asked for one by one, and the list goes
/// without the states of all tasks.
const ONE_BY_ONE: usize = 50;
/// How often a page that is older than the stream is asked for again.
pub(super) const STALE_PAGES: u32 = 3;
/// The pause after a page that failed. It doubles with each further one, up to [`DOUBLED`] times.
const RETRY: Duration = Duration::from_secs(1);
const DOUBLED: u32 = 5;
/// A list that has failed for so long is shown.
const FAILING_AFTER: Duration = Duration::from_secs(60);
/// So is a page that takes longer than this.
const SLOW_AFTER: Duration = Duration::from_secs(10);
/// Where every object of a page fails alike, the fault is more likely the server's: so many times more tries are made.
const PATIENCE: u32 = 4;
/// Of the window for objects, the part that may be taken by what the stream has delivered while a page is under way.
const OF_WINDOW: usize = 4;

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
    #[error("the server at {server} heard of its leader {last_contact:?} ago, or knows none")]
    Stale { server: String, last_contact: Duration },
    #[error("{id} in namespace {namespace:?} is listed and cannot be read: {reason}")]
    Unread { id: String, namespace: String, reason: Box<Unread> },
    #[error(transparent)]
    Endless(#[from] Endless),
    #[error("the task that reads the list is gone")]
    Gone,
}

impl Failed {
    /// Whether nobody gives the list. The others are of a server that lags for a moment.
    fn is_outage(&self) -> bool {
        !matches!(self, Failed::Late { .. } | Failed::Older { .. } | Failed::Absent { .. } | Failed::Gone)
    }
}

/// Why a piece of a page is not taken.
#[derive(Debug)]
enum Interrupted {
    Stopped,
    Failed(Failed),
}

impl From<Stopped> for Interrupted {
    fn from(Stopped: Stopped) -> Self {
        Interrupted::Stopped
    }
}

impl From<Failed> for Interrupted {
    fn from(failed: Failed) -> Self {
        Interrupted::Failed(failed)
    }
}

/// A page under way.
#[derive(Debug)]
pub(super) struct Page {
    read: Read,
    begun: Instant,
    /// No older state is taken.
    asked: RaftIndex,
    /// It lists allocations without what makes their records.
    lean: bool,
    /// `None` until the answer has begun.
    head: Option<Head>,
    /// Listed and owed, and yet to be asked for one by one.
    wanted: Vec<Listed>,
    /// All of these are asked for.
    fetching: bool,
    /// It was said that it takes long.
    said_slow: bool,
    /// What was asked for and cannot be read.
    unread: Vec<(Listed, Unread)>,
    /// What was asked for one by one and given.
    read_objects: usize,
    /// Why the page is to be asked for again at its end.
    failed: Option<Failed>,
    /// What the stream has delivered since it was asked for.
    newest: Newest,
}

impl Page {
    /// What comes next of it.
    pub(super) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<Piece>> {
        self.read.poll(cx)
    }

    /// The stream has delivered this version of an object.
    pub(super) fn note(&mut self, object: Identity, version: RaftIndex) {
        self.newest.note(object, version);
    }

    /// When it is to be said that it takes long.
    pub(super) fn slow_at(&self) -> Option<Instant> {
        (!self.said_slow).then(|| self.begun + SLOW_AFTER)
    }

    /// Whether no more of the stream may be delivered before its end.
    pub(super) fn holds_stream(&self) -> bool {
        self.newest.is_full()
    }
}

/// What a piece of a page comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The page goes on.
    On,
    /// It is delivered, and there is a further one.
    Page,
    /// The list is delivered.
    List,
    /// The page is to be asked for again, after a pause.
    Failed,
}

/// Asks for the next page that the member owes.
pub(super) fn ask(ctx: &Context, tracker: &mut Tracker) {
    let (Some(pass), Some(table)) = (tracker.passes.front(), tracker.table()) else {
        tracker.passes.clear();
        return;
    };
    let lean = tracker.lists_lean(pass);
    match (&pass.page, &tracker.ahead) {
        (None, Some(_)) => ctx.metrics.poll(tracker.kind),
        (None, None) => ctx.metrics.reconcile(tracker.kind),
        (Some(_), _) => {}
    }
    if pass.page.is_none() {
        tracker.tokens.clear();
    }
    let asked = tracker.table_seen;
    let read = Read::page(
        ctx,
        Asked {
            kind: tracker.kind,
            table,
            namespace: pass.namespace.clone().unwrap_or_else(|| tracker.scope().to_owned()),
            next_token: pass.page.clone(),
            min_index: asked,
            task_states: !lean,
            stale: tracker.ahead.as_ref().and(ctx.polling.stale).is_some(),
        },
    );
    tracker.page = Some(Page {
        read,
        begun: Instant::now(),
        asked,
        lean,
        head: None,
        wanted: Vec::new(),
        fetching: false,
        said_slow: false,
        unread: Vec::new(),
        read_objects: 0,
        failed: None,
        newest: Newest::new(ctx.window.for_objects() / OF_WINDOW),
    });
}

/// Takes in what has come of the page under way. What a page that fails has delivered by then is not repeated.
pub(super) async fn take(ctx: &Context, tracker: &mut Tracker, piece: Option<Piece>) -> Result<Turn, Stopped> {
    match take_in(ctx, tracker, piece).await {
        Ok(turn) => Ok(turn),
        Err(Interrupted::Failed(failed)) => Ok(fail(ctx, tracker, &failed)),
        Err(Interrupted::Stopped) => Err(Stopped),
    }
}

async fn take_in(ctx: &Context, tracker: &mut Tracker, piece: Option<Piece>) -> Result<Turn, Interrupted> {
    match piece {
        Some(Piece::Head(head)) => begin(ctx, tracker, head)?,
        Some(Piece::Elements(elements, share)) => elements_come(ctx, tracker, elements, share).await?,
        Some(Piece::Object(wanted, answer, share)) => object_comes(ctx, tracker, wanted, answer, share).await?,
        Some(Piece::End) => return end(ctx, tracker).await,
        Some(Piece::Failed(error)) => return Err(Failed::from(error).into()),
        None => return Err(Failed::Gone.into()),
    }
    Ok(Turn::On)
}

/// Leaves the page under way, in the checkpoint too: what it has delivered is not owed any more.
pub(super) async fn leave(ctx: &Context, tracker: &mut Tracker) -> Result<(), Stopped> {
    tracker.page = None;
    let mut batch = Batch::default();
    tracker.book_ahead(ctx, RaftIndex(0), &mut batch);
    let done = std::mem::take(&mut tracker.page_done);
    if done.is_empty() && batch.effect.backfill.is_none() {
        return Ok(());
    }
    let ranges = tracker.passes.front_mut().map(|front| &mut front.ranges).into_iter().flatten();
    ranges.for_each(|gap| gap.known.extend(done.iter().copied()));
    batch.effect.backfill = Some(tracker.backfill());
    tracker.submit(ctx, batch, None).await
}

/// Shows that the page under way takes long.
pub(super) fn say_slow(ctx: &Context, tracker: &mut Tracker) {
    let text = format!("a page has been under way for more than {SLOW_AFTER:?}");
    if let Some(page) = &mut tracker.page {
        page.said_slow = true;
    }
    // Where it is shown that none can be read, that says more.
    if tracker.failing.is_none() {
        ctx.status.list(tracker.kind, tracker.lane(), ListState::Slow { text });
    }
}

fn fail(ctx: &Context, tracker: &mut Tracker, failed: &Failed) -> Turn {
    let now = Instant::now();
    let (times, since) = tracker.failing.unwrap_or((0, now));
    if failed.is_outage() {
        // Without a stream nothing comes but from lists.
        if now - since >= FAILING_AFTER || tracker.ahead.is_some() {
            ctx.status.list(tracker.kind, tracker.lane(), ListState::Failing { reason: failed.to_string() });
        }
        tracker.failing = Some((times + 1, since));
    }
    ctx.metrics.list_failed(tracker.kind);
    warn!(kind = %tracker.kind, namespace = tracker.scope(), error = %failed, "cannot read the list; trying again");
    if let Some(page) = tracker.page.take() {
        tracker.listing += page.begun.elapsed();
    }
    let pause = RETRY * 2_u32.pow(if failed.is_outage() { times.min(DOUBLED) } else { 0 });
    tracker.page_after = Some(now + pause.mul_f64(0.5 + fastrand::f64()));
    Turn::Failed
}

/// What could not be read is tried again with the page, or given up.
async fn try_again(ctx: &Context, tracker: &mut Tracker, page: &mut Page) -> Result<(), Stopped> {
    let all_fail = page.read_objects == 0 && page.unread.len() > 1;
    for (wanted, reason) in std::mem::take(&mut page.unread) {
        let identity = wanted.identity(tracker.kind.topic().unwrap_or_default());
        let tries = tracker.tries.entry(identity).or_default();
        *tries += 1;
        let patience = if all_fail && reason.can_be_of_all() { PATIENCE } else { 1 };
        if reason.tries().is_some_and(|most| *tries >= most * patience) {
            give_up(ctx, tracker, &wanted, &reason).await?;
        } else {
            let Listed { id, namespace, .. } = wanted;
            page.failed = Some(Failed::Unread { id, namespace, reason: Box::new(reason) });
        }
    }
    Ok(())
}

/// One object that cannot be read holds up no list: the dead letters name it.
async fn give_up(ctx: &Context, tracker: &mut Tracker, wanted: &Listed, reason: &Unread) -> Result<(), Stopped> {
    let Listed { id, namespace, modify_index: index, .. } = wanted;
    let kind = tracker.kind;
    error!(%kind, namespace, id, %index, %reason, "cannot read a listed object; it goes to the dead letters by name");
    let text = json!({"Kind": kind.name(), "Namespace": namespace, "ID": id, "ModifyIndex": index.0}).to_string();
    let reason = format!("{kind}: {id:?} in namespace {namespace:?} at index {index} cannot be read: {reason}");
    ctx.dead_letter(kind, text.as_bytes(), &reason).await?;
    let identity = wanted.identity(kind.topic().unwrap_or_default());
    if tracker.is_ahead(*index, identity) {
        tracker.note_ahead(ctx, *index, identity);
    }
    tracker.page_done.insert(identity);
    tracker.tries.remove(&identity);
    Ok(())
}

/// Whether the list goes on with this page. A server that names one again would be asked for ever.
fn go_on(tracker: &mut Tracker, next_page: Option<&str>) -> Result<(), Failed> {
    let Some(token) = next_page else { return Ok(()) };
    let asked = tracker.passes.front().and_then(|pass| pass.page.as_deref());
    Ok(tracker.tokens.go_on(asked, token)?)
}

/// The answer has begun: is it of a state that can be used?
fn begin(ctx: &Context, tracker: &mut Tracker, head: Head) -> Result<(), Failed> {
    let Some(page) = &mut tracker.page else { return Err(Failed::Gone) };
    let stale = tracker.ahead.as_ref().and(ctx.polling.stale);
    if stale.is_some_and(|bound| !head.known_leader || head.last_contact > bound) {
        ctx.client.fail_over(&head.server);
        return Err(Failed::Stale { server: head.server, last_contact: head.last_contact });
    }
    if head.index < page.asked {
        tracker.stale_pages += 1;
        // The table itself was seen there: it will come to it, unless the cluster is another one.
        if tracker.ahead.is_some() || tracker.stale_pages < STALE_PAGES {
            return Err(Failed::Late { page: head.index, seen: page.asked });
        }
        // It will never come to it: an event that did not move its table, after all.
        if tracker.table_seen == page.asked {
            tracker.table_seen = head.index;
        }
    }
    tracker.stale_pages = 0;
    tracker.walk.begin();
    page.head = Some(head);
    Ok(())
}

/// Delivers what is owed of these elements, or notes it to be asked for.
async fn elements_come(
    ctx: &Context,
    tracker: &mut Tracker,
    elements: Vec<Bytes>,
    share: Option<Share>,
) -> Result<(), Stopped> {
    let mut batch = Batch::default();
    for element in elements {
        let listed = match Listed::parse(&element) {
            Ok(listed) => listed.of(tracker.kind),
            Err(reason) => {
                tracker.refuse(ctx, &element, &reason).await?;
                continue;
            }
        };
        tracker.walk.walked();
        let made = match due(tracker, &listed) {
            Due::Nothing => Ok(()),
            Due::Overtaken => {
                report_unreported(ctx, tracker);
                Ok(())
            }
            Due::Baseline => baseline(tracker, &element, &mut batch),
            Due::Object if is_fetched(tracker) => {
                tracker.page.iter_mut().for_each(|page| page.wanted.push(listed.clone()));
                Ok(())
            }
            // Records that are the object itself wait for the sink, and must not keep the whole of what was read.
            Due::Object if tracker.kind != Kind::Allocations => {
                object(ctx, tracker, &Bytes::copy_from_slice(&element), &listed, &mut batch)
            }
            Due::Object => object(ctx, tracker, &element, &listed, &mut batch),
        };
        if let Err(reason) = made {
            tracker.refuse(ctx, &element, &reason).await?;
        }
    }
    tracker.submit(ctx, batch, share).await?;
    if tracker.page.as_ref().is_some_and(|page| page.lean && page.wanted.len() > ONE_BY_ONE) {
        // It is asked for anew, with all that it has.
        tracker.list_in_full(true);
        tracker.page = None;
    }
    Ok(())
}

/// Whether the list has only the heads of what makes the records.
fn is_fetched(tracker: &Tracker) -> bool {
    matches!(tracker.kind, Kind::Jobs | Kind::Nodes) || tracker.page.as_ref().is_some_and(|page| page.lean)
}

/// Delivers a single object that was listed, if it is still owed as it is by now.
async fn object_comes(
    ctx: &Context,
    tracker: &mut Tracker,
    wanted: Listed,
    answer: Result<Option<Bytes>, Unread>,
    share: Option<Share>,
) -> Result<(), Interrupted> {
    let answer = match (answer, &mut tracker.page) {
        (Ok(answer), Some(page)) => {
            page.read_objects += 1;
            answer
        }
        (Err(Unread::Nomad(error)), _) if Unread::is_of_all(&error) => return Err(Failed::from(error).into()),
        (Err(reason), Some(page)) => {
            page.unread.push((wanted, reason));
            return Ok(());
        }
        (_, None) => return Err(Failed::Gone.into()),
    };
    let Some(element) = answer else {
        // So would a leader say that has not applied all that the one before it had. If it is gone, the stream has its
        // purge, if there is one.
        if tracker.absent.insert(wanted.identity(tracker.kind.topic().unwrap_or_default())) {
            tracker.page.iter_mut().for_each(|page| page.failed = Some(Failed::Absent { id: wanted.id.clone() }));
        } else {
            report_unreported(ctx, tracker);
        }
        return Ok(());
    };
    let mut batch = Batch::default();
    let made = match Listed::parse(&element).map(|listed| listed.of(tracker.kind)) {
        // The same leader would give this.
        Ok(Listed { modify_index: given, .. }) if given < wanted.modify_index => {
            let Listed { id, modify_index: listed, .. } = wanted;
            tracker
                .page
                .iter_mut()
                .for_each(|page| page.failed = Some(Failed::Older { id: id.clone(), listed, given }));
            return Ok(());
        }
        // What it has become by now can be for the stream to give. What it was then does not come.
        Ok(listed) if due(tracker, &listed) != Due::Object => {
            report_unreported(ctx, tracker);
            return Ok(());
        }
        Ok(listed) => object(ctx, tracker, &element, &listed, &mut batch),
        Err(reason) => Err(reason),
    };
    if let Err(reason) = made {
        tracker.refuse(ctx, &element, &reason).await?;
    }
    Ok(tracker.submit(ctx, batch, share).await?)
}

/// Everything has come that was asked for.
async fn end(ctx: &Context, tracker: &mut Tracker) -> Result<Turn, Interrupted> {
    let Some(mut page) = tracker.page.take() else { return Err(Failed::Gone.into()) };
    if !page.fetching && !page.wanted.is_empty() {
        page.fetching = true;
        page.read = Read::objects(ctx, tracker.kind, std::mem::take(&mut page.wanted));
        tracker.page = Some(page);
        return Ok(Turn::On);
    }
    try_again(ctx, tracker, &mut page).await?;
    let (index, next_page) = page.head.take().map(|head| (head.index, head.next_page)).unwrap_or_default();
    if let Some(failed) = page.failed.take() {
        // The same page, or a newer one.
        tracker.table_seen = tracker.table_seen.max(index);
        tracker.page = Some(page);
        return Err(failed.into());
    }
    if let Err(failed) = go_on(tracker, next_page.as_deref()) {
        tracker.page = Some(page);
        return Err(failed.into());
    }
    ctx.status.list(tracker.kind, tracker.lane(), ListState::Fine);
    tracker.listing += page.begun.elapsed();
    tracker.page_after = None;
    tracker.page_done.clear();
    tracker.absent.clear();
    tracker.tries.clear();
    tracker.failing = None;
    let ended = next_page.is_none();
    ctx.metrics.listed(tracker.kind, tracker.walk.page(next_page.as_deref(), index));
    if ended {
        list_ends(tracker);
    } else if let Some(front) = tracker.passes.front_mut() {
        front.page = next_page;
    }
    let mut batch = Batch::default();
    tracker.book_ahead(ctx, index, &mut batch);
    batch.effect.backfill = Some(tracker.backfill());
    tracker.submit(ctx, batch, None).await?;
    Ok(if ended { Turn::List } else { Turn::Page })
}

fn list_ends(tracker: &mut Tracker) {
    tracker.tokens.clear();
    tracker.list_in_full(false);
    let kind = tracker.kind;
    let pass = tracker.passes.pop_front().unwrap_or_default();
    let Totals { delivered: objects, walked, pages, elapsed } = tracker.walk.end();
    let namespace = tracker.scope();
    // More digits than anybody reads.
    let elapsed = if elapsed.is_zero() { "<1ms".to_owned() } else { format!("{elapsed:?}") };
    match tracker.ahead {
        None if objects == 0 => debug!(%kind, namespace, objects, walked, pages, elapsed, "the list is read"),
        Some(_) => debug!(%kind, namespace, objects, walked, pages, elapsed, "list polled"),
        None => {
            info!(%kind, namespace, objects, walked, pages, elapsed, "the list is read: backfill finished")
        }
    }
    for gap in pass.ranges.iter().filter(|_| pass.unreported) {
        let (from, until) = (gap.from, gap.until);
        info!(%kind, namespace, %from, %until, "nothing new in the list; a deletion could not be seen");
    }
}

/// What an object of the page is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Nothing: it is not owed, or was delivered.
    Nothing,
    /// Its task events are known from here on.
    Baseline,
    /// It can have had a version that is owed, and that does not come any more: a newer one is for the stream to give.
    Overtaken,
    /// It is owed.
    Object,
}

fn due(tracker: &Tracker, listed: &Listed) -> Due {
    let (Some(pass), Some(page)) = (tracker.passes.front(), &tracker.page) else { return Due::Nothing };
    let topic = tracker.kind.topic().unwrap_or_default();
    if !is_owed(tracker, pass, listed) {
        let before = pass.baseline && pass.ranges.iter().all(|gap| listed.modify_index < gap.from);
        return match before {
            true => Due::Baseline,
            false if is_overtaken(tracker.kind, pass, listed) => Due::Overtaken,
            false => Due::Nothing,
        };
    }
    if page.newest.has(object_of(topic, &listed.namespace, &listed.id), listed.modify_index) {
        return Due::Overtaken;
    }
    Due::Object
}

/// Whether the object was there before the ranges of the pass end, and has changed behind them. Of allocations it is the task
/// events that count, and the newest version has them all.
fn is_overtaken(kind: Kind, pass: &Pass, listed: &Listed) -> bool {
    let until = pass.ranges.iter().map(|gap| gap.until).max().unwrap_or_default();
    kind != Kind::Allocations && listed.create_index < until && until <= listed.modify_index
}

/// The pass has missed something for certain, or perhaps: from here on it counts as a gap.
fn report_unreported(ctx: &Context, tracker: &mut Tracker) {
    let Some(pass) = tracker.passes.front_mut() else { return };
    if std::mem::take(&mut pass.unreported) {
        let ranges = pass.ranges.clone();
        ranges.iter().for_each(|gap| report_gap(ctx, tracker.kind, tracker.scope(), gap));
    }
}

/// What the versions of one object have in common.
pub(super) fn object_of(topic: &str, namespace: &str, id: &str) -> Identity {
    Identity::new(topic, namespace, id, RaftIndex(0), 0)
}

fn is_owed(tracker: &Tracker, pass: &Pass, listed: &Listed) -> bool {
    let index = listed.modify_index;
    // Most objects of most lists are in no range, and an identity costs a hash.
    let in_range = |gap: &Gap| gap.from <= index && index < gap.until;
    if !pass.ranges.iter().any(in_range) && !tracker.may_be_ahead(index) {
        return false;
    }
    let identity = listed.identity(tracker.kind.topic().unwrap_or_default());
    let gap = pass.ranges.iter().any(|gap| gap.contains(index, identity));
    (gap || tracker.is_ahead(index, identity)) && !tracker.page_done.contains(&identity)
}

/// Adds what one object comes to that is owed.
fn object(
    ctx: &Context,
    tracker: &mut Tracker,
    element: &Bytes,
    listed: &Listed,
    batch: &mut Batch,
) -> Result<(), Unusable> {
    let mut made = {
        let task_cursor = |task| tracker.ledger().task_cursor(task);
        resource::from_object(tracker.kind, element, Known::task_cursors(&task_cursor).and(tracker.legacy))?
    };
    let newest = ctx.client.newest_index().max(tracker.cursor.position().index);
    if tracker.kind != Kind::Allocations {
        made.value = made.value.filter(|value| RaftIndex(*value).is_plausible_after(newest));
    } else if !listed.modify_index.is_plausible_after(newest) {
        tracker.distrust_index(&mut made.task_cursors);
    }
    let identity = listed.identity(tracker.kind.topic().unwrap_or_default());
    let is_ahead = tracker.is_ahead(listed.modify_index, identity);
    if !is_ahead {
        report_unreported(ctx, tracker);
    }
    let overruns = batch.add(made);
    tracker.report_overruns(ctx, overruns, &listed.id, listed.modify_index);
    tracker.walk.delivered();
    tracker.page_done.insert(identity);
    if is_ahead {
        tracker.note_ahead(ctx, listed.modify_index, identity);
    }
    Ok(())
}

fn baseline(tracker: &Tracker, element: &Bytes, batch: &mut Batch) -> Result<(), Unusable> {
    let task_cursor = |task| tracker.ledger().task_cursor(task);
    batch.add(resource::from_object(
        tracker.kind,
        element,
        Known::task_cursors(&task_cursor).and(LegacyProgress::All),
    )?);
    Ok(())
}

#[cfg(test)]
mod tests;
