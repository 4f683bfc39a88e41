//! What is known about a record beside its body: for programs, for rules, and for envelopes.
//!
//! The time is read from the body, without parsing the rest of it. Nomad stores it in a different field of each kind:
//!
//! | kind | field |
//! |---|---|
//! | `allocations` | `TaskEvent.Time` |
//! | `evaluations`, `deployments` | `ModifyTime` (deployments have it since Nomad 1.9) |
//! | `jobs`, `jobliststubs` | `SubmitTime`: Nomad keeps no time of a job's change of status, nor of its purge |
//! | `nodes` | the newest of `StatusUpdatedAt`, `Events[].Timestamp`, `LastDrain.UpdatedAt` |
//! | `events` | the field of the payload's object; for topics without a kind, `ModifyTime` or else `CreateTime` |

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Serialize, Serializer};

use crate::{
    json::{Error, Scanner},
    kind::Kind,
    record::{Record, Time},
};

/// The cluster that records come from, as the configuration names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The label of the cluster.
    pub cluster: Option<Arc<str>>,
    /// Nomad's region.
    pub region: Option<Arc<str>>,
}

/// What is known about a record. As JSON an unknown value is `null`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Meta<'a> {
    /// The resource: `allocations`, `nodes` …
    #[serde(serialize_with = "name")]
    pub kind: Kind,
    /// The record's id.
    pub id: &'a str,
    /// The namespace of the object.
    pub namespace: Option<&'a str>,
    /// The job that the record belongs to.
    pub job: Option<&'a str>,
    /// The name of the node that the record belongs to.
    pub node: Option<&'a str>,
    /// The raft index of the version that the record was made of.
    pub index: u64,
    /// The label of the cluster.
    pub cluster: Option<&'a str>,
    /// Nomad's region.
    pub region: Option<&'a str>,
    /// When it happened.
    pub time: Option<Time>,
}

impl<'a> Meta<'a> {
    /// What is known about `record`.
    pub fn of(record: &'a Record, origin: &'a Origin) -> Self {
        Meta {
            kind: record.kind,
            id: &record.id,
            namespace: known(&record.namespace),
            job: known(&record.job),
            node: known(&record.node),
            index: record.index.0,
            cluster: origin.cluster.as_deref(),
            region: origin.region.as_deref(),
            time: time(record),
        }
    }
}

fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn name<S: Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, with nanoseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_nanos(self.nanoseconds());
        humantime::format_rfc3339_nanos(time).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// When the event of the record happened; `None` where its body does not say it.
///
/// A stage that replaces the body stores the time in the record before.
pub fn time(record: &Record) -> Option<Time> {
    record.time.or_else(|| of_body(record.kind, &record.body))
}

fn of_body(kind: Kind, body: &[u8]) -> Option<Time> {
    let mut scanner = Scanner::new(std::str::from_utf8(body).ok()?);
    // A body that is damaged behind the time still has a time.
    let found = match kind {
        Kind::Events => of_event(&mut scanner),
        kind => of_object(kind.topic().unwrap_or_default(), &mut scanner),
    };
    found.ok().flatten()
}

/// The time of an event, which is in the object that its payload has under the name of the topic, or else first.
fn of_event(scanner: &mut Scanner<'_>) -> Result<Option<Time>, Error> {
    let (mut topic, mut payload) = (None, None);
    scanner.object()?;
    while let Some(name) = scanner.name()? {
        match name {
            "Topic" => topic = Some(scanner.string()?),
            "Payload" => payload = Some(scanner.skip()?),
            _ => drop(scanner.skip()?),
        }
    }
    let (Some(topic), Some(payload)) = (topic, payload) else { return Ok(None) };
    let mut payload = Scanner::new(payload);
    let mut first = None;
    payload.object()?;
    while let Some(name) = payload.name()? {
        let object = payload.skip()?;
        if name == topic {
            return of_object(&topic, &mut Scanner::new(object));
        }
        if first.is_none() && object.starts_with('{') {
            first = Some(object);
        }
    }
    first.map_or(Ok(None), |object| of_object(&topic, &mut Scanner::new(object)))
}

/// The time of an object of a topic, or of a task event's record.
fn of_object(topic: &str, scanner: &mut Scanner<'_>) -> Result<Option<Time>, Error> {
    let mut created = None;
    let mut newest = None;
    scanner.object()?;
    while let Some(name) = scanner.name()? {
        match (topic, name) {
            ("Allocation", "TaskEvent") => return task_event(scanner),
            ("Job", "SubmitTime") => return value(scanner),
            ("Node", "StatusUpdatedAt") => newest = newest.max(seconds(scanner.skip()?)),
            ("Node", "Events") => newest = newest.max(node_events(scanner)?),
            ("Node", "LastDrain") => newest = newest.max(field("UpdatedAt", scanner)?),
            ("Job" | "Node", _) => drop(scanner.skip()?),
            (_, "ModifyTime") => match value(scanner)? {
                None => {}
                found => return Ok(found),
            },
            ("Allocation" | "Evaluation" | "Deployment", _) => drop(scanner.skip()?),
            (_, "CreateTime") => created = value(scanner)?,
            _ => drop(scanner.skip()?),
        }
    }
    Ok(newest.or(created))
}

fn task_event(scanner: &mut Scanner<'_>) -> Result<Option<Time>, Error> {
    field("Time", scanner)
}

/// The newest event of a node. Nomad keeps ten.
fn node_events(scanner: &mut Scanner<'_>) -> Result<Option<Time>, Error> {
    let mut newest = None;
    if scanner.array_or_null()? {
        while scanner.element()? {
            newest = newest.max(field("Timestamp", scanner)?);
        }
    }
    Ok(newest)
}

/// The time in a field of the object that comes next.
fn field(wanted: &str, scanner: &mut Scanner<'_>) -> Result<Option<Time>, Error> {
    let mut found = None;
    if scanner.object_or_null()? {
        while let Some(name) = scanner.name()? {
            if name == wanted {
                found = value(scanner)?;
            } else {
                scanner.skip()?;
            }
        }
    }
    Ok(found)
}

/// A time as Nomad writes it: nanoseconds since 1970, or a text as of RFC 3339.
fn value(scanner: &mut Scanner<'_>) -> Result<Option<Time>, Error> {
    let text = scanner.skip()?;
    Ok(match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(text) => rfc3339(text),
        None => text.parse().ok().and_then(Time::new),
    })
}

fn seconds(text: &str) -> Option<Time> {
    let seconds: u64 = text.parse().ok()?;
    Time::new(seconds.checked_mul(1_000_000_000)?)
}

/// Go writes the offset of its time zone where that is not UTC.
fn rfc3339(text: &str) -> Option<Time> {
    let (local, sign, offset) = match text.len().checked_sub("+00:00".len()).and_then(|at| text.split_at_checked(at)) {
        Some((local, offset)) if offset.starts_with(['+', '-']) => (local, &offset[..1], &offset[1..]),
        _ => (text.strip_suffix('Z')?, "+", "00:00"),
    };
    let (hours, minutes) = offset.split_once(':')?;
    let offset = Duration::from_secs(hours.parse::<u64>().ok()? * 3600 + minutes.parse::<u64>().ok()? * 60);
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let time = if sign == "+" { local.checked_sub(offset) } else { local.checked_add(offset) };
    since_1970(time?)
}

fn since_1970(time: SystemTime) -> Option<Time> {
    Time::new(u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()?)
}

#[cfg(test)]
mod tests;
