//! What an operator asks first after a bad night: who led when, what was missed, what failed last. The log has it all; this keeps
//! the lines that answer these questions. They are caught from the log itself, so that nothing else has to report them.

mod advice;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError},
    time::SystemTime,
};

use serde_json::Value;
use tracing::Level;

use crate::kind::Kind;

/// Events that say who leads.
const LEASES: [&str; 10] = [
    "became leader",
    "cannot release lease",
    "lease lost",
    "lease lost before the first read",
    "lease taken over",
    "leases taken over",
    "no longer leader",
    "session ended by consul",
    "standing by",
    "standing by for a program without heartbeats",
];

/// Events that say that something may be missing.
const GAPS: [&str; 3] = ["event stream line too long", "gap detected", "polled in place of the stream"];

/// How many events of each list are kept.
const KEPT: usize = 100;
/// The most resources whose last trouble is kept: those of pipelines that are long gone are not removed.
const PLACES: usize = 1024;
/// How often a writer tries to get the lock. A viewer holds it for some microseconds.
const TRIES: usize = 1000;

/// An event of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    /// When.
    pub at: SystemTime,
    /// Its level.
    pub level: Level,
    /// The message.
    pub event: String,
    /// The pipeline that logged it, if that has a name.
    pub pipeline: Option<String>,
    /// The other fields. They are safe to show.
    pub fields: Vec<(String, Value)>,
}

impl Noted {
    /// A field that is a text.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name)?.1.as_str()
    }

    /// What to do about it, where the event or the reference of the log says so.
    pub fn fix(&self) -> Option<String> {
        // A failure of an operation is listed by the operation.
        let listed = self.field("what").map(|what| format!("operation=\"{what}\""));
        let advice = listed.as_deref().and_then(advice::of).or_else(|| advice::of(&self.event));
        self.field("fix").or(advice).map(str::to_owned)
    }

    /// Whether it is about `kind`, of those of one pipeline.
    pub fn is_about(&self, kind: Kind) -> bool {
        let kinds = self.field("kinds").or_else(|| self.field("kind"));
        kinds.is_some_and(|kinds| kinds.split(',').any(|known| known == kind.name()))
    }
}

/// What is kept of the log. Cheap to clone; all clones share the same.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    leases: VecDeque<Arc<Noted>>,
    gaps: VecDeque<Arc<Noted>>,
    troubles: VecDeque<Arc<Noted>>,
    /// The last trouble by pipeline and kind.
    last: BTreeMap<(Option<String>, Option<String>), Arc<Noted>>,
}

impl Journal {
    /// The journal of this process. There is one, as there is one log.
    pub fn of_process() -> Self {
        static JOURNAL: LazyLock<Journal> = LazyLock::new(Journal::default);
        JOURNAL.clone()
    }

    /// Whether an event is kept.
    pub(super) fn wants(level: Level, event: &str) -> bool {
        level <= Level::WARN || LEASES.contains(&event) || GAPS.contains(&event)
    }

    /// Keeps an event. Never waits: in the unlikely case that viewers hold the journal all the time, the event is left to the log.
    pub(super) fn note(&self, noted: Noted) {
        let Some(mut pages) = self.try_lock() else { return };
        let noted = Arc::new(noted);
        let event = noted.event.as_str();
        if LEASES.contains(&event) {
            push(&mut pages.leases, &noted);
        }
        if GAPS.contains(&event) {
            push(&mut pages.gaps, &noted);
        }
        if noted.level <= Level::WARN {
            push(&mut pages.troubles, &noted);
            let place = (noted.pipeline.clone(), noted.field("kind").map(str::to_owned));
            if pages.last.len() < PLACES || pages.last.contains_key(&place) {
                pages.last.insert(place, noted);
            }
        }
    }

    /// Who led when, the oldest first.
    pub fn leases(&self) -> Vec<Arc<Noted>> {
        self.lock().leases.iter().cloned().collect()
    }

    /// What may be missing, the oldest first.
    pub fn gaps(&self) -> Vec<Arc<Noted>> {
        self.lock().gaps.iter().cloned().collect()
    }

    /// Warnings and errors, the oldest first.
    pub fn troubles(&self) -> Vec<Arc<Noted>> {
        self.lock().troubles.iter().cloned().collect()
    }

    /// The last warning or error about a resource, or about its pipeline as a whole.
    pub fn last(&self, pipeline: Option<&str>, kind: Kind) -> Option<Arc<Noted>> {
        let pages = self.lock();
        let pipeline = pipeline.map(str::to_owned);
        let own = pages.last.get(&(pipeline.clone(), Some(kind.name().to_owned())));
        let whole = pages.last.get(&(pipeline, None));
        own.into_iter().chain(whole).max_by_key(|noted| noted.at).cloned()
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Pages>> {
        for _ in 0..TRIES {
            match self.0.try_lock() {
                Ok(pages) => return Some(pages),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push(list: &mut VecDeque<Arc<Noted>>, noted: &Arc<Noted>) {
    if list.len() == KEPT {
        list.pop_front();
    }
    list.push_back(Arc::clone(noted));
}
