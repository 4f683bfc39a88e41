//! Texts from records, made short and safe.

use std::time::Duration;

use serde_json::Value;

use crate::redact::shown;

/// The most bytes of a name.
pub(super) const NAME: usize = 80;
/// The most bytes of a sentence of Nomad or of a driver.
pub(super) const SENTENCE: usize = 400;
/// The length of a short ID, as Nomad's own command line prints it.
const SHORT: usize = 8;

/// A text that is there, and is not empty.
pub(crate) fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object[name].as_str().filter(|text| !text.is_empty())
}

/// A text from outside on one line: without secrets, without control characters, in at most `most` bytes.
pub(super) fn said(text: &str, most: usize) -> String {
    shown(text, most)
}

/// A member that is a name; empty if there is none.
pub(super) fn name(object: &Value, member: &str) -> String {
    text(object, member).map(|text| said(text, NAME)).unwrap_or_default()
}

/// A member that is a sentence; empty if there is none.
pub(super) fn sentence(object: &Value, member: &str) -> String {
    text(object, member).map(|text| said(text, SENTENCE)).unwrap_or_default()
}

/// The start of an ID. Only a UUID is cut, for other IDs are names.
pub(super) fn short(object: &Value, member: &str) -> String {
    let id = name(object, member);
    let is_uuid = id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if is_uuid { id[..SHORT].to_owned() } else { id }
}

/// `1 node`, `2 nodes`.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A duration of Nomad, in nanoseconds, no more exact than people need.
pub(super) fn duration(nanoseconds: u64) -> String {
    let exact = Duration::from_nanos(nanoseconds);
    let rounded = match exact {
        _ if exact < Duration::from_secs(1) => Duration::from_millis(u64::from(exact.subsec_millis())),
        _ => Duration::from_secs(exact.as_secs() + u64::from(exact.subsec_millis() >= 500)),
    };
    humantime::format_duration(rounded).to_string()
}

/// The parts of a text; empty ones are left out.
#[derive(Debug, Default)]
pub(super) struct Parts(Vec<String>);

impl Parts {
    pub(super) fn of<P: Into<String>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut all = Parts::default();
        parts.into_iter().for_each(|part| all.push(part));
        all
    }

    pub(super) fn push(&mut self, part: impl Into<String>) {
        let part = part.into();
        if !part.is_empty() {
            self.0.push(part);
        }
    }

    /// The parts in one text of at most `most` bytes.
    pub(super) fn joined(&self, between: &str, most: usize) -> String {
        said(&self.0.join(between), most)
    }
}
