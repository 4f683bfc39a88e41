//! One page of a list, read by a task of its own, so that the stream goes on meanwhile.
//!
//! The task asks, and hands over what comes. What that means is decided by `tracker::lists`, on the driver's own task.

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

/// Objects a page: of allocations with ten task events each, about 3 MB.
pub(in crate::source) const PER_PAGE: u32 = 500;
/// Single objects asked for at once.
const FETCHES: usize = 8;
/// How long the leader may take to commit what it has streamed already: events are published first.
const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// How long Nomad may take for [`PER_PAGE`] elements. A page that trickles would have no end otherwise. The time in which
/// the sink is waited for does not count.
const DEADLINE: Duration = Duration::from_secs(60);
/// More elements than this no page has, not even of a Nomad that does not page.
const MOST: usize = 10_000_000;
/// Enough to make up for what an entry in the ledger costs, and little enough for a processor's cache.
const ENOUGH: usize = 128 << 10;
/// And of the window no more than this part: what was handed over has to be delivered before a stop is through.
const OF_WINDOW: usize = 4;

/// Which page is asked for.
#[derive(Debug)]
pub(in crate::source) struct Asked {
    pub(in crate::source) kind: Kind,
    pub(in crate::source) table: Table,
    pub(in crate::source) namespace: String,
    pub(in crate::source) next_token: Option<String>,
    /// No older state than this.
    pub(in crate::source) min_index: RaftIndex,
    /// Allocations come with the states of their tasks.
    pub(in crate::source) task_states: bool,
    pub(in crate::source) stale: bool,
}

/// What an answer says of itself.
#[derive(Debug)]
pub(in crate::source) struct Head {
    /// Where the table stood.
    pub(in crate::source) index: RaftIndex,
    /// The token of the next page.
    pub(in crate::source) next_page: Option<String>,
    pub(in crate::source) known_leader: bool,
    pub(in crate::source) last_contact: Duration,
    pub(in crate::source) server: String,
}

/// What a task hands over.
#[derive(Debug)]
pub(in crate::source) enum Piece {
    /// The answer has begun.
    Head(Head),
    /// Elements of the list, with their share of the window.
    Elements(Vec<Bytes>, Option<Share>),
    /// A single object; `None` if there is none.
    Object(Listed, Result<Option<Bytes>, Unread>, Option<Share>),
    /// Everything was handed over.
    End,
    /// There will be no more.
    Failed(nomad::Error),
}

/// A task that reads. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::source) struct Read {
    pieces: mpsc::Receiver<Piece>,
    _task: AbortOnDropHandle<()>,
}

impl Read {
    /// Asks for a page.
    pub(in crate::source) fn page(ctx: &Context, asked: Asked) -> Self {
        let ctx = ctx.clone();
        Read::spawn(|pieces| async move {
            let last = match list(&ctx, &asked, &pieces).await {
                Ok(()) => Piece::End,
                Err(Ended::Failed(error)) => Piece::Failed(error),
                Err(Ended::Dropped) => return,
            };
            hand_over(&pieces, last).await.unwrap_or_default();
        })
    }

    /// Asks for single objects.
    pub(in crate::source) fn objects(ctx: &Context, kind: Kind, wanted: Vec<Listed>) -> Self {
        let ctx = ctx.clone();
        Read::spawn(|pieces| async move {
            let (ctx, sender) = (&ctx, &pieces);
            let fetch_one = |wanted: Listed| async move {
                let answer = fetch::object(ctx, kind, &wanted).await;
                let bytes = answer.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len);
                let share = if bytes > 0 { ctx.window.object(bytes).await } else { None };
                hand_over(sender, Piece::Object(wanted, answer, share)).await.unwrap_or_default();
            };
            stream::iter(wanted).for_each_concurrent(FETCHES, fetch_one).await;
            hand_over(&pieces, Piece::End).await.unwrap_or_default();
        })
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(task: impl FnOnce(mpsc::Sender<Piece>) -> F) -> Self {
        // One piece waits while the next one is put together.
        let (sender, pieces) = mpsc::channel(1);
        Read { pieces, _task: AbortOnDropHandle::new(tokio::spawn(task(sender))) }
    }

