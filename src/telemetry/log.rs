//! The log: one line for each event, on stderr.

mod keep;

use std::{
    cell::RefCell,
    fmt,
    io::IsTerminal as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use serde::Serializer as _;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Registry,
    filter::Targets,
    fmt::{
        FmtContext, FormatEvent, FormattedFields, MakeWriter,
        format::{JsonFields, Writer},
        time::{FormatTime as _, SystemTime},
    },
    layer::{Layer as _, SubscriberExt as _},
    registry::{LookupSpan, Scope},
    reload,
    util::{SubscriberInitExt as _, TryInitError},
};

use self::keep::Keep;
use super::Journal;
use crate::redact::{LINE, shown};

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

thread_local! {
    static PIPELINE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Adds the field `pipeline` to whatever this thread logs from now on. Each pipeline has threads of its own.
pub fn name_thread(pipeline: &Arc<str>) {
    PIPELINE.set(Some(Arc::clone(pipeline)));
}

const JSON: u8 = LogFormat::Json as u8;
const SEATGEEK_JSON: u8 = LogFormat::SeatgeekJson as u8;

/// Holds a [`LogFormat`].
struct Lines(Arc<AtomicU8>);

impl<S> FormatEvent<S, JsonFields> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let fields = gathered(event, context.event_scope());
        let level = *event.metadata().level();
        match self.0.load(Ordering::Relaxed) {
            JSON => json(&mut writer, ["time", "level", "msg"], level, fields),
            SEATGEEK_JSON => json(&mut writer, ["@timestamp", "@level", "@message"], level, fields),
            _ => text(&mut writer, level, &fields),
        }
    }
}

/// The message and the fields of an event: those of its thread, of its spans, and its own.
fn gathered<S>(event: &Event<'_>, scope: Option<Scope<'_, S>>) -> Fields
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let mut fields = Fields::default();
    if let Some(pipeline) = PIPELINE.with_borrow(Clone::clone) {
        fields.set("pipeline", Value::String(pipeline.as_ref().to_owned()));
    }
    for span in scope.into_iter().flat_map(|scope| scope.from_root()) {
        let extensions = span.extensions();
        let formatted = extensions.get::<FormattedFields<JsonFields>>();
        let parsed = formatted.and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
        parsed.unwrap_or_default().into_iter().for_each(|(name, value)| fields.set(&name, value));
    }
    event.record(&mut fields);
    fields
}

/// `2026-11-21T03:00:00.123Z WARN  stream ended  kind=nodes after=3s`
fn text(writer: &mut Writer<'_>, level: Level, fields: &Fields) -> fmt::Result {
    let colours = writer.has_ansi_escapes();
    let (name, colour) = match level {
        Level::ERROR => ("ERROR", "31"),
        Level::WARN => ("WARN ", "33"),
        Level::INFO => ("INFO ", "32"),
        Level::DEBUG => ("DEBUG", "34"),
        Level::TRACE => ("TRACE", "35"),
    };
    match colours {
        true => write!(writer, "\x1b[2m{}\x1b[0m \x1b[{colour}m{name}\x1b[0m ", now())?,
        false => write!(writer, "{} {name} ", now())?,
    }
    writer.write_str(&fields.message)?;
    for (index, (key, value)) in fields.rest.iter().enumerate() {
        writer.write_str(if index == 0 { "  " } else { " " })?;
        match colours {
            true => write!(writer, "\x1b[2m{key}=\x1b[0m")?,
            false => write!(writer, "{key}=")?,
        }
        match value {
            Value::String(text) if is_bare(text) => writer.write_str(text)?,
            Value::String(text) => write!(writer, "{text:?}")?,
            other => write!(writer, "{other}")?,
        }
    }
    writer.write_char('\n')
}

