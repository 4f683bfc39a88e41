//! The phase of a resource, as it is shown: derived from the facets of its [`Status`](super::Status).

use std::{cmp::Reverse, collections::BTreeMap, fmt};

use super::status::{Duty, Facets, Inner, Leadership, ListState, SinkState, SourceState};
use crate::redact::{LINE, shown};

/// What a resource is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has not come to anything yet.
    Starting,
    /// It waits for the lease, ready to take over.
    Standby,
    /// It holds the lease, and Nomad has not answered yet.
    Connecting,
    /// It holds the lease, and records flow as they come.
    Leading {
        /// What is worth knowing, for a person.
        note: Option<String>,
    },
    /// It holds the lease, and records come from lists: there is no event stream.
    Polling {
        /// Why, for a person.
        note: Option<String>,
    },
    /// It cannot stand by, or holds the lease and nothing flows: Nomad cannot be reached, the sink refuses a record.
    Blocked {
        /// Why, for a person.
        reason: String,
    },
    /// It has ended.
    Stopped,
}

impl Phase {
    /// A standby is ready too: a deployment of replicas has to be able to finish.
    pub fn is_ready(&self) -> bool {
        matches!(self, Phase::Standby | Phase::Leading { .. } | Phase::Polling { .. })
    }

    /// The same as it may be shown: a far side can have said anything.
    pub(super) fn shown(self) -> Phase {
        let note = |note: Option<String>| note.map(|note| shown(note, LINE));
        match self {
            Phase::Leading { note: text } => Phase::Leading { note: note(text) },
            Phase::Polling { note: text } => Phase::Polling { note: note(text) },
            Phase::Blocked { reason } => Phase::Blocked { reason: shown(reason, LINE) },
            plain => plain,
        }
    }

    pub(super) fn of(facets: &Facets, all: &Inner) -> Phase {
        match &facets.lease {
            Leadership::Starting => Phase::Starting,
            Leadership::Stopped => Phase::Stopped,
            Leadership::Blocked { reason } => Phase::Blocked { reason: reason.clone() },
            // Its own stream is held ready only: trouble there costs a take-over time, and nothing else.
            Leadership::Standby => {
                let mut faults = all.faults_of(&[Duty::Session, Duty::Watch]);
                faults.extend(facets.barred.clone());
                joined(faults).map_or(Phase::Standby, |reason| Phase::Blocked { reason })
            }
            Leadership::Leading => Phase::of_leader(facets, all),
        }
    }

    fn of_leader(facets: &Facets, all: &Inner) -> Phase {
        let renewal = all.faults_of(&[Duty::Renewal]);
        let source = worst(&facets.sources, |state| match state {
            SourceState::Streaming => 0,
            SourceState::Polling { .. } => 1,
            SourceState::Connecting => 2,
            SourceState::Blocked { .. } => 3,
        });
        let list = worst(&facets.lists, |state| match state {
            ListState::Fine => 0,
            ListState::Slow { .. } => 1,
            ListState::Failing { .. } => 2,
        });
        let (source, list) = (source.unwrap_or_default(), list.unwrap_or_default());

        let sink = match &all.sink {
            SinkState::Flowing => None,
            SinkState::Retrying { reason } => Some(format!("the sink does not take what it is sent: {reason}")),
            SinkState::Held { reason } => Some(format!("the sink rejected a record: {reason}")),
            // Whoever could not renew it says why.
            SinkState::Suspended if !renewal.is_empty() => None,
            SinkState::Suspended => Some("the lease could not be renewed; see the log".to_owned()),
        };
        let mut faults = renewal;
        if let SourceState::Blocked { reason } = &source {
            faults.push(reason.clone());
        }
        if let ListState::Failing { reason } = &list {
            faults.push(format!("a list cannot be read: {reason}"));
        }
        faults.extend(sink);
        if let Some(reason) = joined(faults) {
            return Phase::Blocked { reason };
        }

        let slow = match list {
            ListState::Slow { text } => Some(text),
            ListState::Fine | ListState::Failing { .. } => None,
        };
        match source {
            SourceState::Polling { reason } => {
                Phase::Polling { note: joined(reason.into_iter().chain(slow).collect()) }
            }
            SourceState::Streaming => Phase::Leading { note: slow },
            SourceState::Connecting | SourceState::Blocked { .. } => Phase::Connecting,
        }
    }
}

impl Inner {
    fn faults_of(&self, duties: &[Duty]) -> Vec<String> {
        duties.iter().filter_map(|duty| self.faults.get(duty).cloned()).collect()
    }
}

/// A state that names the namespace in its text.
trait Located {
    fn text(&mut self) -> Option<&mut String>;
}

impl Located for SourceState {
    fn text(&mut self) -> Option<&mut String> {
        match self {
            SourceState::Blocked { reason } => Some(reason),
            SourceState::Polling { reason } => reason.as_mut(),
            SourceState::Connecting | SourceState::Streaming => None,
        }
    }
}

impl Located for ListState {
    fn text(&mut self) -> Option<&mut String> {
        match self {
            ListState::Slow { text: reason } | ListState::Failing { reason } => Some(reason),
            ListState::Fine => None,
        }
    }
}

/// The first of the worst states; with its namespace in its text, where there are several.
fn worst<State: Located + Clone>(states: &BTreeMap<String, State>, badness: impl Fn(&State) -> u8) -> Option<State> {
    let (namespace, worst) = states.iter().min_by_key(|(_, state)| Reverse(badness(state)))?;
    let mut worst = worst.clone();
    if states.len() > 1
        && let Some(text) = worst.text()
    {
        *text = format!("namespace {namespace}: {text}");
    }
    Some(worst)
}

fn joined(texts: Vec<String>) -> Option<String> {
    (!texts.is_empty()).then(|| texts.join("; "))
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (phase, text) = match self {
            Phase::Starting => ("starting", None),
            Phase::Standby => ("standby", None),
            Phase::Connecting => ("leading, connecting to nomad", None),
            Phase::Leading { note } => ("leading", note.as_ref()),
            Phase::Polling { note } => ("leading, by polling", note.as_ref()),
            Phase::Blocked { reason } => ("blocked", Some(reason)),
            Phase::Stopped => ("stopped", None),
        };
        match text {
            Some(text) => write!(f, "{phase}: {text}"),
            None => f.write_str(phase),
        }
    }
}
