//! How a line of the log looks.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use serde::Serializer as _;
use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent,
        format::{JsonFields, Writer},
        time::{FormatTime as _, SystemTime},
    },
    registry::LookupSpan,
};

use super::{
    LogFormat,
    fields::{Fields, gathered},
};

const JSON: u8 = LogFormat::Json as u8;
const SEATGEEK_JSON: u8 = LogFormat::SeatgeekJson as u8;

/// Holds a [`LogFormat`].
pub(super) struct Lines(pub(super) Arc<AtomicU8>);

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
