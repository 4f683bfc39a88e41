//! The log: one line for each event, on stderr.

mod fields;
mod keep;
mod line;

#[cfg(test)]
mod tests;

use std::{
    io::IsTerminal as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use tracing::{Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Registry,
    filter::Targets,
    fmt::{MakeWriter, format::JsonFields},
    layer::{Layer as _, SubscriberExt as _},
    registry::LookupSpan,
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

pub use self::fields::name_thread;
use self::{keep::Keep, line::Lines};
use super::Journal;

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is logged.
    pub level: Level,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, message, fields.
    Text,
    /// One JSON object a line, with `time`, `level` and `msg`.
    Json,
    /// The same with `@timestamp`, `@level` and `@message`.
    SeatgeekJson,
}

/// A log target, and the most that is ever logged of it.
type Limit = (&'static str, LevelFilter);

/// Logs to stderr from now on, in colour if stderr is a terminal and `NO_COLOR` is unset. `limits` names log targets, each with
/// the most that is ever logged of it.
///
/// # Errors
/// The process already logs elsewhere.
pub fn init(log: Log, limits: impl IntoIterator<Item = Limit>) -> Result<(), TryInitError> {
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (subscriber, dial) = subscriber(log, limits, std::io::stderr, colour);
    subscriber.with(kept(Journal::of_process(), &dial.limits)).try_init()?;
    // Only the first log of a process can be set up.
    DIAL.set(dial).ok();
    Ok(())
}

/// Logs this much, and like this, from now on. Before [`init`] it does nothing.
pub fn change(log: Log) {
    if let Some(dial) = DIAL.get() {
        dial.turn(log);
    }
}

/// What changes the log of this process.
static DIAL: OnceLock<Dial> = OnceLock::new();

/// Changes a log that is in use.
struct Dial {
    limits: Vec<Limit>,
    targets: reload::Handle<Targets, Registry>,
    format: Arc<AtomicU8>,
}

impl Dial {
    fn turn(&self, log: Log) {
        self.format.store(log.format as u8, Ordering::Relaxed);
        if let Err(error) = self.targets.reload(targets(log.level, &self.limits)) {
            tracing::debug!(%error, "log level not changed");
        }
    }
}

fn targets(level: Level, limits: &[Limit]) -> Targets {
    // Of libraries only warnings are logged, unless the level is trace.
    let others = if level == Level::TRACE { Level::TRACE } else { level.min(Level::WARN) };
    Targets::new()
        .with_default(others)
        .with_target("nomad_firehose", level)
        .with_targets(limits.iter().map(|(target, most)| (*target, (*most).min(LevelFilter::from_level(level)))))
}

fn subscriber<W>(
    log: Log,
    limits: impl IntoIterator<Item = Limit>,
    writer: W,
    colour: bool,
) -> (impl Subscriber + Send + Sync + for<'a> LookupSpan<'a>, Dial)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let limits: Vec<Limit> = limits.into_iter().collect();
    let (filter, handle) = reload::Layer::new(targets(log.level, &limits));
    let format = Arc::new(AtomicU8::new(log.format as u8));
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(colour)
        .fmt_fields(JsonFields::new())
        .event_format(Lines(Arc::clone(&format)))
        .with_writer(writer)
        // The library would report a closed stderr on that same stderr, and panic.
        .log_internal_errors(false);
    (tracing_subscriber::registry().with(layer.with_filter(filter)), Dial { limits, targets: handle, format })
}

/// The layer that keeps events in `journal`, whatever the level of the log. What must not be logged must not be kept.
fn kept<S: Subscriber + for<'a> LookupSpan<'a>>(
    journal: Journal,
    limits: &[Limit],
) -> impl tracing_subscriber::Layer<S> {
    Keep(journal).with_filter(targets(Level::INFO, limits))
}
