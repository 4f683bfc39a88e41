use std::{
    io,
    sync::{Arc, Mutex},
};

use serde_json::{Map, Value};

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
    for (format, keys) in
        [(LogFormat::Json, ["time", "level", "msg"]), (LogFormat::SeatgeekJson, ["@timestamp", "@level", "@message"])]
    {
        let line = logged(format, Level::INFO, ended);
        let object: Map<String, Value> = serde_json::from_str(&line).expect("one object a line");
        assert_eq!((&object[keys[1]], &object[keys[2]]), (&"warning".into(), &"stream ended".into()));
        assert_eq!((&object["kind"], &object["attempt"], &object["known"]), (&"nodes".into(), &3.into(), &true.into()));
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
