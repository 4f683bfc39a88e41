//! The one limit on log lines about failures that repeat: at once for a class of failures that is new, and then once a minute
//! for each class, with how often it happened since.
//!
//! Failures are told apart by their [`Class`], never by their text: texts carry ports, request ids and durations, and each try
//! would make another line.

use std::{
    borrow::Cow,
    fmt::{self, Display},
    io, mem,
    time::Duration,
};

use tokio::time::Instant;
use tracing::{error, info, warn};

/// How often a class of failures is logged.
const EVERY: Duration = Duration::from_secs(60);
/// Classes that are told apart within that time. What comes on top counts as one more: a far side that makes up a new code for
/// each answer costs no memory and no log.
const CLASSES: usize = 32;

/// What kind of failure it is. The values of a class are few: nothing that changes from try to try belongs into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class(Cow<'static, str>);

impl Class {
    /// The same, told apart further: by an HTTP status, or an error code.
    #[must_use]
    pub(crate) fn with(self, detail: impl Display) -> Self {
        Class(Cow::Owned(format!("{} {detail}", self.0)))
    }

    /// The class of a failure that comes as text alone, as those of sinks do: its words, without those that have a digit in
    /// them. Ports, ids, times and durations do; of numbers only what can be an HTTP status is kept.
    pub(crate) fn of_text(text: &str) -> Self {
        let has_digit = |word: &str| word.contains(|c: char| c.is_ascii_digit());
        let is_status = |word: &str| matches!(word.parse(), Ok(100..600_u16));
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !has_digit(word) || is_status(word));
        Class(Cow::Owned(words.collect::<Vec<_>>().join(" ")))
    }
}

impl From<&'static str> for Class {
    fn from(name: &'static str) -> Self {
        Class(Cow::Borrowed(name))
    }
}

impl From<&io::Error> for Class {
    fn from(error: &io::Error) -> Self {
        Class::from("io").with(error.kind())
    }
}

/// A failure that knows its class. Its text goes to the log.
pub(crate) trait Classified: Display {
    fn class(&self) -> Class;

    /// What a call asked for that failed, such as `the list of namespaces`.
    fn asked(&self) -> Option<&str> {
        None
    }
}

/// A failure of which class and text are left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) class: Class,
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn of(error: &dyn Classified) -> Self {
        Failure { class: error.class(), reason: error.to_string() }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Classified for Failure {
    fn class(&self) -> Class {
        self.class.clone()
    }
}

/// When to log which class of failures.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    classes: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    class: Class,
    logged: Option<Instant>,
    /// How often it happened since it was logged.
    times: u64,
}

impl Throttle {
    /// It failed once more. If that is to be logged now: how often it has failed since it was logged last, this time included.
    pub(crate) fn due(&mut self, class: impl Into<Class>) -> Option<u64> {
        let now = Instant::now();
        let seen = self.of(class.into(), now);
        seen.times += 1;
        if seen.is_fresh(now) {
            return None;
        }
        seen.logged = Some(now);
        Some(mem::take(&mut seen.times))
    }

    fn of(&mut self, class: Class, now: Instant) -> &mut Seen {
        let place = |classes: &[Seen], class: &Class| classes.iter().position(|seen| seen.class == *class);
        if place(&self.classes, &class).is_none() && self.classes.len() >= CLASSES {
            self.classes.retain(|seen| seen.is_fresh(now));
        }
        let full = self.classes.len() >= CLASSES;
        let class = if full && place(&self.classes, &class).is_none() { Class::from("any other") } else { class };
        let at = place(&self.classes, &class).unwrap_or_else(|| {
            self.classes.push(Seen { class, logged: None, times: 0 });
            self.classes.len() - 1
        });
        &mut self.classes[at]
    }
}

impl Seen {
    fn is_fresh(&self, now: Instant) -> bool {
        self.logged.is_some_and(|logged| now - logged < EVERY)
    }
}

/// The log of one thing that may fail for long: its failures, and that it works again.
#[derive(Debug)]
pub(crate) struct Outage {
    what: &'static str,
    since: Option<Instant>,
    throttle: Throttle,
    /// Whether the log has this outage.
    logged: bool,
    /// Nothing waits for it: a warning will do.
    mild: bool,
    /// Several calls belong to `what`, and the one that failed is named.
    names_calls: bool,
    /// What the log named last, where it is not `what`.
    named: Option<String>,
}

impl Outage {
    /// An outage of `what`, which has not begun.
    pub(crate) fn new(what: &'static str) -> Self {
        Outage {
            what,
            since: None,
            throttle: Throttle::default(),
            logged: false,
            mild: false,
            names_calls: false,
            named: None,
        }
    }

    /// The same, where no record waits for `what`.
    pub(crate) fn mild(what: &'static str) -> Self {
        Outage { mild: true, ..Outage::new(what) }
    }

    /// The same, where `what` takes several calls: the one that failed is named in its place.
    pub(crate) fn of_calls(self) -> Self {
        Outage { names_calls: true, ..self }
    }

    /// It failed once more.
    pub(crate) fn log(&mut self, failure: &dyn Classified) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let Some(times) = self.throttle.due(failure.class()) else { return };
        self.logged = true;
        self.named = failure.asked().filter(|_| self.names_calls).map(|asked| format!("reading {asked}"));
        let (what, for_seconds) = (self.named.as_deref().unwrap_or(self.what), (now - since).as_secs());
        if self.mild {
            warn!(what, reason = %failure, times, for_seconds, "not working while standing by; trying again");
        } else {
            error!(what, reason = %failure, times, for_seconds, "not working; trying again");
        }
    }

    /// It works. What was logged a moment ago is not logged again should it fail at once.
    pub(crate) fn over(&mut self) {
        if let Some(since) = self.since.take()
            && mem::take(&mut self.logged)
        {
            let what = self.named.take();
            info!(
                what = what.as_deref().unwrap_or(self.what),
                after_seconds = since.elapsed().as_secs(),
                "working again"
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
