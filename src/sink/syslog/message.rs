//! A record as a message of syslog.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use jiff::Zoned;

use super::{Format, Framing, Settings};
use crate::record::Record;

/// The name of the structured data. The number is the one for which no enterprise is registered (RFC 5612): it means nothing
/// outside of this program.
const STRUCTURED_DATA: &str = "nomad@32473";

/// The message for this record.
pub(super) fn message(settings: &Settings, record: &Record) -> Vec<u8> {
    let mut head = match settings.format {
        Format::Rfc5424 => rfc5424(settings, record),
        Format::Rfc3164 => rfc3164(settings),
    }
    .into_bytes();
    head.extend_from_slice(&record.body);
    head
}

/// `<PRI>1 TIME HOST APP PID MSGID [DATA] BODY` (RFC 5424, section 6). The body is JSON in UTF-8, without the mark that the RFC wants
/// before such a text: receivers keep the mark, and no parser of JSON takes it.
fn rfc5424(settings: &Settings, record: &Record) -> String {
    let Settings { priority, tag, hostname, cluster, .. } = settings;
    let Record { kind, id, key, namespace, job, .. } = record;
    let time = humantime::format_rfc3339_micros(SystemTime::now().max(UNIX_EPOCH));
    let (process, kind) = (std::process::id(), kind.name());
    let mut text = format!("<{priority}>1 {time} {hostname} {tag} {process} {kind} [{STRUCTURED_DATA}");
    let cluster = cluster.as_deref().unwrap_or_default();
    for (name, value) in
        [("id", &**id), ("kind", kind), ("key", key), ("namespace", namespace), ("job", job), ("cluster", cluster)]
    {
        if !value.is_empty() {
            write!(text, " {name}=\"{}\"", escaped(value)).expect("a string");
        }
    }
    text + "] "
}

/// `<PRI>TIME TAG[PID]: BODY`, as the C library writes to the local logger, which knows the machine's name.
fn rfc3164(settings: &Settings) -> String {
    let Settings { priority, tag, hostname, is_local, .. } = settings;
    let time = Zoned::now().strftime("%b %e %H:%M:%S").to_string();
    let process = std::process::id();
    if *is_local {
        return format!("<{priority}>{time} {tag}[{process}]: ");
    }
    format!("<{priority}>{time} {hostname} {tag}[{process}]: ")
}

/// As RFC 5424, section 6.3.3, has it. Line breaks, which would end a message among lines, become blanks.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' | '\\' | ']' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Appends the message to what is written to a stream.
pub(super) fn frame(framing: Framing, message: &[u8], out: &mut Vec<u8>) {
    if framing == Framing::Octets {
        out.extend_from_slice(format!("{} ", message.len()).as_bytes());
    }
    out.extend_from_slice(message);
    if framing == Framing::Lines {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a receiver reads of an escaped value that begins here, and how much it takes for it.
    fn read(text: &str) -> (String, usize) {
        let (mut value, mut chars) = (String::new(), text.char_indices());
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                '"' => return (value, at),
                c => value.push(c),
            }
        }
        panic!("it does not end");
    }

    proptest! {
        #[test]
        fn any_value_comes_back_and_ends_where_it_ends(value in "(\\PC|[\"\\\\\\]\\[= ]){0,20}") {
            let text = format!("{}\"] rest", escaped(&value));
            prop_assert_eq!(read(&text), (value, text.len() - 7));
        }

        #[test]
        fn frames_are_told_apart(messages in prop::collection::vec("[^\n]{1,30}", 0..5)) {
            let mut octets = Vec::new();
            messages.iter().for_each(|message| frame(Framing::Octets, message.as_bytes(), &mut octets));
            let mut rest = octets.as_slice();
            for message in &messages {
                let blank = rest.iter().position(|byte| *byte == b' ').expect("a length");
                let length: usize = std::str::from_utf8(&rest[..blank]).expect("digits").parse().expect("a number");
                prop_assert_eq!(&rest[blank + 1..blank + 1 + length], message.as_bytes());
                rest = &rest[blank + 1 + length..];
            }
            prop_assert!(rest.is_empty());
        }
    }
}
