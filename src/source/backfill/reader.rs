//! How the lists of one kind are read: the page under way, and when the next one may be asked for.

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    fetch::Unread,
    newest::NewestVersions,
    page::{ListTask, PageHead, PagePiece, PageRequest},
    page_error::PageError,
    progress::WalkProgress,
};
use crate::{
    kind::Kind,
    nomad::line::Event,
    position::{Identity, RaftIndex, Seen},
    resource::Listed,
    source::context::Context,
};

/// The pause after a page that failed. It doubles with each further failure, up to [`DOUBLED`] times.
const RETRY: Duration = Duration::from_secs(1);
const DOUBLED: u32 = 5;
/// A page that takes longer than this is reported as slow.
pub(crate) const SLOW_AFTER: Duration = Duration::from_secs(10);
/// The part of the window for objects that the stream's newest versions may take while a page is under way.
const WINDOW_DIVISOR: usize = 4;
/// So many unusable objects are remembered.
const MAX_REFUSED: usize = 10_000;

/// The lists of one kind.
#[derive(Debug)]
pub(crate) struct ListReader {
    /// The page under way.
    pub(crate) page: Option<PendingPage>,
    /// When the next page may be asked for, after one that failed.
    pub(crate) not_before: Option<Instant>,
    /// How often in a row a page failed, and since when.
    pub(crate) failing: Option<(u32, Instant)>,
    /// How often in a row a page was older than the stream.
    pub(crate) stale_pages: u32,
    /// The newest event of the kind's table: a page must not be older.
    pub(crate) min_index: RaftIndex,
    pub(crate) progress: WalkProgress,
    /// How long the list under way has taken so far, if it is polled.
    pub(crate) took: Duration,
    /// Hashes of unusable objects: each list has them again.
    refused: Seen,
}

impl ListReader {
    pub(crate) fn new(kind: Kind, namespace: Arc<str>) -> Self {
        ListReader {
            page: None,
            not_before: None,
            failing: None,
            stale_pages: 0,
            min_index: RaftIndex(0),
            progress: WalkProgress::new(kind, namespace),
            took: Duration::ZERO,
            refused: Seen::default(),
        }
    }

    /// Drops the list under way: the cluster is another one.
    pub(crate) fn clear(&mut self) {
        self.page = None;
        self.failing = None;
        self.progress.end();
        self.min_index = RaftIndex(0);
    }

    /// The stream has delivered an event of the kind's table: no page may be older, and the page under way delivers no
    /// older version.
    pub(crate) fn delivered_by_stream(&mut self, event: &Event<'_>) {
        self.min_index = self.min_index.max(event.index);
        if let Some(page) = &mut self.page {
            page.newest.note(object_of(&event.topic, &event.namespace, &event.key), event.index);
        }
    }

    /// When the page under way counts as slow.
    pub(crate) fn slow_at(&self) -> Option<Instant> {
        self.page.as_ref().filter(|page| !page.is_slow).map(|page| page.begun + SLOW_AFTER)
    }

    /// Whether the stream has to wait for the end of the page under way.
    pub(crate) fn holds_stream(&self) -> bool {
        self.page.as_ref().is_some_and(|page| page.newest.is_full())
    }

    /// The next piece of the page under way; `None` inside if its task ended early. Pending without a page.
    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<PagePiece>> {
        self.page.as_mut().map_or(Poll::Pending, |page| page.read.poll(cx))
    }

    /// The page under way is delivered.
    pub(crate) fn page_delivered(&mut self, begun: Instant) {
        self.took += begun.elapsed();
        self.not_before = None;
        self.failing = None;
    }

    /// Drops the page under way, and waits before it is asked for again. Returns since when pages fail, if this is an
    /// outage.
    pub(crate) fn page_failed(&mut self, failed: &PageError) -> Option<Instant> {
        let now = Instant::now();
        let (times, since) = self.failing.unwrap_or((0, now));
        if let Some(page) = self.page.take() {
            self.took += page.begun.elapsed();
        }
        let doublings = if failed.is_outage() { times.min(DOUBLED) } else { 0 };
        self.not_before = Some(now + (RETRY * 2_u32.pow(doublings)).mul_f64(0.5 + fastrand::f64()));
        failed.is_outage().then(|| {
            self.failing = Some((times + 1, since));
            since
        })
    }

    /// Whether an unusable object is new. It is remembered, up to a bound.
    pub(crate) fn refuses_first(&mut self, raw: &[u8]) -> bool {
        let hash = Identity(xxh3_64(raw));
        if self.refused.contains(&hash) {
            return false;
        }
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(hash)
    }
}

/// A page under way.
#[derive(Debug)]
pub(crate) struct PendingPage {
    pub(crate) read: ListTask,
    pub(crate) begun: Instant,
    /// The answer must not be older than this.
    pub(crate) min_index: RaftIndex,
    /// It lists allocations without what their records need.
    pub(crate) is_lean: bool,
    /// `None` until the answer has begun.
    pub(crate) head: Option<PageHead>,
    /// Listed and missing objects that have yet to be read one by one.
    pub(crate) wanted: Vec<Listed>,
    /// They are being read.
    pub(crate) is_fetching: bool,
    /// It is reported as slow.
    pub(crate) is_slow: bool,
    /// Objects that were asked for and cannot be read.
    pub(crate) unread: Vec<(Listed, Unread)>,
    /// How many objects were read one by one.
    pub(crate) read_objects: usize,
    /// Why the page has to be asked for again at its end.
    pub(crate) failed: Option<PageError>,
    /// The versions that the stream has delivered since the page was asked for.
    pub(crate) newest: NewestVersions,
}

impl PendingPage {
    /// Asks for a page.
    pub(crate) fn ask(ctx: &Context, asked: PageRequest) -> Self {
        let (min_index, is_lean) = (asked.min_index, !asked.task_states);
        PendingPage {
            read: ListTask::page(ctx, asked),
            begun: Instant::now(),
            min_index,
            is_lean,
            head: None,
            wanted: Vec::new(),
            is_fetching: false,
            is_slow: false,
            unread: Vec::new(),
            read_objects: 0,
            failed: None,
            newest: NewestVersions::new(ctx.window.for_objects() / WINDOW_DIVISOR),
        }
    }
}

/// The identity that all versions of one object share.
pub(crate) fn object_of(topic: &str, namespace: &str, id: &str) -> Identity {
    Identity::new(topic, namespace, id, RaftIndex(0), 0)
}
