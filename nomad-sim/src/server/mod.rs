//! One server: its buffer, its state store, its lag behind the log, and its faults.

mod variables;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use crate::address::Address;
use crate::history::Entry;
use crate::line::{self, Line};
use crate::ring::Ring;
use crate::state::{Namespaces, State};
use crate::variables::Faults;

/// One server of the simulated cluster. Its methods inject faults into this server alone.
#[derive(Debug)]
pub struct Server {
    pub(crate) address: Address,
    pub(crate) ring: Mutex<Ring>,
    /// Counts publishes; streams wait on it.
    pub(crate) published: watch::Sender<u64>,
    pub(crate) state: RwLock<State>,
    /// Counts applied entries; blocking queries wait on it.
    pub(crate) applied: watch::Sender<u64>,
    queue: Mutex<Queue>,
    pub(crate) gate: watch::Sender<Gate>,
    pub(crate) inject: broadcast::Sender<Inject>,
    pub(crate) lists: Mutex<ListFaults>,
    pub(crate) variables: Mutex<Faults>,
    pub(crate) streams: AtomicUsize,
    connections: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    pending: VecDeque<Arc<Entry>>,
    lag: Lag,
}

/// How far a server is behind the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Lag {
    /// It is not.
    #[default]
    None,
    /// This many entries.
    By(usize),
    /// It applies nothing above this index.
    At(u64),
}

/// Which connections may live, speak, or be opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gate {
    /// Connections with a lower number are closed.
    pub(crate) closed_below: u64,
    /// They are closed with a reset.
    pub(crate) reset: bool,
    /// Streams on connections with a lower number say nothing.
    pub(crate) silent_below: u64,
    /// The server answers nothing.
    pub(crate) frozen: bool,
    /// The server refuses connections.
    pub(crate) refusing: bool,
}

/// Bytes or a cut for every stream of a server that is open now.
#[derive(Debug, Clone)]
pub(crate) enum Inject {
    /// These bytes, verbatim.
    Bytes(Bytes),
    /// The next line is cut at this byte, or in its middle, and the connection closed.
    Cut(Option<usize>),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct ListFaults {
    pub(crate) delay: Duration,
    /// How long the list of namespaces takes, and which namespaces it has.
    pub(crate) namespaces: Duration,
    /// How many list requests are still answered with 500.
    pub(crate) errors: u32,
    /// How many single objects are still answered from the cluster's last server.
    pub(crate) lagging: u32,
    /// The job whose summary is answered with 500.
    pub(crate) broken_summary: Option<&'static str>,
    /// The job whose versions are answered with 500.
    pub(crate) broken_versions: Option<&'static str>,
    /// How long ago the server heard from its leader, by its own stale answers; `None`: it knows no leader.
    pub(crate) contact: Option<Duration>,
    /// Requests that are never answered.
    pub(crate) hanging: Hanging,
    /// How many pages are still answered before they hang.
    pub(crate) until_pages_hang: Option<u32>,
    /// The pause before each element of a page.
    pub(crate) trickle: Duration,
    /// Every page is the one after the first, and names itself as the next.
    pub(crate) cycling: bool,
    /// How many list answers still carry this index instead of the table's.
    pub(crate) wrong_index: (u32, u64),
}

impl ListFaults {
    /// The index that an answer carries.
    pub(crate) fn index(&mut self, of_table: u64) -> u64 {
        let (times, wrong) = &mut self.wrong_index;
        if *times == 0 {
            return of_table;
        }
        *times -= 1;
        *wrong
    }
}

/// Requests that a server accepts and never answers, while this is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hanging {
    /// Pages of lists. A list request for one element, which asks for the table's index, is answered.
    pub pages: bool,
    /// List requests for one element, which ask for the table's index.
    pub tables: bool,
    /// Single objects.
    pub objects: bool,
    /// Summaries of jobs.
    pub summaries: bool,
}

