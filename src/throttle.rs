//! Throttles log lines about repeated failures: a new class of failures is logged at once, and each class once a minute after that,
//! with the number of failures since.
//!
//! A failure's [`Class`] decides, never its text: texts carry ports, request ids and durations, so that each try would log another
//! line.

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
/// The most classes within that time. All further ones share one class: a far side that invents a new code for each answer fills
/// neither memory nor the log.
const CLASSES: usize = 32;

/// The class of a failure. Nothing that changes from try to try belongs in it, so that there are few of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class(Cow<'static, str>);

impl Class {
    /// A class within this one, such as that of an HTTP status or an error code.
    #[must_use]
    pub(crate) fn with(self, detail: impl Display) -> Self {
        Class(Cow::Owned(format!("{} {detail}", self.0)))
    }

    /// The class of a failure that has only a text, as those of sinks do: its words without digits in them, because ports, ids, times
    /// and durations have some. A number that can be an HTTP status is kept.
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

    /// What the failed call asked for, such as `the list of namespaces`.
    fn asked(&self) -> Option<&str> {
        None
    }
}

/// The class and the text of a failure, without the error itself.
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
    /// Failures since it was logged.
    times: u64,
}

impl Throttle {
    /// Counts a failure. If it should be logged now, returns the number of failures since the last log line, this one included.
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

/// The log of one operation that can fail for long: its failures, and its recovery.
#[derive(Debug)]
pub(crate) struct Outage {
    operation: &'static str,
    since: Option<Instant>,
    throttle: Throttle,
    /// Whether this outage was logged.
    logged: bool,
    /// Whether a warning is enough, because no record waits for the operation.
    mild: bool,
    /// Whether the operation consists of several calls, so that the log names the one that failed.
    names_calls: bool,
    /// The call that was logged last, if it was named in place of the operation.
    named: Option<String>,
}

impl Outage {
    /// The log of `operation`, which works so far.
    pub(crate) fn new(operation: &'static str) -> Self {
        Outage {
            operation,
            since: None,
            throttle: Throttle::default(),
            logged: false,
            mild: false,
            names_calls: false,
            named: None,
        }
    }

    /// The same for an operation that no record waits for.
    pub(crate) fn mild(operation: &'static str) -> Self {
        Outage { mild: true, ..Outage::new(operation) }
    }

    /// The same for an operation of several calls: the log names the call that failed.
    pub(crate) fn of_calls(self) -> Self {
        Outage { names_calls: true, ..self }
    }

    /// Counts a failure, and logs it if its class was not logged within the last minute.
    pub(crate) fn log(&mut self, failure: &dyn Classified) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let Some(times) = self.throttle.due(failure.class()) else { return };
        self.logged = true;
        self.named = failure.asked().filter(|_| self.names_calls).map(|asked| format!("reading {asked}"));
        let (what, for_seconds) = (self.named.as_deref().unwrap_or(self.operation), (now - since).as_secs());
        if self.mild {
            warn!(what, reason = %failure, times, for_seconds, "standby operation failing");
        } else {
            error!(what, reason = %failure, times, for_seconds, "operation failing");
        }
    }

    /// Notes that the operation works, and logs its recovery if the outage was logged. If it fails again within the minute, the same
    /// class is not logged again.
    pub(crate) fn over(&mut self) {
        if let Some(since) = self.since.take()
            && mem::take(&mut self.logged)
        {
            let named = self.named.take();
            let what = named.as_deref().unwrap_or(self.operation);
            info!(what, after_seconds = since.elapsed().as_secs(), "operation recovered");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
