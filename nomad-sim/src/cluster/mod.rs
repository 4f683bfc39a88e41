//! The cluster: one log, and servers that apply it.

mod variables;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::acl::Acl;
use crate::history::{Entry, History};
use crate::line::Line;
use crate::server::{Server, lock};
use crate::state::Namespaces;
use crate::table::Kind;
use crate::variables::{Head, Timers};

/// Timings and limits of the simulated agent.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Between two heartbeats of a stream; Nomad: 30 s.
    pub(crate) heartbeat: Duration,
    /// A refused stream is closed after this; seen live: about 2 s.
    pub(crate) refusal: Duration,
    /// The streams of a deleted token fall silent and are closed after this; seen live: 33 s.
    pub(crate) revocation: Duration,
    /// A stream that accepts no write for this long is closed; Nomad: 40 s.
    pub(crate) write_timeout: Duration,
    /// Between the publish of an entry and its commit to the state store.
    pub(crate) commit_delay: Duration,
    /// Bytes the kernel may hold for a connection's peer; `None` leaves its default, which is megabytes.
    pub(crate) send_buffer: Option<u32>,
    /// `event_buffer_size`, as the agents report it.
    pub(crate) event_buffer: usize,
    /// How many times faster than in Nomad the times of locks pass.
    pub(crate) lock_speed: f64,
    /// Writes of variables are entries of the log, and published.
    pub(crate) variable_events: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(30),
            refusal: Duration::from_secs(2),
            revocation: Duration::from_secs(33),
            write_timeout: Duration::from_secs(40),
            commit_delay: Duration::ZERO,
            send_buffer: None,
            event_buffer: 100,
            lock_speed: 1.0,
            variable_events: false,
        }
    }
}

/// How the server answers a request for the event stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Broker {
    /// The stream.
    #[default]
    Enabled,
    /// `enable_event_broker = false` on a Nomad since 1.11.2: 200 and an empty body, closed.
    Disabled,
    /// The same on an older one: 500 with text.
    Failing,
    /// A Nomad before 1.0: 404.
    Missing,
}

/// How the server answers a question about which cluster this is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Evidence {
    /// The answer.
    #[default]
    Readable,
    /// This status.
    Refused(u16),
    /// No answer at all.
    Hanging,
}

/// Whether and how fast the history plays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) paused: bool,
    /// Times normal speed; infinite for no pause at all.
    pub(crate) speed: f64,
}

/// One answered (or still unanswered) request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// Its place in the order of arrival over all servers.
    pub number: u64,
    /// The server it came to.
    pub server: usize,
    /// The method.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
}

/// However slow the pace, the next entry comes within this time.
const LONGEST_GAP: Duration = Duration::from_secs(86_400);
/// A player that falls behind catches up no more than this.
const LONGEST_DEBT: Duration = Duration::from_secs(1);
/// How many of the newest requests the log keeps.
const KEPT_REQUESTS: usize = 100_000;

/// How Nomad 2.0.5 answers for a key that is fifteen days old.
const KEYS_LAST: Duration = Duration::from_secs(7 * 86_400);

/// The id of a key that no other cluster has.
fn new_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("{:08x}-sim-{since:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[derive(Debug, Default)]
struct Requests {
    next: u64,
    kept: VecDeque<Request>,
}

#[derive(Debug)]
pub(crate) struct Player {
    history: Box<dyn History>,
    peeked: Option<Entry>,
    generation: u64,
    /// The highest index of the log.
    pub(crate) last_index: u64,
}

impl Player {
    /// The next entry of the history, before it is committed.
    pub(crate) fn peek(&mut self) -> Option<&Entry> {
        if self.peeked.is_none() {
            self.peeked = self.history.next();
        }
        self.peeked.as_ref()
    }
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) config: Config,
    pub(crate) servers: Vec<Server>,
    pub(crate) player: tokio::sync::Mutex<Player>,
    pub(crate) pace: watch::Sender<Pace>,
    /// Set when the history has come to its end.
    pub(crate) finished: watch::Sender<bool>,
    pub(crate) acl: Mutex<Acl>,
    pub(crate) acl_changed: watch::Sender<u64>,
    pub(crate) broker: Mutex<Broker>,
    pub(crate) shuffle: AtomicBool,
    pub(crate) old: AtomicBool,
    pub(crate) no_wildcards: AtomicBool,
    pub(crate) region: String,
    /// The clusters of other regions in the federation.
    pub(crate) peers: Mutex<Vec<Weak<Cluster>>>,
    /// The ids of the keyring's public keys, and for how long an answer may be cached.
    pub(crate) keys: Mutex<(Vec<String>, Option<Duration>)>,
    pub(crate) evidence: Mutex<Evidence>,
    /// The variables at the end of the log, and the timers of their locks.
    pub(crate) variables: Mutex<Head>,
    pub(crate) timers: Mutex<Timers>,
    first_namespaces: Namespaces,
    requests: Mutex<Requests>,
    truth: Option<Mutex<Vec<Arc<Line>>>>,
}

/// The parts of a [`Cluster`].
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) servers: Vec<Server>,
    pub(crate) history: Box<dyn History>,
    pub(crate) namespaces: Namespaces,
    pub(crate) acl: Acl,
    pub(crate) region: String,
    pub(crate) pace: Pace,
    pub(crate) keep_truth: bool,
}

