//! Decides when which message leaves. It is told the time, and waits for nothing.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Config, MOST_HELD,
    budget::{Budget, MINUTE},
    held::Held,
};
use crate::{
    delivery::Unsent, kind::Kind, ledger::Line, notify::Message, record::Record, telemetry::Metrics, throttle::Throttle,
};

/// How soon a summary that waits for the sink is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

/// How soon what is held back notices that a lease is lost.
const LEASE_CHECK: Duration = Duration::from_secs(5);

/// The part of the window that may be held back.
const MOST_OF_WINDOW: f64 = 0.5;

/// What makes messages equal: the kind, and a hash of the key, the title or the text.
type Topic = (Kind, u128);

/// All that is held back.
#[derive(Debug)]
pub(super) struct Digest {
    config: Config,
    metrics: Metrics,
    budget: Budget,
    windows: HashMap<Topic, Window>,
    /// The ends of all windows.
    ends: BTreeSet<(Instant, Topic)>,
    storm: Option<Storm>,
    /// How many records are held back, and the part of the window that they keep in use.
    records: usize,
    portion: f64,
    /// The line of the record that was held back last.
    last: Option<Line>,
    /// When the leases of what is held back were last looked at.
    checked: Instant,
    unsent: Unsent,
    log: Throttle,
}

/// The time after a message in which equal ones are held back.
#[derive(Debug)]
struct Window {
    end: Instant,
    held: Option<Held>,
}

/// The time in which everything is held back.
#[derive(Debug)]
struct Storm {
    end: Instant,
    /// The topics that came, at most as many as the limit.
    topics: HashSet<Topic>,
    held: Vec<Held>,
}

impl Digest {
    pub(super) fn new(config: Config, metrics: Metrics) -> Self {
        Digest {
            config,
            metrics,
            budget: Budget::new(config.limit),
            windows: HashMap::new(),
            ends: BTreeSet::new(),
            storm: None,
            records: 0,
            portion: 0.0,
            last: None,
            checked: Instant::now(),
            unsent: Unsent::default(),
            log: Throttle::default(),
        }
    }

