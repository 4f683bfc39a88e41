//! How the lists of one resource are read: the page under way, and when the next one may be asked for.

use std::{
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    failure::Failed,
    fetch::Unread,
    newest::NewestVersions,
    page::{Asked, Head, Piece, Read},
    progress::Progress,
};
use crate::{
    kind::Kind,
    nomad::line::Event,
    position::{Identity, RaftIndex, Seen},
    resource::Listed,
    source::context::Context,
};

/// The pause after a page that failed. It doubles with each further one, up to [`DOUBLED`] times.
const RETRY: Duration = Duration::from_secs(1);
const DOUBLED: u32 = 5;
/// A page that takes longer than this is shown as slow.
pub(in crate::source) const SLOW_AFTER: Duration = Duration::from_secs(10);
/// Of the window for objects, the part that may be taken by what the stream has delivered while a page is under way.
const OF_WINDOW: usize = 4;
/// So many unusable objects are remembered.
const REFUSED: usize = 10_000;

/// The lists of one resource.
#[derive(Debug)]
pub(in crate::source) struct ListReader {
    /// The page under way.
    pub(in crate::source) page: Option<Page>,
    /// When the next page may be asked for, after one that failed.
    pub(in crate::source) not_before: Option<Instant>,
    /// How often in a row a page has failed, and since when.
    pub(in crate::source) failing: Option<(u32, Instant)>,
    /// How often in a row a page was older than the stream.
    pub(in crate::source) stale_pages: u32,
    /// A page must not be older: the newest event of the kind's table.
    pub(in crate::source) min_index: RaftIndex,
    pub(in crate::source) progress: Progress,
    /// How long the list under way has taken so far, where it is polled.
    pub(in crate::source) took: Duration,
    /// Hashes of unusable objects: they come again with each list.
    refused: Seen,
}

impl ListReader {
    pub(in crate::source) fn new(kind: Kind, namespace: Arc<str>) -> Self {
        ListReader {
            page: None,
            not_before: None,
            failing: None,
            stale_pages: 0,
            min_index: RaftIndex(0),
            progress: Progress::new(kind, namespace),
            took: Duration::ZERO,
            refused: Seen::default(),
        }
    }

    /// Forgets the list under way: the cluster is another one.
    pub(in crate::source) fn clear(&mut self) {
        self.page = None;
        self.failing = None;
        self.progress.end();
        self.min_index = RaftIndex(0);
    }

    /// The stream has delivered an event of the kind's table: no page may be older, and no older version is taken from
    /// the one under way.
    pub(in crate::source) fn delivered_by_stream(&mut self, event: &Event<'_>) {
        self.min_index = self.min_index.max(event.index);
        if let Some(page) = &mut self.page {
            page.newest.note(object_of(&event.topic, &event.namespace, &event.key), event.index);
        }
    }

    /// When the page under way counts as slow.
    pub(in crate::source) fn slow_at(&self) -> Option<Instant> {
        self.page.as_ref().filter(|page| !page.is_slow).map(|page| page.begun + SLOW_AFTER)
    }

    /// Whether no more of the stream may be delivered before the end of the page under way.
    pub(in crate::source) fn holds_stream(&self) -> bool {
        self.page.as_ref().is_some_and(|page| page.newest.is_full())
    }

    /// What comes next of the page under way: `None` inside where its task has ended early. Pending without a page.
    pub(in crate::source) fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Option<Piece>> {
        self.page.as_mut().map_or(Poll::Pending, |page| page.read.poll(cx))
    }

    /// The page under way is delivered.
    pub(in crate::source) fn page_delivered(&mut self, begun: Instant) {
        self.took += begun.elapsed();
        self.not_before = None;
        self.failing = None;
    }

    /// Drops the page under way, and waits before it is asked for again. Gives since when pages fail, where this one is
    /// an outage.
    pub(in crate::source) fn page_failed(&mut self, failed: &Failed) -> Option<Instant> {
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
    pub(in crate::source) fn refuses_first(&mut self, raw: &[u8]) -> bool {
        let hash = Identity(xxh3_64(raw));
        if self.refused.contains(&hash) {
            return false;
        }
        if self.refused.len() >= REFUSED {
            self.refused.clear();
        }
        self.refused.insert(hash)
    }
}

/// A page under way.
#[derive(Debug)]
pub(in crate::source) struct Page {
    pub(in crate::source) read: Read,
    pub(in crate::source) begun: Instant,
    /// No older state is taken.
    pub(in crate::source) min_index: RaftIndex,
    /// It lists allocations without what makes their records.
    pub(in crate::source) is_lean: bool,
    /// `None` until the answer has begun.
    pub(in crate::source) head: Option<Head>,
    /// Listed and missing, and yet to be asked for one by one.
    pub(in crate::source) wanted: Vec<Listed>,
    /// All of these are asked for.
    pub(in crate::source) is_fetching: bool,
    /// It is shown as slow.
    pub(in crate::source) is_slow: bool,
    /// What was asked for and cannot be read.
    pub(in crate::source) unread: Vec<(Listed, Unread)>,
    /// How many objects were asked for one by one and read.
    pub(in crate::source) read_objects: usize,
    /// Why the page is to be asked for again at its end.
    pub(in crate::source) failed: Option<Failed>,
    /// What the stream has delivered since it was asked for.
    pub(in crate::source) newest: NewestVersions,
}

impl Page {
    /// Asks for a page.
    pub(in crate::source) fn ask(ctx: &Context, asked: Asked) -> Self {
        let (min_index, is_lean) = (asked.min_index, !asked.task_states);
        Page {
            read: Read::page(ctx, asked),
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
            newest: NewestVersions::new(ctx.window.for_objects() / OF_WINDOW),
        }
    }
}

/// What the versions of one object have in common.
pub(in crate::source) fn object_of(topic: &str, namespace: &str, id: &str) -> Identity {
    Identity::new(topic, namespace, id, RaftIndex(0), 0)
}