impl Cluster {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            config: parts.config,
            servers: parts.servers,
            player: tokio::sync::Mutex::new(Player {
                history: parts.history,
                peeked: None,
                generation: 0,
                last_index: parts.namespaces.index,
            }),
            pace: watch::Sender::new(parts.pace),
            finished: watch::Sender::new(false),
            acl: Mutex::new(parts.acl),
            acl_changed: watch::Sender::new(0),
            broker: Mutex::default(),
            shuffle: AtomicBool::new(false),
            old: AtomicBool::new(false),
            no_wildcards: AtomicBool::new(false),
            region: parts.region,
            peers: Mutex::default(),
            keys: Mutex::new((vec![new_key()], Some(KEYS_LAST))),
            evidence: Mutex::default(),
            variables: Mutex::default(),
            timers: Mutex::default(),
            first_namespaces: parts.namespaces,
            requests: Mutex::default(),
            truth: parts.keep_truth.then(Mutex::default),
        }
    }

    /// Appends an entry to the log: published everywhere, then committed, as far as the servers' lags allow.
    pub(crate) async fn commit(&self, player: &mut Player, entry: Entry) {
        player.last_index = player.last_index.max(entry.index);
        if let Some(truth) = &self.truth {
            lock(truth).extend(entry.lines.iter().cloned());
        }
        let entry = Arc::new(entry);
        let mut ready = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            server.enqueue(entry.clone());
            let entries = server.take_ready();
            entries.iter().for_each(|entry| server.publish(entry));
            ready.push(entries);
        }
        if !self.config.commit_delay.is_zero() {
            tokio::time::sleep(self.config.commit_delay).await;
        }
        for (server, entries) in self.servers.iter().zip(ready) {
            entries.iter().for_each(|entry| server.apply(entry));
        }
    }

    /// Commits entries of the history while `take` wants the next one; returns how many.
    pub(crate) async fn play(&self, mut take: impl FnMut(&Entry) -> bool) -> u64 {
        let mut player = self.player.lock().await;
        let mut played = 0;
        while player.peek().is_some_and(&mut take) {
            let Some(entry) = player.peeked.take() else { break };
            self.commit(&mut player, entry).await;
            played += 1;
            if played % 64 == 0 {
                // A preload of any length must let the servers run in between.
                tokio::task::yield_now().await;
            }
        }
        if player.peek().is_none() {
            self.finished.send_replace(true);
        }
        played
    }

    /// Plays the history at its pace until the end of the program.
    pub(crate) async fn run(&self) {
        let mut pace = self.pace.subscribe();
        // When the entry before was due: timers are coarse, and the next entry must catch up what one is late.
        let mut due = Instant::now();
        loop {
            if pace.borrow().paused {
                if pace.wait_for(|pace| !pace.paused).await.is_err() {
                    return;
                }
                due = Instant::now();
            }
            let speed = pace.borrow_and_update().speed;
            let Some(gap) = self.player.lock().await.peek().map(|entry| entry.gap) else {
                self.finished.send_replace(true);
                let mut finished = self.finished.subscribe();
                // Only a rebuilt cluster begins again.
                if finished.wait_for(|finished| !finished).await.is_err() {
                    return;
                }
                due = Instant::now();
                continue;
            };
            if speed.is_finite() && !gap.is_zero() {
                let gap = gap.div_f64(speed.max(f64::MIN_POSITIVE)).min(LONGEST_GAP);
                due = (due + gap).max(Instant::now().checked_sub(LONGEST_DEBT).unwrap_or(due));
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    _ = pace.changed() => {
                        due = Instant::now();
                        continue;
                    }
                }
            }
            let mut one = true;
            self.play(|_| std::mem::take(&mut one)).await;
        }
    }

    /// Replaces the cluster by another: state and buffers are empty, streams closed, and the history starts again with
    /// other identities.
    pub(crate) async fn rebuild(&self) {
        let mut player = self.player.lock().await;
        player.generation += 1;
        player.history = player.history.anew(player.generation);
        player.peeked = None;
        player.last_index = self.first_namespaces.index;
        *lock(&self.variables) = Head::default();
        lock(&self.timers).clear();
        for server in &self.servers {
            server.reset_to(self.first_namespaces.clone());
        }
        self.finished.send_replace(false);
    }

    pub(crate) fn truth(&self) -> Vec<Arc<Line>> {
        self.truth.as_ref().map(|truth| lock(truth).clone()).unwrap_or_default()
    }

    pub(crate) fn log_request(&self, server: usize, method: &str, target: &str) {
        let mut requests = lock(&self.requests);
        let number = requests.next;
        requests.next += 1;
        if requests.kept.len() == KEPT_REQUESTS {
            requests.kept.pop_front();
        }
        requests.kept.push_back(Request { number, server, method: method.to_owned(), target: target.to_owned() });
    }

    pub(crate) fn requests(&self, since: u64) -> Vec<Request> {
        lock(&self.requests).kept.iter().filter(|request| request.number >= since).cloned().collect()
    }

    pub(crate) fn shuffles(&self) -> bool {
        self.shuffle.load(Ordering::Relaxed)
    }

    /// Whether it answers as Nomad before 1.0.
    pub(crate) fn is_old(&self) -> bool {
        self.old.load(Ordering::Relaxed)
    }

    /// Whether a list of the namespace `*` has any object.
    pub(crate) fn lists_all(&self, kind: Kind) -> bool {
        match kind {
            Kind::Node => true,
            Kind::Evaluation | Kind::Deployment => !self.is_old() && !self.no_wildcards.load(Ordering::Relaxed),
            Kind::Allocation | Kind::Job => !self.is_old(),
        }
    }

    pub(crate) fn change_acl(&self, change: impl FnOnce(&mut Acl)) {
        change(&mut lock(&self.acl));
        self.acl_changed.send_modify(|count| *count += 1);
    }
}