    /// When [`Digest::due`] has to be called.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let first = self.ends.first().map(|(end, _)| *end);
        let check = (self.records > 0).then(|| self.checked + LEASE_CHECK);
        first.into_iter().chain(self.storm.as_ref().map(|storm| storm.end)).chain(check).min()
    }

    /// Takes a record at `now`: it is added to `leaving`, or held back.
    pub(super) fn take(&mut self, record: Record, now: Instant, leaving: &mut Vec<Record>) {
        self.due(now, leaving);
        let message = Message::of(&record);
        let topic = topic_of(&record, &message);
        if self.storm.is_none() && !self.windows.contains_key(&topic) {
            if self.budget.has_room(now) {
                let end = now + self.config.window;
                self.windows.insert(topic, Window { end, held: None });
                self.ends.insert((end, topic));
                leaving.push(self.budget.spend(record, now));
                return;
            }
            self.start_storm(now);
        }
        // All records of a line keep one share of the window.
        let line = record.ack.line();
        let portion = if self.last.as_ref() == Some(&line) { 0.0 } else { record.ack.portion() };
        self.last = Some(line);
        self.hold(topic, Held::new(record, message, portion, now), now, leaving);
        if self.records >= MOST_HELD || self.portion > MOST_OF_WINDOW {
            if let Some(times) = self.log.due("early") {
                tracing::info!(records = self.records, times, "summary sent early");
            }
            self.flush(now, leaving);
        }
    }

    /// Everything whose time has come leaves.
    pub(super) fn due(&mut self, now: Instant, leaving: &mut Vec<Record>) {
        if self.records > 0 && self.checked + LEASE_CHECK <= now {
            self.checked = now;
            self.drop_lost(now);
        }
        while let Some((end, topic)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.ends.remove(&(end, topic));
            let Some(window) = self.windows.get_mut(&topic) else { continue };
            let Some(held) = window.held.take() else {
                self.windows.remove(&topic);
                continue;
            };
            if !self.budget.has_room(now) {
                window.held = Some(held);
                self.start_storm(now);
                break;
            }
            window.end = now + self.config.window;
            self.ends.insert((window.end, topic));
            self.release(held, now, leaving);
        }
        let Some(storm) = self.storm.as_mut().filter(|storm| storm.end <= now) else { return };
        if !storm.held.is_empty() && !self.budget.has_room(now) {
            storm.end = now + AGAIN;
            return;
        }
        let held = std::mem::take(&mut storm.held);
        if storm.topics.len() < self.config.limit {
            self.storm = None;
            tracing::info!("notifications leave one by one again");
        } else {
            storm.end = now + MINUTE;
            storm.topics.clear();
        }
        held.into_iter().for_each(|held| self.release(held, now, leaving));
    }

    /// Says in the log what was dropped with its lease since the last call.
    pub(super) fn log_unsent(&mut self) {
        self.unsent.log();
    }

    /// Everything leaves at once: one message or summary for each kind and lease.
    pub(super) fn flush(&mut self, now: Instant, leaving: &mut Vec<Record>) {
        let mut all = self.take_windows();
        if let Some(storm) = &mut self.storm {
            for held in std::mem::take(&mut storm.held) {
                gather(&mut all, held);
            }
        }
        all.into_iter().for_each(|held| self.release(held, now, leaving));
        self.last = None;
    }

    /// What the windows hold, gathered by kind and lease, the oldest first.
    fn take_windows(&mut self) -> Vec<Held> {
        let mut single: Vec<Held> = self.windows.values_mut().filter_map(|window| window.held.take()).collect();
        single.sort_by_key(Held::since);
        let mut all = Vec::new();
        single.into_iter().for_each(|held| gather(&mut all, held));
        all
    }

    /// From now on everything is held back, what the windows hold included.
    fn start_storm(&mut self, now: Instant) {
        let held = self.take_windows();
        self.windows.clear();
        self.ends.clear();
        tracing::warn!(limit = self.config.limit, "too many notifications");
        self.storm = Some(Storm { end: now + MINUTE, topics: HashSet::new(), held });
    }

    fn hold(&mut self, topic: Topic, held: Held, now: Instant, leaving: &mut Vec<Record>) {
        self.records += held.records();
        self.portion += held.portion();
        if let Some(storm) = &mut self.storm {
            if storm.topics.len() < self.config.limit {
                storm.topics.insert(topic);
            }
            gather(&mut storm.held, held);
            return;
        }
        let window = self.windows.get_mut(&topic).expect("without a window or a storm nothing is held back");
        // Under another lease: what came under the last one is delivered by itself, or lost.
        let other = window.held.take_if(|known| !known.fits(held.kind(), held.ack()));
        match &mut window.held {
            Some(known) => known.add(held),
            None => window.held = Some(held),
        }
        if let Some(other) = other {
            self.release(other, now, leaving);
        }
    }

    /// Drops what is held back under lost leases, so that it keeps nothing of the window.
    fn drop_lost(&mut self, now: Instant) {
        let in_windows = self.windows.values_mut().filter_map(|window| window.held.take_if(|held| held.is_lost()));
        let mut lost: Vec<Held> = in_windows.collect();
        if let Some(storm) = &mut self.storm {
            lost.extend(storm.held.extract_if(.., |held| held.is_lost()));
        }
        lost.into_iter().for_each(|held| self.release(held, now, &mut Vec::new()));
    }

    /// `held` leaves, unless its lease is lost: the next holder sends it.
    fn release(&mut self, held: Held, now: Instant, leaving: &mut Vec<Record>) {
        let (kind, records) = (held.kind(), held.records());
        self.records -= records;
        // Adding and subtracting leaves a rest.
        self.portion = if self.records == 0 { 0.0 } else { self.portion - held.portion() };
        let metrics = self.metrics.of(kind);
        if held.is_lost() {
            self.unsent.add(kind, records);
            metrics.records_unsent_at_lease_loss.inc_by(records as u64);
            return;
        }
        if records > 1 {
            metrics.summaries.inc();
            metrics.records_summarized.inc_by(records as u64);
        }
        leaving.push(self.budget.spend(held.into_record(), now));
    }
}

/// Adds `held` to the one that it fits, or to the list.
fn gather(all: &mut Vec<Held>, held: Held) {
    match all.iter_mut().find(|known| known.fits(held.kind(), held.ack())) {
        Some(known) => known.add(held),
        None => all.push(held),
    }
}

fn topic_of(record: &Record, message: &Message) -> Topic {
    let key = message.key.as_deref().or(record.group.as_deref());
    let (class, text) = match (key, &message.title) {
        (Some(key), _) => ("key", key),
        (None, Some(title)) => ("title", title.as_str()),
        (None, None) => ("text", message.text.as_str()),
    };
    (record.kind, xxh3_128(format!("{class}\n{text}").as_bytes()))
}
