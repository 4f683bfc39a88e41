//! What a resource is doing, in one word and a reason: derived from the facets of its [`Status`](super::Status).

use std::{cmp::Reverse, collections::BTreeMap, fmt};

use super::facets::{Cause, Duty, Facets, Inner, Leadership, ListState, SinkState, SourceState};
use crate::redact::{LINE, shown};

/// What a resource is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The coordinator was not asked for the lease yet.
    Starting,
    /// Another replica leads; this one is ready to take over.
    Standby,
    /// This replica holds the lease, and Nomad has not answered yet.
    Connecting,
    /// This replica holds the lease, and delivers records as they arrive.
    Leading {
        /// A remark for a person, such as a list that takes long.
        note: Option<String>,
    },
    /// This replica holds the lease, and reads lists because there is no event stream.
    Polling {
        /// Why there is no stream, for a person.
        note: Option<String>,
    },
    /// This replica could not take over, or it leads and delivers nothing: Nomad cannot be reached, or the sink rejects a record.
    Blocked {
        /// Why, and what to do about it.
        reason: String,
    },
    /// The resource has stopped.
    Stopped,
}

impl Phase {
    /// Whether the resource is ready. A standby is: otherwise a rolling deployment of replicas could not finish.
    pub fn is_ready(&self) -> bool {
        matches!(self, Phase::Standby | Phase::Leading { .. } | Phase::Polling { .. })
    }

    /// The same, made safe to show: the texts can come from outside.
    pub(super) fn shown(self) -> Phase {
        let note = |note: Option<String>| note.map(|note| shown(note, LINE));
        match self {
            Phase::Leading { note: text } => Phase::Leading { note: note(text) },
            Phase::Polling { note: text } => Phase::Polling { note: note(text) },
            Phase::Blocked { reason } => Phase::Blocked { reason: shown(reason, LINE) },
            plain => plain,
        }
    }

    /// The phase in one word, which monitoring can compare.
    pub fn word(&self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Standby => "standby",
            Phase::Connecting => "connecting",
            Phase::Leading { .. } => "leader",
            Phase::Polling { .. } => "polling",
            Phase::Blocked { .. } => "blocked",
            Phase::Stopped => "stopped",
        }
    }

    /// The remark or the reason that belongs to it.
    pub fn text(&self) -> Option<&str> {
        match self {
            Phase::Leading { note } | Phase::Polling { note } => note.as_deref(),
            Phase::Blocked { reason } => Some(reason),
            Phase::Starting | Phase::Standby | Phase::Connecting | Phase::Stopped => None,
        }
    }

    /// The phase, and what has to be fixed while it is [`Phase::Blocked`].
    pub(super) fn of(facets: &Facets, all: &Inner) -> (Phase, Vec<Cause>) {
        let faults = match &facets.lease {
            Leadership::Starting => return (Phase::Starting, Vec::new()),
            Leadership::Stopped => return (Phase::Stopped, Vec::new()),
            Leadership::Blocked { reason } => vec![(Cause::Lease, reason.clone())],
            // Trouble with a standby's own stream only slows a take-over, so it does not count.
            Leadership::Standby => {
                let mut faults = all.faults_of(&[Duty::Session, Duty::Watch]);
                faults.extend(facets.barred.clone().map(|reason| (Cause::Lease, reason)));
                faults
            }
            Leadership::Leading => faults_of_leader(facets, all),
        };
        let (mut causes, texts): (Vec<_>, Vec<_>) = faults.into_iter().unzip();
        causes.dedup();
        let phase = match joined(texts) {
            Some(reason) => Phase::Blocked { reason },
            None if facets.lease == Leadership::Standby => Phase::Standby,
            None => Phase::of_leader(facets),
        };
        (phase, causes)
    }

    /// The phase of a leader without a fault.
    fn of_leader(facets: &Facets) -> Phase {
        let (source, list) = (source_of(facets), list_of(facets));
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

impl Facets {
    /// How the resource is read, in a word of the metrics: that of the worst namespace. `None` while another replica leads.
    pub(super) fn source(&self) -> Option<&'static str> {
        if self.lease != Leadership::Leading {
            return None;
        }
        Some(match source_of(self) {
            SourceState::Connecting => "connecting",
            SourceState::Streaming => "streaming",
            SourceState::Polling { .. } => "polling",
            SourceState::Blocked { .. } => "blocked",
        })
    }
}

/// The worst state of the streams.
fn source_of(facets: &Facets) -> SourceState {
    let source = worst(&facets.sources, |state| match state {
        SourceState::Streaming => 0,
        SourceState::Polling { .. } => 1,
        SourceState::Connecting => 2,
        SourceState::Blocked { .. } => 3,
    });
    source.unwrap_or_default()
}

/// The worst state of the lists.
fn list_of(facets: &Facets) -> ListState {
    let list = worst(&facets.lists, |state| match state {
        ListState::Fine => 0,
        ListState::Slow { .. } => 1,
        ListState::Failing { .. } => 2,
    });
    list.unwrap_or_default()
}

/// Why a leader delivers nothing.
fn faults_of_leader(facets: &Facets, all: &Inner) -> Vec<(Cause, String)> {
    let mut faults = all.faults_of(&[Duty::Renewal]);
    let sink = match &all.sink {
        SinkState::Flowing => None,
        SinkState::Retrying { reason } => Some((Cause::Sink, format!("the sink fails, delivery is retried: {reason}"))),
        SinkState::Held { reason } => Some((
            Cause::Rejected,
            format!("the sink rejected a record: {reason}; fix the cause, or set NOMAD_FIREHOSE_DEAD_LETTER=file:PATH"),
        )),
        // The fault of the renewal says why.
        SinkState::Suspended if !faults.is_empty() => None,
        SinkState::Suspended => {
            Some((Cause::Lease, "the lease was not renewed in time, delivery is paused: see the log".to_owned()))
        }
    };
    if let SourceState::Blocked { reason } = source_of(facets) {
        faults.push((Cause::Nomad, reason));
    }
    if let ListState::Failing { reason } = list_of(facets) {
        faults.push((Cause::Nomad, format!("cannot read a list from Nomad: {reason}")));
    }
    let program = all.program.iter().chain(all.lookups.values());
    faults.extend(program.map(|reason| (Cause::Program, reason.clone())));
    faults.extend(sink);
    faults
}

impl Inner {
    fn faults_of(&self, duties: &[Duty]) -> Vec<(Cause, String)> {
        duties.iter().filter_map(|duty| Some((Cause::Lease, self.faults.get(duty)?.clone()))).collect()
    }
}

/// A state with a text that can name the namespace.
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

/// The worst of the states, the first of equals. Its text names its namespace if there are several.
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
            Phase::Connecting => ("leader, connecting to Nomad", None),
            Phase::Leading { note } => ("leader", note.as_ref()),
            Phase::Polling { note } => ("leader, polling", note.as_ref()),
            Phase::Blocked { reason } => ("blocked", Some(reason)),
            Phase::Stopped => ("stopped", None),
        };
        match text {
            Some(text) => write!(f, "{phase}: {text}"),
            None => f.write_str(phase),
        }
    }
}
