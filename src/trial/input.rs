//! From lines to records: the bodies that the firehose prints, its envelopes, dead letters, and lines of the event stream.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::{
    dead_letter::read::StoredLetter,
    json::{Error, Scanner},
    kind::Kind,
    nomad::line::{Line, Occurrences, Text},
    position::RaftIndex,
    resource::{self, Draft, Known},
    task_cursors::{TaskCursor, TaskKey},
};

/// A record without its ack handle.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) draft: Draft,
}

/// Reads lines, in order.
pub(super) struct Reading {
    kinds: Vec<Kind>,
    occurrences: Occurrences,
    /// So that each task event of a recorded stream is one record, as in a run.
    task_cursors: HashMap<TaskKey, TaskCursor>,
    number: usize,
}

/// The members of an object, as they are written.
type Members<'a> = BTreeMap<&'a str, &'a str>;

impl Reading {
    /// A reader for a pipeline of these kinds; none means any.
    pub(super) fn new(kinds: &[Kind]) -> Self {
        let kinds = if kinds.is_empty() { Kind::ALL.to_vec() } else { kinds.to_vec() };
        Reading { kinds, occurrences: Occurrences::default(), task_cursors: HashMap::new(), number: 0 }
    }

    /// The number of the last line.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The records of a line; none for an empty one, or for a line of the stream that has nothing for the pipeline.
    pub(super) fn line(&mut self, line: &Bytes) -> Result<Vec<Found>, String> {
        self.number += 1;
        let line = line.slice_ref(line.trim_ascii());
        if line.is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_slice::<IgnoredAny>(&line).map_err(|error| format!("not JSON: {error}"))?;
        let text = std::str::from_utf8(&line).map_err(|error| error.to_string())?;
        let members = members(text).unwrap_or_default();
        let has = |names: &[&str]| names.iter().all(|name| members.contains_key(name));
        if has(&["Events"]) || text == "{}" {
            return self.of_stream(&line);
        }
        if has(&["kind", "sink", "reason", "attempts"]) {
            return of_letter(&line);
        }
        if has(&["kind", "record"]) {
            let kind: String = serde_json::from_str(members["kind"]).map_err(|error| error.to_string())?;
            let kind = kind.parse::<Kind>().map_err(|_| format!("{kind:?} is no kind"))?;
            return Ok(vec![self.of_body(kind, &line.slice_ref(members["record"].as_bytes()))]);
        }
        let kind = match &self.kinds[..] {
            [only] => *only,
            kinds => guessed(&members)
                .filter(|kind| kinds.contains(kind))
                .ok_or("its kind is unclear; name the one kind that these records are of with --resources")?,
        };
        Ok(vec![self.of_body(kind, &line)])
    }

    /// The records of a line of the event stream.
    pub(super) fn of_stream(&mut self, line: &Bytes) -> Result<Vec<Found>, String> {
        let text = Text::new(line.clone());
        if line.trim_ascii() == b"{}" {
            return Ok(Vec::new());
        }
        let line = Line::parse(&text, &mut self.occurrences).map_err(|error| error.to_string())?;
        let mut found = Vec::new();
        for event in &line.events {
            for kind in self.kinds.clone() {
                let known = |task| self.task_cursors.get(&task).copied();
                let made =
                    resource::from_event(kind, event, Known::task_cursors(&known)).map_err(|it| it.to_string())?;
                self.task_cursors.extend(made.task_cursors);
                found.extend(made.drafts.into_iter().map(|draft| Found { kind, draft }));
            }
        }
        Ok(found)
    }

    /// The record with this body.
    pub(super) fn of_body(&self, kind: Kind, body: &Bytes) -> Found {
        let draft = match kind {
            Kind::Allocations => of_task_event(body),
            Kind::Events => of_event(body),
            _ => of_object(kind, body),
        };
        let anything = || {
            let id = format!("{kind}/line-{}", self.number);
            Draft { body: body.clone(), ..draft_of(&id, "", "") }
        };
        Found { kind, draft: draft.unwrap_or_else(anything) }
    }
}

fn members(text: &str) -> Result<Members<'_>, Error> {
    let mut members = Members::new();
    let mut scanner = Scanner::new(text);
    scanner.object()?;
    while let Some(name) = scanner.name()? {
        members.insert(name, scanner.skip()?);
    }
    Ok(members)
}

/// The kind of a body, by the members that only this kind has.
fn guessed(members: &Members<'_>) -> Option<Kind> {
    const MARKS: [(Kind, &[&str]); 7] = [
        (Kind::Allocations, &["AllocationID", "TaskEvent"]),
        (Kind::Events, &["Topic", "Payload"]),
        (Kind::JobListStubs, &["JobSummary", "ID"]),
        (Kind::Deployments, &["TaskGroups", "JobVersion", "ID"]),
        (Kind::Jobs, &["TaskGroups", "Datacenters", "ID"]),
        (Kind::Evaluations, &["TriggeredBy", "ID"]),
        (Kind::Nodes, &["NodeResources", "ID"]),
    ];
    let is_it = |marks: &[&str]| marks.iter().all(|mark| members.contains_key(mark));
    MARKS.iter().find(|(_, marks)| is_it(marks)).map(|(kind, _)| *kind)
}

fn of_letter(line: &Bytes) -> Result<Vec<Found>, String> {
    let letter: StoredLetter = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    // An input that no record could be made of has none here either.
    let Ok(kind) = letter.kind.parse::<Kind>() else { return Ok(Vec::new()) };
    let body = letter.message().ok_or("the dead letter has no body")?;
    let draft = Draft {
        id: letter.id.into(),
        key: letter.key.into(),
        namespace: letter.namespace.into(),
        job: letter.job.into(),
        node: Arc::from(""),
        index: RaftIndex::default(),
        body,
    };
    Ok(vec![Found { kind, draft }])
}

fn of_object(kind: Kind, body: &Bytes) -> Option<Draft> {
    let made = resource::from_object(kind, body, Known::task_cursors(&|_| None)).ok()?;
    made.drafts.into_iter().next()
}

fn of_event(body: &Bytes) -> Option<Draft> {
    let line = [br#"{"Index":0,"Events":["#, &body[..], b"]}"].concat();
    let text = Text::new(line.into());
    let line = Line::parse(&text, &mut Occurrences::default()).ok()?;
    let made = resource::from_event(Kind::Events, line.events.first()?, Known::task_cursors(&|_| None)).ok()?;
    made.drafts.into_iter().next()
}

/// The body of an allocation's record names neither the namespace nor the node.
fn of_task_event(body: &Bytes) -> Option<Draft> {
    let members = members(std::str::from_utf8(body).ok()?).ok()?;
    let text = |name: &str| serde_json::from_str::<String>(members.get(name)?).ok();
    let (allocation, task) = (text("AllocationID")?, text("TaskName").unwrap_or_default());
    let id = format!("allocations/{allocation}/{task}");
    Some(Draft { body: body.clone(), ..draft_of(&id, &allocation, &text("JobID").unwrap_or_default()) })
}

fn draft_of(id: &str, key: &str, job: &str) -> Draft {
    Draft {
        id: id.into(),
        key: key.into(),
        namespace: Arc::from(if key.is_empty() { "" } else { "default" }),
        job: job.into(),
        node: Arc::from(""),
        index: RaftIndex::default(),
        body: Bytes::new(),
    }
}