impl Default for ListFaults {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            namespaces: Duration::ZERO,
            errors: 0,
            lagging: 0,
            broken_summary: None,
            broken_versions: None,
            contact: Some(Duration::ZERO),
            hanging: Hanging::default(),
            until_pages_hang: None,
            trickle: Duration::ZERO,
            cycling: false,
            wrong_index: (0, 0),
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No change here is left half-made by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn new(address: Address, buffer: usize, namespaces: Namespaces) -> Self {
        Self {
            address,
            ring: Mutex::new(Ring::new(buffer)),
            published: watch::Sender::new(0),
            state: RwLock::new(State::new(namespaces)),
            applied: watch::Sender::new(0),
            queue: Mutex::default(),
            gate: watch::Sender::new(Gate::default()),
            inject: broadcast::Sender::new(64),
            lists: Mutex::default(),
            variables: Mutex::default(),
            streams: AtomicUsize::new(0),
            connections: AtomicU64::new(1),
        }
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn enqueue(&self, entry: Arc<Entry>) {
        lock(&self.queue).pending.push_back(entry);
    }

    /// Applies the entries that the server's lag allows now.
    pub(crate) fn take_ready(&self) -> Vec<Arc<Entry>> {
        let mut queue = lock(&self.queue);
        let ready = match queue.lag {
            Lag::None => queue.pending.len(),
            Lag::By(entries) => queue.pending.len().saturating_sub(entries),
            Lag::At(index) => queue.pending.iter().take_while(|entry| entry.index <= index).count(),
        };
        queue.pending.drain(..ready).collect()
    }

    pub(crate) fn publish(&self, entry: &Entry) {
        if entry.lines.is_empty() {
            return;
        }
        {
            let mut ring = lock(&self.ring);
            for line in &entry.lines {
                ring.append(line.clone());
            }
        }
        self.published.send_modify(|count| *count += 1);
    }

    pub(crate) fn apply(&self, entry: &Entry) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).apply(entry);
        self.applied.send_modify(|count| *count += 1);
    }

    pub(crate) fn reset_to(&self, namespaces: Namespaces) {
        lock(&self.queue).pending.clear();
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::new(namespaces);
        self.applied.send_modify(|count| *count += 1);
        self.restart();
    }

    fn open_gate(&self, change: impl FnOnce(&mut Gate, u64)) {
        let next = self.connections.load(Ordering::SeqCst);
        self.gate.send_modify(|gate| change(gate, next));
    }
}

