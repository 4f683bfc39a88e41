//! A recorded stream as a history.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::template::{Shift, Template, ids};
use super::{Entry, History, Silent};
use crate::line::{self, Line};

/// Entries of a recording, and how to make them again with other identities.
#[derive(Debug, Clone)]
pub struct Recording {
    shared: Arc<Shared>,
    at: usize,
    pub(super) shift: Shift,
}

#[derive(Debug)]
struct Shared {
    entries: Vec<Recorded>,
    first_seen: BTreeMap<Box<str>, u64>,
}

#[derive(Debug)]
struct Recorded {
    index: u64,
    lines: Vec<Template>,
    namespaces: Vec<String>,
    gap: Duration,
}

/// Why a recording could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read the recording {path}")]
    Read {
        /// The file.
        path: String,
        /// The reason.
        #[source]
        source: std::io::Error,
    },
    /// A line of it is no publish.
    #[error("line {number} of the recording is not an event publish")]
    Line {
        /// Counted from 1.
        number: usize,
        /// The reason.
        #[source]
        source: line::Error,
    },
}

/// How long a recording without usable times lasts.
const UNTIMED: Duration = Duration::from_secs(90);

impl Recording {
    /// Reads a file of stream lines; heartbeats in it are skipped.
    ///
    /// # Errors
    /// When the file cannot be read or a line is no event publish.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = std::fs::read(path).map_err(|source| Error::Read { path: path.display().to_string(), source })?;
        Self::parse(&Bytes::from(text))
    }

    /// Reads the text of a recording.
    ///
    /// # Errors
    /// When a line is no event publish.
    pub fn parse(text: &Bytes) -> Result<Self, Error> {
        let mut entries: Vec<Recorded> = Vec::new();
        let mut times = Vec::new();
        let mut first_seen = BTreeMap::new();
        let mut clock = 0;
        for (number, raw) in text.split(|byte| *byte == b'\n').enumerate() {
            if raw.is_empty() || raw == b"{}" {
                continue;
            }
            let raw = text.slice_ref(raw);
            let line = Line::parse(raw.clone()).map_err(|source| Error::Line { number: number + 1, source })?;
            for event in &line.events {
                if !event.namespace.is_empty() {
                    first_seen.entry(event.namespace.clone()).or_insert(line.index);
                }
            }
            clock = clock.max(published_at(&line));
            let template = Template::new(&raw);
            match entries.last_mut() {
                Some(last) if last.index == line.index => last.lines.push(template),
                _ => {
                    times.push(clock);
                    let (lines, namespaces) = (vec![template], Vec::new());
                    entries.push(Recorded { index: line.index, lines, namespaces, gap: Duration::ZERO });
                }
            }
        }
        pace(&mut entries, &times);
        Ok(Self { shared: Arc::new(Shared { entries, first_seen }), at: 0, shift: Shift::default() })
    }

    /// The namespaces that occur, with the index of their first event.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, u64)> {
        self.shared.first_seen.iter().map(|(name, index)| (&**name, *index))
    }

    /// Creates a namespace at an index instead of from the start: an index without an event gets an entry of its own.
    #[must_use]
    pub fn with_namespace(mut self, name: &str, index: u64) -> Self {
        let Some(shared) = Arc::get_mut(&mut self.shared) else { return self };
        match shared.entries.binary_search_by_key(&index, |entry| entry.index) {
            Ok(at) => shared.entries[at].namespaces.push(name.to_owned()),
            Err(at) => {
                let namespaces = vec![name.to_owned()];
                let recorded = Recorded { index, lines: Vec::new(), namespaces, gap: Duration::ZERO };
                shared.entries.insert(at, recorded);
            }
        }
        self
    }

    /// The highest recorded index.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.shared.entries.last().map_or(0, |entry| entry.index)
    }

    pub(super) fn first_index(&self) -> u64 {
        self.shared.entries.first().map_or(0, |entry| entry.index)
    }

    /// How long it lasts at normal speed.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.shared.entries.iter().map(|entry| entry.gap).sum()
    }

    pub(super) fn rewound(&self, shift: Shift) -> Self {
        Self { shared: self.shared.clone(), at: 0, shift }
    }
}

impl History for Recording {
    fn next(&mut self) -> Option<Entry> {
        let recorded = self.shared.entries.get(self.at)?;
        self.at += 1;
        // A template without a shift is the parsed line again, and a shift keeps its form.
        let lines = recorded.lines.iter().filter_map(|line| Line::parse(line.render(self.shift)).ok()).map(Arc::new);
        Some(Entry {
            index: recorded.index + self.shift.index,
            lines: lines.collect(),
            silent: recorded.namespaces.iter().cloned().map(Silent::Namespace).collect(),
            gap: recorded.gap,
        })
    }

    fn anew(&self, generation: u64) -> Box<dyn History> {
        Box::new(self.rewound(Shift { ids: ids(u64::MAX - generation), ..self.shift }))
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Times {
    modify_time: u64,
    submit_time: u64,
}

/// The latest time that an object changed by this very line carries; 0 where none does.
fn published_at(line: &Line) -> u64 {
    let objects = line.events.iter().filter_map(|event| event.object.as_ref());
    objects
        .filter(|object| object.modify_index == line.index)
        .filter_map(|object| serde_json::from_slice::<Times>(&object.body.bytes()).ok())
        .map(|times| times.modify_time.max(times.submit_time))
        .max()
        .unwrap_or(0)
}

fn pace(entries: &mut [Recorded], times: &[u64]) {
    let first = times.iter().copied().find(|time| *time > 0).unwrap_or(0);
    if times.last().copied().unwrap_or(0) <= first {
        let gap = UNTIMED / u32::try_from(entries.len().max(1)).unwrap_or(u32::MAX);
        entries.iter_mut().for_each(|entry| entry.gap = gap);
        return;
    }
    let mut before = first;
    for (entry, time) in entries.iter_mut().zip(times) {
        let time = (*time).max(before);
        entry.gap = Duration::from_nanos(time - before);
        before = time;
    }
}
