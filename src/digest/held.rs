//! Messages that are held back, and the summary that they become.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use humantime::{format_duration, format_rfc3339_seconds};
use tokio::time::Instant;

use crate::{
    kind::Kind,
    lease::LeaseState,
    ledger::AckHandle,
    meta,
    notify::{Message, cut},
    position::RaftIndex,
    record::{Record, Time},
};

/// The most lines of a summary.
pub(super) const LINES: usize = 20;
/// The most characters of a line.
const LINE: usize = 200;

/// Messages that leave together: at least one, all of one kind and under one lease.
#[derive(Debug)]
pub(super) struct Held {
    /// The oldest record. It has no body once there is another one.
    first: Record,
    /// What the summary shows: the parts that all messages share, and the text of the newest.
    message: Message,
    /// Lines in the order in which they first came, and how many messages each stands for.
    lines: Vec<(String, u64)>,
    /// How many messages have no line.
    others: u64,
    /// The claims of the records after the first.
    acks: Vec<AckHandle>,
    /// The part of the window that they keep in use.
    portion: f64,
    arrived: (Instant, Instant),
    happened: (SystemTime, SystemTime),
}

impl Held {
    /// Holds one message, which keeps `portion` of the window in use.
    pub(super) fn new(record: Record, message: Message, portion: f64, now: Instant) -> Self {
        let time = meta::time(&record).map_or_else(SystemTime::now, system_time);
        Held {
            lines: vec![(line_of(&message), 1)],
            others: 0,
            acks: Vec::new(),
            portion,
            arrived: (now, now),
            happened: (time, time),
            message,
            first: record,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.first.kind
    }

    /// Whether messages of `other` can be in the same summary: one that is delivered together, or not at all.
    pub(super) fn fits(&self, kind: Kind, ack: &AckHandle) -> bool {
        self.first.kind == kind && self.first.ack.has_lease_of(ack)
    }

    pub(super) fn ack(&self) -> &AckHandle {
        &self.first.ack
    }

    /// The order in which the first messages came.
    pub(super) fn since(&self) -> (Instant, RaftIndex) {
        (self.arrived.0, self.first.index)
    }

    pub(super) fn records(&self) -> usize {
        self.acks.len() + 1
    }

    pub(super) fn portion(&self) -> f64 {
        self.portion
    }

    pub(super) fn is_lost(&self) -> bool {
        self.first.ack.lease_state() == LeaseState::Lost
    }

    /// Adds the messages of `other`, which [fits](Held::fits).
    pub(super) fn add(&mut self, other: Held) {
        let Held { first, message, lines, others, acks, portion, arrived, happened } = other;
        self.portion += portion;
        self.first.body = Bytes::new();
        let Record { namespace, job, node, .. } = &mut self.first;
        for (ours, theirs) in [(namespace, first.namespace), (job, first.job), (node, first.node)] {
            if *ours != theirs {
                *ours = "".into();
            }
        }
        self.first.index = self.first.index.max(first.index);
        self.acks.push(first.ack);
        self.acks.extend(acks);
        for (line, times) in lines {
            self.count(line, times);
        }
        self.others += others;
        self.arrived = (self.arrived.0.min(arrived.0), self.arrived.1.max(arrived.1));
        self.happened = (self.happened.0.min(happened.0), self.happened.1.max(happened.1));
        self.share(message);
    }

    fn count(&mut self, line: String, times: u64) {
        if let Some((_, count)) = self.lines.iter_mut().find(|(known, _)| *known == line) {
            *count += times;
        } else if self.lines.len() < LINES {
            self.lines.push((line, times));
        } else {
            self.others += times;
        }
    }

    /// Keeps what `newer` shares with the messages before it.
    fn share(&mut self, newer: Message) {
        fn keep<T: PartialEq>(ours: &mut Option<T>, theirs: &Option<T>) {
            ours.take_if(|ours| theirs.as_ref() != Some(ours));
        }
        let message = &mut self.message;
        keep(&mut message.title, &newer.title);
        keep(&mut message.link, &newer.link);
        keep(&mut message.key, &newer.key);
        message.fields.retain(|field| newer.fields.contains(field));
        message.raw.retain(|name, value| newer.raw.get(name) == Some(value));
        message.severity = message.severity.max(newer.severity);
        message.text = newer.text;
    }

    /// The record that leaves: the message itself if there is only one, otherwise a summary.
    pub(super) fn into_record(self) -> Record {
        let count = self.records();
        if count == 1 {
            return self.first;
        }
        let body = self.summary().to_body();
        let Held { first, mut acks, happened, .. } = self;
        acks.push(first.ack.clone());
        let ack = AckHandle::join(&acks).expect("they are under one lease");
        let id = format!("{}/summary/{count}", first.id).into();
        Record { id, body, ack, time: record_time(happened.1), ..first }
    }

    fn summary(&self) -> Message {
        let mut message = self.message.clone();
        let count = self.records() as u64;
        // Lines that all say the same are in the text already.
        if self.lines.len() + usize::from(self.others > 0) > 1 {
            message.text = format!("Messages about {}", self.first.kind);
            message.lines = self.lines.iter().map(counted).collect();
            if self.others > 0 {
                message.lines.push(format!("and {} more", self.others));
            }
        } else {
            message.lines.clear();
        }
        message.count = Some(count);
        let seconds = (self.arrived.1 - self.arrived.0).as_millis().div_ceil(1000).max(1);
        let within = Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX));
        message.within = Some(format_duration(within).to_string().replace(' ', ""));
        let shown = |time| format_rfc3339_seconds(time).to_string();
        message.fields.retain(|(name, _)| name != FROM && name != UNTIL);
        message.fields.push((FROM.to_owned(), shown(self.happened.0)));
        message.fields.push((UNTIL.to_owned(), shown(self.happened.1)));
        message
    }
}

/// The fields with the times of the first and the last event.
const FROM: &str = "From";
const UNTIL: &str = "Until";

/// The message on one line.
fn line_of(message: &Message) -> String {
    let text = message.counted_text();
    let text = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    match &message.title {
        Some(title) if !text.starts_with(title.as_str()) => cut(&format!("{title}: {text}"), LINE).into_owned(),
        _ => cut(text, LINE).into_owned(),
    }
}

fn counted((line, times): &(String, u64)) -> String {
    let mut line = line.clone();
    if *times > 1 {
        write!(line, " ({times} times)").expect("a string");
    }
    line
}

fn system_time(time: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(time.nanoseconds())
}

fn record_time(time: SystemTime) -> Option<Time> {
    Time::new(u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()?)
}