/// Faults, each effective at once.
impl Server {
    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address.addr()
    }

    /// Its address as `NOMAD_ADDR` wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// The highest raft index it has applied.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.read(|state| state.applied)
    }

    /// The first and the last index in its event buffer; 0 where it is empty.
    #[must_use]
    pub fn buffer_bounds(&self) -> (u64, u64) {
        lock(&self.ring).bounds()
    }

    /// Entries it has yet to apply.
    #[must_use]
    pub fn pending(&self) -> usize {
        lock(&self.queue).pending.len()
    }

    /// Event streams that are open now.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.load(Ordering::SeqCst)
    }

    /// Closes every connection in the ordinary way.
    pub fn drop_connections(&self) {
        self.open_gate(|gate, next| (gate.closed_below, gate.reset) = (next, false));
    }

    /// Closes every connection with a TCP reset.
    pub fn reset_connections(&self) {
        self.open_gate(|gate, next| (gate.closed_below, gate.reset) = (next, true));
    }

    /// The open streams stay open and fall silent: no event, no heartbeat. New ones work.
    pub fn stall(&self) {
        self.open_gate(|gate, next| gate.silent_below = next);
    }

    /// Open and new streams are silent until [`Self::unstall`].
    pub fn stall_all(&self) {
        self.open_gate(|gate, _| gate.silent_below = u64::MAX);
    }

    /// The whole server accepts connections but answers nothing until [`Self::unstall`].
    pub fn freeze(&self) {
        self.open_gate(|gate, _| (gate.frozen, gate.silent_below) = (true, u64::MAX));
    }

    /// Ends a stall or freeze: streams go on where they stopped, or are cut off when the buffer has moved on.
    pub fn unstall(&self) {
        self.open_gate(|gate, _| (gate.frozen, gate.silent_below) = (false, 0));
    }

    /// Refuses connections, and closes those that are open; `false` accepts again on the same address.
    pub fn refuse(&self, refusing: bool) {
        self.open_gate(|gate, next| {
            gate.refusing = refusing;
            if refusing {
                (gate.closed_below, gate.reset) = (next, true);
            }
        });
    }

    /// Restarts it: the event buffer is empty, connections are closed, the state is kept.
    pub fn restart(&self) {
        lock(&self.ring).clear();
        self.published.send_modify(|count| *count += 1);
        self.drop_connections();
    }

    /// Puts bytes into every open stream, verbatim: add the newline yourself.
    pub fn inject(&self, bytes: impl Into<Bytes>) {
        // There may be no stream to inject into.
        if self.inject.send(Inject::Bytes(bytes.into())).is_err() {
            tracing::debug!("no open stream to inject into");
        }
    }

    /// Publishes a line without an entry of the log: streams carry it, tables do not know it.
    ///
    /// # Errors
    /// It is no line of events.
    pub fn publish_stray(&self, line: impl Into<Bytes>) -> Result<(), line::Error> {
        let line = Arc::new(Line::parse(line.into())?);
        self.publish(&Entry { index: line.index, lines: vec![line], ..Entry::default() });
        Ok(())
    }

    /// The next list answers, this many, carry this index instead of the table's.
    pub fn wrong_index(&self, times: u32, index: u64) {
        lock(&self.lists).wrong_index = (times, index);
    }

    /// Cuts the next line of every open stream at a byte, or in the middle, and closes the connection.
    pub fn cut_next_line(&self, at: Option<usize>) {
        if self.inject.send(Inject::Cut(at)).is_err() {
            tracing::debug!("no open stream to cut");
        }
    }

    /// Every page of a list takes this long.
    pub fn slow_lists(&self, delay: Duration) {
        lock(&self.lists).delay = delay;
    }

    /// The list of namespaces takes this long, and has only those of the beginning.
    pub fn slow_namespaces(&self, delay: Duration) {
        lock(&self.lists).namespaces = delay;
    }

    /// Requests that are not answered from now on. A request that hangs is answered once it may be.
    pub fn hang(&self, hanging: Hanging) {
        let mut lists = lock(&self.lists);
        (lists.hanging, lists.until_pages_hang) = (hanging, None);
    }

    /// Answers this many more pages of lists; later ones hang as [`hang`](Server::hang) says.
    pub fn hang_after(&self, pages: u32) {
        let mut lists = lock(&self.lists);
        lists.hanging.pages = pages == 0;
        lists.until_pages_hang = (pages > 0).then_some(pages);
    }

    /// One more page is answered.
    pub(crate) fn count_page(&self) {
        let mut lists = lock(&self.lists);
        lists.until_pages_hang = match lists.until_pages_hang {
            Some(..=1) => {
                lists.hanging.pages = true;
                None
            }
            left => left.map(|left| left - 1),
        };
    }

    /// Waits while `hangs` says so.
    pub(crate) async fn while_hanging(&self, hangs: impl Fn(Hanging) -> bool) {
        while hangs(lock(&self.lists).hanging) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Pages have no end: each names the requested page as the next one, or the second page.
    pub fn cycle_pages(&self, cycling: bool) {
        lock(&self.lists).cycling = cycling;
    }

    /// The elements of a page come one at a time, with this pause before each.
    pub fn trickle(&self, pause: Duration) {
        lock(&self.lists).trickle = pause;
    }

    /// The next list requests, this many, are answered with 500.
    pub fn fail_lists(&self, times: u32) {
        lock(&self.lists).errors = times;
    }

    /// The summary of this job is answered with 500 from now on.
    pub fn break_summary(&self, job: Option<&'static str>) {
        lock(&self.lists).broken_summary = job;
    }

    /// The versions of this job are answered with 500 from now on.
    pub fn break_versions(&self, job: Option<&'static str>) {
        lock(&self.lists).broken_versions = job;
    }

    /// The next single objects, this many, are answered from the cluster's last server, which can lag: as from a new
    /// leader that has not applied everything that the old one had.
    pub fn lagging_objects(&self, times: u32) {
        lock(&self.lists).lagging = times;
    }

    /// When its stale answers say that it last heard from its leader; `None`: that it knows none.
    pub fn last_contact(&self, contact: Option<Duration>) {
        lock(&self.lists).contact = contact;
    }

    /// Sets its lag, and applies at once what the new lag allows.
    pub fn lag(&self, lag: Lag) {
        lock(&self.queue).lag = lag;
        for entry in self.take_ready() {
            self.publish(&entry);
            self.apply(&entry);
        }
    }
}
