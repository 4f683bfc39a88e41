//! One line about a record, for people: who, what, where, and how bad it is.
//!
//! `tail`, the status page and messages share these words. Everything here is pure, and works on any body: what cannot
//! be read gets a line that says so. No value of an environment variable or of a template is ever shown: they can hold
//! secrets.

mod change;
mod event;
mod objects;
mod placement;
mod task;
mod time;
mod tone;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde_json::Value;

pub use self::tone::Tone;
use self::words::{Parts, said};
pub(crate) use self::{placement::unplaced, task::event as task_event, words::text};
use crate::kind::Kind;

/// The most bytes of a subject.
const SUBJECT: usize = 240;
/// The most bytes of a text.
const TEXT: usize = 600;
/// The most bytes of a place.
const PLACE: usize = 120;

/// One line about a record. Its texts are bounded, and have no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Headline {
    /// When it happened (RFC 3339, UTC), if the body says so.
    pub time: Option<String>,
    /// Who: `web/api 3f2a81c0 nginx`, `node node-7`, `job web`.
    pub subject: String,
    /// What: `Terminated  exit 137  OOM killed`. Two blanks stand between its parts.
    pub text: String,
    /// The node where it happened.
    pub place: Option<String>,
    /// How bad it is.
    pub tone: Tone,
}

impl Headline {
    /// The line for a record of this kind. The record of an allocation has the ID of its node only: see [`Headline::on`].
    pub fn of(kind: Kind, body: &[u8]) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            let line = Headline::plain(kind, &format!("{} bytes that are no JSON", body.len()));
            return Headline { tone: Tone::Warning, ..line };
        };
        Headline::of_value(kind, &body)
    }

    /// The same for a body that is read already.
    pub(crate) fn of_value(kind: Kind, body: &Value) -> Self {
        let known = match kind {
            Kind::Allocations => task::headline(body),
            Kind::Nodes => objects::node(body),
            Kind::Evaluations => objects::evaluation(body),
            Kind::Jobs | Kind::JobListStubs => objects::job(body),
            Kind::Deployments => objects::deployment(body),
            Kind::Events => event::headline(body),
        };
        let line = known.unwrap_or_else(|| Headline::plain(kind, &unknown(body)));
        Headline { time: time::of(kind, body), tone: Tone::of(kind, body), ..line }
    }

    /// The same line with the name of its node. An empty name changes nothing.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        let node = said(node, PLACE);
        if !node.is_empty() {
            self.place = Some(node);
        }
        self
    }

    /// A line without a time and a place, and of no special tone.
    fn new(subject: &Parts, text: &Parts) -> Self {
        let (subject, text) = (subject.joined(" ", SUBJECT), text.joined("  ", TEXT));
        Headline { time: None, subject, text, place: None, tone: Tone::Notice }
    }

    fn plain(kind: Kind, text: &str) -> Self {
        Headline::new(&Parts::of([kind.name()]), &Parts::of([text]))
    }
}

/// What a body says that is of no known form, such as the output of a program. Values of objects stay hidden, because
/// nothing is known of them.
fn unknown(body: &Value) -> String {
    match body {
        Value::Object(members) => match text(body, "text") {
            Some(text) => text.to_owned(),
            None => {
                let names: Vec<_> = members.keys().take(12).map(String::as_str).collect();
                format!("an object with {}", if names.is_empty() { "no members".to_owned() } else { names.join(", ") })
            }
        },
        Value::Array(elements) => format!("a list of {}", elements.len()),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl fmt::Display for Headline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(time) = &self.time {
            write!(f, "{time} ")?;
        }
        write!(f, "{}  {}", self.subject, self.text)?;
        match &self.place {
            Some(place) => write!(f, "  on {place}"),
            None => Ok(()),
        }
    }
}
