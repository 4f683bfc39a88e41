//! The task that reads one page of a list, so that the stream goes on meanwhile. It asks Nomad, and hands over what
//! arrives; the tracker decides what that means.

use std::{
    task::{Context as Poll_, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::fetch::{self, Unread};
use crate::{
    kind::Kind,
    nomad::{self, ListQuery, Page, Table},
    position::RaftIndex,
    resource::Listed,
    source::context::Context,
    window::Share,
};

/// Objects per page: for allocations with ten task events each, about 3 MB.
pub(crate) const PER_PAGE: u32 = 500;
/// Single objects asked for at once.
const FETCHES: usize = 8;
/// How long the leader may take to commit what it has streamed: events are published first.
const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// How long Nomad may take for [`PER_PAGE`] elements: a page that trickles would never end. Time in which the sink is
/// waited for does not count.
const DEADLINE: Duration = Duration::from_secs(60);
/// No page has more elements, not even from a Nomad that does not page.
const MAX_ELEMENTS: usize = 10_000_000;
/// Bytes per piece: enough to outweigh the cost of a ledger entry, and little enough for a processor cache.
const PIECE_BYTES: usize = 128 << 10;
/// But no more than this part of the window: what was handed over has to be delivered before a stop is done.
const WINDOW_DIVISOR: usize = 4;

/// Which page to read.
#[derive(Debug)]
pub(crate) struct PageRequest {
    pub(crate) kind: Kind,
    pub(crate) table: Table,
    pub(crate) namespace: String,
    pub(crate) next_token: Option<String>,
    /// The answer must not be older than this.
    pub(crate) min_index: RaftIndex,
    /// Whether allocations come with the states of their tasks.
    pub(crate) task_states: bool,
    pub(crate) stale: bool,
}

/// What the headers of an answer say.
#[derive(Debug)]
pub(crate) struct PageHead {
    /// The index of the table.
    pub(crate) index: RaftIndex,
    /// The token of the next page.
    pub(crate) next_page: Option<String>,
    pub(crate) known_leader: bool,
    pub(crate) last_contact: Duration,
    pub(crate) server: String,
}

/// What the task hands over.
#[derive(Debug)]
pub(crate) enum PagePiece {
    /// The answer has begun.
    Head(PageHead),
    /// Elements of the list, with their share of the window.
    Elements(Vec<Bytes>, Option<Share>),
    /// A single object; `None` if it does not exist.
    Object(Listed, Result<Option<Bytes>, Unread>, Option<Share>),
    /// Everything was handed over.
    End,
    /// The task failed.
    Failed(nomad::Error),
}

/// A task that reads a page or single objects. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ListTask {
    pieces: mpsc::Receiver<PagePiece>,
    _task: AbortOnDropHandle<()>,
}

impl ListTask {
    /// Reads a page.
    pub(crate) fn page(ctx: &Context, asked: PageRequest) -> Self {
        let ctx = ctx.clone();
        ListTask::spawn(|pieces| async move {
            let last = match list(&ctx, &asked, &pieces).await {
                Ok(()) => PagePiece::End,
                Err(EarlyEnd::Failed(error)) => PagePiece::Failed(error),
                Err(EarlyEnd::Dropped) => return,
            };
            hand_over(&pieces, last).await.unwrap_or_default();
        })
    }

    /// Reads single objects.
    pub(crate) fn objects(ctx: &Context, kind: Kind, wanted: Vec<Listed>) -> Self {
        let ctx = ctx.clone();
        ListTask::spawn(|pieces| async move {
            let (ctx, sender) = (&ctx, &pieces);
            let fetch_one = |wanted: Listed| async move {
                let answer = fetch::object(ctx, kind, &wanted).await;
                let bytes = answer.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len);
                let share = if bytes > 0 { ctx.window.object(bytes).await } else { None };
                hand_over(sender, PagePiece::Object(wanted, answer, share)).await.unwrap_or_default();
            };
            stream::iter(wanted).for_each_concurrent(FETCHES, fetch_one).await;
            hand_over(&pieces, PagePiece::End).await.unwrap_or_default();
        })
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(task: impl FnOnce(mpsc::Sender<PagePiece>) -> F) -> Self {
        // One piece waits while the next one is put together.
        let (sender, pieces) = mpsc::channel(1);
        ListTask { pieces, _task: AbortOnDropHandle::new(tokio::spawn(task(sender))) }
    }

    /// The next piece; `None` if the task is gone before its end.
    pub(crate) fn poll(&mut self, cx: &mut Poll_<'_>) -> Poll<Option<PagePiece>> {
        self.pieces.poll_recv(cx)
    }
}

/// Why a task ends early.
enum EarlyEnd {
    /// The tracker has dropped the task.
    Dropped,
    Failed(nomad::Error),
}

impl From<nomad::Error> for EarlyEnd {
    fn from(error: nomad::Error) -> Self {
        EarlyEnd::Failed(error)
    }
}

async fn hand_over(pieces: &mpsc::Sender<PagePiece>, piece: PagePiece) -> Result<(), EarlyEnd> {
    pieces.send(piece).await.map_err(|_| EarlyEnd::Dropped)
}

/// The time that Nomad has left.
struct TimeLeft {
    left: Duration,
}

impl TimeLeft {
    /// Waits for Nomad; `None` when its time is over.
    async fn wait<T>(&mut self, answer: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let answer = timeout(self.left, answer).await.ok();
        self.left = self.left.saturating_sub(begun.elapsed());
        answer
    }
}

async fn list(ctx: &Context, asked: &PageRequest, pieces: &mpsc::Sender<PagePiece>) -> Result<(), EarlyEnd> {
    let query = ListQuery {
        per_page: PER_PAGE,
        next_token: asked.next_token.as_deref(),
        min_index: Some(asked.min_index).filter(|index| index.0 > 0),
        wait: CATCH_UP_WAIT,
        task_states: asked.task_states,
        stale: asked.stale,
        ..ListQuery::new(asked.table, &asked.namespace)
    };
    // The client has deadlines of its own.
    let mut page = ctx.client.list(&query).await?;
    let server = page.server().to_owned();
    let head = PageHead {
        index: page.index,
        next_page: page.next_token.take(),
        known_leader: page.known_leader,
        last_contact: page.last_contact,
        server: server.clone(),
    };
    hand_over(pieces, PagePiece::Head(head)).await?;
    let enough = PIECE_BYTES.min(ctx.window.for_objects() / WINDOW_DIVISOR);
    let (mut time_left, mut read, mut all) = (TimeLeft { left: DEADLINE }, 0, 0);
    loop {
        let Some(Chunk { elements, bytes, end }) = gather(&mut page, &mut time_left, enough).await else {
            ctx.client.fail_over(&server);
            let what = format!("the whole page of the list of {}", asked.kind);
            return Err(nomad::Error::Timeout { address: server, what, after: DEADLINE }.into());
        };
        read += elements.len();
        all += elements.len();
        if all > MAX_ELEMENTS {
            let what = format!("the list of {}", asked.kind);
            let text = format!("a page of more than {MAX_ELEMENTS} elements");
            return Err(nomad::Error::Garbage { address: server, what, text }.into());
        }
        // A Nomad that does not page sends everything as one page.
        if read >= PER_PAGE as usize {
            (read, time_left.left) = (0, DEADLINE);
        }
        if !elements.is_empty() {
            let share = ctx.window.object(share_of(asked.kind, bytes)).await;
            hand_over(pieces, PagePiece::Elements(elements, share)).await?;
        }
        if let Some(end) = end {
            return end.map_err(EarlyEnd::from);
        }
    }
}

/// Elements that arrived together.
#[derive(Default)]
struct Chunk {
    elements: Vec<Bytes>,
    bytes: usize,
    /// The end of the page, or the failure after these elements.
    end: Option<Result<(), nomad::Error>>,
}

/// The next elements, of about so many bytes. What has arrived is handed over before more is waited for. `None` when
/// the time of Nomad is over.
async fn gather(page: &mut Page, time_left: &mut TimeLeft, enough: usize) -> Option<Chunk> {
    let mut chunk = Chunk::default();
    while chunk.bytes < enough {
        let next = match chunk.elements.is_empty() {
            true => time_left.wait(page.next()).await?,
            false => match page.next().now_or_never() {
                Some(next) => next,
                None => break,
            },
        };
        match next {
            Ok(Some(element)) => {
                chunk.bytes += element.len();
                chunk.elements.push(element);
            }
            Ok(None) => chunk.end = Some(Ok(())),
            Err(error) => chunk.end = Some(Err(error)),
        }
        if chunk.end.is_some() {
            break;
        }
    }
    Some(chunk)
}

/// About how many bytes the records of so many bytes of elements have: the record of each task event repeats its
/// allocation.
fn share_of(kind: Kind, bytes: usize) -> usize {
    if kind == Kind::Allocations { 2 * bytes } else { bytes }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_nomad_uses_up_its_time() {
        let mut time_left = TimeLeft { left: DEADLINE };
        assert!(time_left.wait(sleep(DEADLINE / 2)).await.is_some());
        // A slow sink.
        sleep(10 * DEADLINE).await;
        assert!(time_left.wait(sleep(DEADLINE / 3)).await.is_some());
        assert!(time_left.wait(sleep(DEADLINE / 3)).await.is_none(), "a page that trickles has an end");
    }
}