    /// What is there next; `None` where the task is gone before its end.
    pub(in crate::source) fn poll(&mut self, cx: &mut Poll_<'_>) -> Poll<Option<Piece>> {
        self.pieces.poll_recv(cx)
    }
}

/// Why a task ends early.
enum Ended {
    /// Nobody takes what it reads.
    Dropped,
    Failed(nomad::Error),
}

impl From<nomad::Error> for Ended {
    fn from(error: nomad::Error) -> Self {
        Ended::Failed(error)
    }
}

async fn hand_over(pieces: &mpsc::Sender<Piece>, piece: Piece) -> Result<(), Ended> {
    pieces.send(piece).await.map_err(|_| Ended::Dropped)
}

/// The time that the far side has left.
struct Patience {
    left: Duration,
}

impl Patience {
    /// Waits for the far side; `None` when its time is over.
    async fn wait<T>(&mut self, answer: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let answer = timeout(self.left, answer).await.ok();
        self.left = self.left.saturating_sub(begun.elapsed());
        answer
    }
}

async fn list(ctx: &Context, asked: &Asked, pieces: &mpsc::Sender<Piece>) -> Result<(), Ended> {
    let query = ListQuery {
        per_page: PER_PAGE,
        next_token: asked.next_token.as_deref(),
        min_index: Some(asked.min_index).filter(|index| index.0 > 0),
        wait: CATCH_UP_WAIT,
        task_states: asked.task_states,
        stale: asked.stale,
        ..ListQuery::new(asked.table, &asked.namespace)
    };
    // It has deadlines of its own.
    let mut page = ctx.client.list(&query).await?;
    let server = page.server().to_owned();
    let head = Head {
        index: page.index,
        next_page: page.next_token.take(),
        known_leader: page.known_leader,
        last_contact: page.last_contact,
        server: server.clone(),
    };
    hand_over(pieces, Piece::Head(head)).await?;
    let enough = ENOUGH.min(ctx.window.for_objects() / OF_WINDOW);
    let (mut patience, mut read, mut all) = (Patience { left: DEADLINE }, 0, 0);
    loop {
        let Some(Chunk { elements, bytes, end }) = gather(&mut page, &mut patience, enough).await else {
            ctx.client.fail_over(&server);
            let what = format!("the whole page of the list of {}", asked.kind);
            return Err(nomad::Error::Timeout { address: server, what, after: DEADLINE }.into());
        };
        read += elements.len();
        all += elements.len();
        if all > MOST {
            let what = format!("the list of {}", asked.kind);
            let text = format!("a page of more than {MOST} elements");
            return Err(nomad::Error::Garbage { address: server, what, text }.into());
        }
        // A Nomad that does not page sends everything as one.
        if read >= PER_PAGE as usize {
            (read, patience.left) = (0, DEADLINE);
        }
        if !elements.is_empty() {
            let share = ctx.window.object(share_of(asked.kind, bytes)).await;
            hand_over(pieces, Piece::Elements(elements, share)).await?;
        }
        if let Some(end) = end {
            return end.map_err(Ended::from);
        }
    }
}

/// Elements that came together.
#[derive(Default)]
struct Chunk {
    elements: Vec<Bytes>,
    bytes: usize,
    /// The page is at its end, or failed behind them.
    end: Option<Result<(), nomad::Error>>,
}

/// The next elements, of about so many bytes; what has come is handed over before more is waited for. `None` when the far
/// side's time is over.
async fn gather(page: &mut Page, patience: &mut Patience, enough: usize) -> Option<Chunk> {
    let mut chunk = Chunk::default();
    while chunk.bytes < enough {
        let next = match chunk.elements.is_empty() {
            true => patience.wait(page.next()).await?,
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

/// What the records of so many bytes of elements come to, about: each task event's record repeats what its allocation is.
fn share_of(kind: Kind, bytes: usize) -> usize {
    if kind == Kind::Allocations { 2 * bytes } else { bytes }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_far_side_uses_up_its_time() {
        let mut patience = Patience { left: DEADLINE };
        assert!(patience.wait(sleep(DEADLINE / 2)).await.is_some());
        // A slow sink.
        sleep(10 * DEADLINE).await;
        assert!(patience.wait(sleep(DEADLINE / 3)).await.is_some());
        assert!(patience.wait(sleep(DEADLINE / 3)).await.is_none(), "a page that trickles has an end");
    }
}
