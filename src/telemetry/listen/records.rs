//! The last records as headlines. They are made when somebody looks, and once for all viewers.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::parts::unix;
use crate::{
    headline::{Headline, Tone},
    redact::{WORDS, shown},
    telemetry::recent::{KEPT, Passed, Recent},
};

/// A record as the page shows it. Its body is left out.
#[derive(Debug, Serialize)]
pub(super) struct Line {
    pub(super) number: u64,
    pipeline: Option<String>,
    kind: &'static str,
    id: String,
    namespace: String,
    index: u64,
    /// When it went by, in Unix seconds.
    at: f64,
    /// Records of the pipeline that went by unseen before it.
    skipped: u64,
    headline: Headline,
}

impl Line {
    fn of(passed: &Passed) -> Self {
        let headline = match passed.body() {
            Some(body) => safe(Headline::of(passed.kind, &body)),
            None => large(passed),
        };
        Line {
            number: passed.number,
            pipeline: passed.pipeline.as_deref().map(str::to_owned),
            kind: passed.kind.name(),
            id: shown(&*passed.id, WORDS),
            namespace: shown(&*passed.namespace, WORDS),
            index: passed.index.0,
            at: unix(passed.at),
            skipped: passed.skipped,
            headline,
        }
    }
}

/// The headline of a record whose body was too large to be kept.
fn large(passed: &Passed) -> Headline {
    let (subject, text) = (shown(&*passed.id, WORDS), "a large record".to_owned());
    Headline { time: None, subject, text, place: None, tone: Tone::Quiet }
}

/// A headline without secrets of ours: a body can hold what a job was given.
fn safe(headline: Headline) -> Headline {
    let Headline { time, subject, text, place, tone } = headline;
    Headline {
        time: time.map(|time| shown(time, WORDS)),
        subject: shown(subject, WORDS),
        text: shown(text, WORDS),
        place: place.map(|place| shown(place, WORDS)),
        tone,
    }
}

/// The lines that were made already.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<Vec<Arc<Line>>>);

impl Lines {
    /// The lines of all records that are kept, the oldest first.
    pub(super) fn all(&self, recent: &Recent) -> Vec<Arc<Line>> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lines.last().map_or(0, |line| line.number);
        lines.extend(recent.after(known).iter().map(|passed| Arc::new(Line::of(passed))));
        let surplus = lines.len().saturating_sub(KEPT);
        lines.drain(..surplus);
        lines.clone()
    }
}