fn json(writer: &mut Writer<'_>, keys: [&str; 3], level: Level, fields: Fields) -> fmt::Result {
    // The original's level names, so that programs that read its logs can read these.
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    let head = keys.into_iter().zip([now().into(), level.into(), fields.message.into()]);
    let rest = fields.rest.iter().filter(|(name, _)| !keys.contains(&name.as_str()));
    let all = head.chain(rest.map(|(name, value)| (name.as_str(), value.clone())));
    let mut line = Vec::new();
    serde_json::Serializer::new(&mut line).collect_map(all).map_err(|_| fmt::Error)?;
    writeln!(writer, "{}", String::from_utf8_lossy(&line))
}

/// The time in UTC, with milliseconds.
fn now() -> String {
    let mut text = String::new();
    if SystemTime.format_time(&mut Writer::new(&mut text)).is_err() {
        return "-".to_owned();
    }
    if let Some(point) = text.find('.') {
        text.truncate((point + 4).min(text.len()));
        text.push('Z');
    }
    text
}

/// Whether a text can be a field value without quotes.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !matches!(c, '"' | '=' | '\\'))
}

#[derive(Default)]
struct Fields {
    message: String,
    /// In the order in which they were recorded, those of the outermost span first.
    rest: Vec<(String, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = shown(text, LINE),
            (name, value) => self.set(name, value),
        }
    }

    /// Sets a field to a value that is safe to show. This is the last line of defence, should a caller have forgotten it.
    fn set(&mut self, name: &str, mut value: Value) {
        if let Value::String(text) = &mut value {
            *text = shown(&*text, LINE);
        }
        match self.rest.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.rest.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        // `Display` leaves out the causes, which are often what an operator needs.
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        self.put(field, text.into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use super::*;

    const LIMITS: [(&str, LevelFilter); 2] = [("loud::part", LevelFilter::OFF), ("chatty", LevelFilter::WARN)];

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic holds it").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: Level, action: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, _) = subscriber(Log { level, format }, LIMITS, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, action);
        let bytes = buffer.0.lock().expect("no panic holds it").clone();
        String::from_utf8(bytes).expect("log lines are UTF-8")
    }

    fn ended() {
        let span = tracing::info_span!("lead", kind = "nodes");
        let _guard = span.enter();
        let source = io::Error::other("reset\nby peer");
        let error: &(dyn std::error::Error + 'static) = &source;
        tracing::warn!(error, attempt = 3, url = %"http://a:1", known = true, "stream ended");
    }

    #[test]
    fn text_is_time_level_message_fields() {
        let line = logged(LogFormat::Text, Level::INFO, ended);
        let (time, rest) = line.split_once(' ').expect("a time first");
        assert_eq!((time.len(), &time[10..11], &time[23..]), (24, "T", "Z"));
        let expected = r#"WARN  stream ended  kind=nodes error="reset by peer" attempt=3 url=http://a:1 known=true"#;
        assert_eq!(rest.trim_end(), expected);
        assert_eq!(line.matches('\n').count(), 1);
    }

    #[test]
    fn json_has_the_keys_of_the_original() {
        for (format, keys) in [
            (LogFormat::Json, ["time", "level", "msg"]),
            (LogFormat::SeatgeekJson, ["@timestamp", "@level", "@message"]),
        ] {
            let line = logged(format, Level::INFO, ended);
            let object: Map<String, Value> = serde_json::from_str(&line).expect("one object a line");
            assert_eq!((&object[keys[1]], &object[keys[2]]), (&"warning".into(), &"stream ended".into()));
            assert_eq!(
                (&object["kind"], &object["attempt"], &object["known"]),
                (&"nodes".into(), &3.into(), &true.into())
            );
            assert!(object.contains_key(keys[0]) && object["error"] == "reset by peer");
        }
    }

    #[test]
    fn a_message_from_elsewhere_stays_on_its_line() {
        let line = logged(LogFormat::Text, Level::INFO, || {
            tracing::info!("{}", "a\nb\x1b[31m");
            tracing::info!(text = "x\x1b[31m y", "c");
        });
        assert_eq!(line.lines().count(), 2, "{line:?}");
        assert!(!line.contains('\x1b'), "{line:?}");
    }

    #[test]
    fn no_log_line_commands_a_terminal_or_turns_its_text_around() {
        let outside = "a\u{1b}[2J\u{202e}b\u{2028}c\u{9b}31m\u{2066}\u{85}d";
        for format in [LogFormat::Text, LogFormat::Json, LogFormat::SeatgeekJson] {
            let line = logged(format, Level::INFO, || {
                tracing::info!(reason = outside, long = "x".repeat(1 << 20), "{outside}");
            });
            let line = line.trim_end();
            assert!(crate::redact::is_plain(line) && line.len() < 8 << 10, "{line:.500}");
        }
    }

    #[test]
    fn the_level_holds_and_libraries_only_warn() {
        let lines = logged(LogFormat::Text, Level::INFO, || {
            tracing::debug!("hidden");
            tracing::info!("shown");
            tracing::info!(target: "hyper", "hidden");
            tracing::warn!(target: "hyper", "shown");
            tracing::warn!(target: "loud::part::more", "hidden");
            tracing::warn!(target: "chatty", "shown");
            tracing::info!(target: "chatty", "hidden");
        });
        assert_eq!((lines.matches("shown").count(), lines.matches("hidden").count()), (3, 0), "{lines}");
        let lines = logged(LogFormat::Text, Level::ERROR, || {
            tracing::warn!("hidden");
            tracing::warn!(target: "hyper", "hidden");
        });
        assert_eq!(lines, "");
    }

    #[test]
    fn the_journal_keeps_leases_gaps_and_trouble_whatever_is_logged() {
        let journal = Journal::default();
        let log = Log { level: Level::ERROR, format: LogFormat::Text };
        let (subscriber, dial) = subscriber(log, LIMITS, io::sink, false);
        let subscriber = subscriber.with(kept(journal.clone(), &dial.limits));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(checkpoint = "none", "became leader");
            tracing::info!("backfill finished");
            tracing::error!(kind = "jobs", from = 502, until = 901, "gap detected");
            tracing::warn!(kind = "nodes", reason = "x\u{202e}y", "event stream broke");
            tracing::debug!("lease lost");
            tracing::warn!(target: "loud::part::more", "with a secret");
        });
        let events = |list: Vec<Arc<crate::telemetry::journal::Noted>>| {
            list.iter().map(|noted| noted.event.clone()).collect::<Vec<_>>()
        };
        assert_eq!(events(journal.leases()), ["became leader"]);
        assert_eq!(events(journal.gaps()), ["gap detected"]);
        assert_eq!(events(journal.troubles()), ["gap detected", "event stream broke"]);
        let last = journal.last(None, crate::kind::Kind::Nodes).expect("the stream broke");
        assert_eq!((last.event.as_str(), last.field("reason")), ("event stream broke", Some("x\u{fffd}y")));
        assert!(last.is_about(crate::kind::Kind::Nodes));
        assert!(journal.last(None, crate::kind::Kind::Events).is_none());
    }

    #[test]
    fn level_and_format_change_while_it_is_in_use() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let log = Log { level: Level::WARN, format: LogFormat::Text };
        let (subscriber, dial) = subscriber(log, LIMITS, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            // The same call each time: what it means is cached.
            let say = |level: &str| tracing::debug!(level, "said");
            say("warn");
            dial.turn(Log { level: Level::DEBUG, format: LogFormat::Json });
            say("debug");
            tracing::info!(target: "hyper", "hidden");
            tracing::warn!(target: "loud::part", "hidden");
            dial.turn(log);
            say("warn again");
            tracing::warn!("text");
        });
        let bytes = buffer.0.lock().expect("no panic holds it").clone();
        let text = String::from_utf8(bytes).expect("log lines are UTF-8");
        let [json, plain] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(json.starts_with('{') && json.contains(r#""level":"debug""#), "{json}");
        assert!(plain.ends_with("WARN  text"), "{plain}");
    }

    #[test]
    fn a_writer_that_is_gone_is_borne() {
        struct Gone;
        impl io::Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let log = Log { level: Level::INFO, format: LogFormat::Text };
        tracing::subscriber::with_default(subscriber(log, [], || Gone, false).0, ended);
    }
}
