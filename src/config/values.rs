//! The texts of single settings: each becomes a value, or what is wrong with it and how to mend it.

use std::net::{Ipv4Addr, SocketAddr};

use crate::{
    dead_letter::Place,
    nomad::Topic,
    position::RaftIndex,
    source::{Source, Start},
    telemetry::LogFormat,
};

pub(super) fn topic(text: &str) -> Result<Topic, &'static str> {
    let (name, key) = text.split_once(':').map_or((text, None), |(name, key)| (name, Some(key)));
    if name.is_empty() || key == Some("") {
        return Err("write TOPIC or TOPIC:KEY, such as Job or Job:web");
    }
    // Nomad's own rule (`parseTopic`): it answers 400 to a second colon, in any spelling.
    if key.is_some_and(|key| key.contains(':')) {
        return Err(
            "Nomad takes one colon only, between topic and key; choose a key without a colon, or the whole topic",
        );
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a topic is one word, such as Job");
    }
    Ok(Topic { name: name.to_owned(), key: key.filter(|key| *key != "*").map(str::to_owned) })
}

/// A folder whose keys Consul takes unchanged. Consul cleans paths, and a cleaned path is another key.
pub(super) fn folder(text: &str) -> Result<String, &'static str> {
    // The original program removes one, too. It would keep a second one in its keys, and we would take another lock.
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.is_empty() {
        return Err("the folder has no name; write one such as nomad-firehose");
    }
    if text.split('/').any(|part| matches!(part, "" | "." | "..")) || text.chars().any(char::is_control) {
        return Err("write names with one / between them: not at the start, not two together, and no . or ..");
    }
    Ok(text.to_owned())
}

/// The name of a namespace, by Nomad's own rule (`validNamespaceName`).
pub(super) fn namespace_name(text: &str) -> Result<String, &'static str> {
    let is_valid = text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_valid.then(|| text.to_owned()).ok_or("not the name of a namespace; use letters, digits and - only")
}

/// A folder of Nomad's Variables (`structs/variables.go`: letters, digits, `-`, `_`, `~` and `/`, 128 bytes in all), with room for a pipeline
/// and for what is below it. Below `nomad/`, only `nomad/jobs/` is free for programs.
pub(super) fn variables(text: &str) -> Result<String, String> {
    const LONGEST: usize = 48;
    let text = folder(text)?;
    let is_of_variables = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '~' | '/');
    if let Some(wrong) = text.chars().find(|c| !is_of_variables(*c)) {
        return Err(format!("paths of Variables have no {wrong:?}; write letters, digits, -, _, ~ and /"));
    }
    if text.len() > LONGEST {
        return Err(format!("it has {} bytes; write at most {LONGEST}, so that paths below it fit", text.len()));
    }
    if (text == "nomad" || text.starts_with("nomad/")) && !text.starts_with("nomad/jobs/") {
        return Err(
            "below nomad/, programs may only write nomad/jobs/JOB; choose that, or a folder such as nomad-firehose"
                .to_owned(),
        );
    }
    Ok(text)
}

pub(super) fn source(text: &str) -> Result<Source, &'static str> {
    match text {
        "auto" => Ok(Source::Auto),
        "stream" => Ok(Source::Stream),
        "poll" => Ok(Source::Poll),
        _ => Err("write auto, stream, or poll"),
    }
}

pub(super) fn start(text: &str) -> Result<Start, &'static str> {
    match text {
        "all" | "0" => Ok(Start::All),
        "now" => Ok(Start::Now),
        text => match text.parse() {
            Ok(index) => Ok(Start::Index(RaftIndex(index))),
            Err(_) => Err("write all, now, or a raft index such as 4711"),
        },
    }
}

pub(super) fn dead_letter(text: &str) -> Result<Place, &'static str> {
    text.parse().map_err(|_| "write stop, log, or file:PATH")
}

pub(super) fn label(text: &str) -> Result<String, &'static str> {
    if text.len() > 255 || text.chars().any(char::is_control) {
        return Err("a label has at most 255 bytes and no control characters");
    }
    Ok(text.to_owned())
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    let fix = "write an address and a port, such as 127.0.0.1:9090, [::1]:9090, or :9090 for every address";
    match text.strip_prefix(':') {
        Some(port) => port.parse().map(|port: u16| (Ipv4Addr::UNSPECIFIED, port).into()).map_err(|_| fix),
        None => text.parse().map_err(|_| fix),
    }
}

pub(super) fn level(text: &str) -> Result<tracing::Level, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Ok(tracing::Level::TRACE),
        "debug" => Ok(tracing::Level::DEBUG),
        "info" => Ok(tracing::Level::INFO),
        "warn" | "warning" => Ok(tracing::Level::WARN),
        "error" | "fatal" | "panic" => Ok(tracing::Level::ERROR),
        _ => Err("no such level; choose trace, debug, info, warn or error"),
    }
}

pub(super) fn format(text: &str) -> Result<LogFormat, &'static str> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        "seatgeek-json" => Ok(LogFormat::SeatgeekJson),
        "gelf" => Err("the program does not write GELF; choose json, and let the log shipper convert it"),
        _ => Err("no such format; choose text, json or seatgeek-json"),
    }
}
