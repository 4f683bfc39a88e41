//! What a record is about: the object in its body, and the IDs that it names.

use std::{borrow::Cow, sync::Arc};

use crate::{
    json::{Error, Scanner},
    kind::Kind,
    record::Record,
};

/// The object of a record.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    /// What it is. The records of `events` carry objects of all kinds.
    pub(super) kind: Kind,
    /// Its text.
    pub(super) text: &'a str,
    /// Whether the record says that the object is purged.
    pub(super) is_deleted: bool,
}

impl<'a> Subject<'a> {
    /// `None` if nothing can be looked up for the record: it is an event without an object of these kinds, or its body is
    /// not readable.
    pub(super) fn of(record: &'a Record) -> Option<Self> {
        let text = std::str::from_utf8(&record.body).ok()?;
        if record.kind == Kind::Events {
            return of_event(text).ok().flatten();
        }
        let is_deleted = member(text, "Deleted") == Some("true");
        Some(Subject { kind: record.kind, text, is_deleted })
    }

    /// The ID of the node that it names.
    pub(super) fn node_id(&self) -> Option<Cow<'a, str>> {
        let names_one = matches!(self.kind, Kind::Allocations | Kind::Evaluations);
        self.name(names_one, "NodeID")
    }

    /// The ID of the job that it names.
    pub(super) fn job_id(&self) -> Option<Cow<'a, str>> {
        let names_one = matches!(self.kind, Kind::Allocations | Kind::Evaluations | Kind::Deployments);
        self.name(names_one, "JobID")
    }

    fn name(&self, names_one: bool, member_name: &str) -> Option<Cow<'a, str>> {
        if !names_one {
            return None;
        }
        let id = Scanner::new(member(self.text, member_name)?).string().ok()?;
        // URL rules turn the path of these IDs into another one.
        (!matches!(&*id, "" | "." | "..")).then_some(id)
    }
}

/// The namespace of the record's object. A Nomad without namespaces writes none.
pub(super) fn namespace(record: &Record) -> Arc<str> {
    match &*record.namespace {
        "" => Arc::from("default"),
        _ => record.namespace.clone(),
    }
}

fn of_event(text: &str) -> Result<Option<Subject<'_>>, Error> {
    let (mut topic, mut payload) = (Cow::Borrowed(""), "null");
    let mut scanner = Scanner::new(text);
    scanner.object()?;
    while let Some(name) = scanner.name()? {
        match name {
            "Topic" => topic = scanner.string()?,
            "Payload" => payload = scanner.skip()?,
            _ => drop(scanner.skip()?),
        }
    }
    let kind = match &*topic {
        "Allocation" => Kind::Allocations,
        "Evaluation" => Kind::Evaluations,
        "Deployment" => Kind::Deployments,
        "Job" => Kind::Jobs,
        _ => return Ok(None),
    };
    let is_deleted = member(payload, "Deleted") == Some("true");
    Ok(member(payload, &topic).map(|text| Subject { kind, text, is_deleted }))
}

/// The text of a member of an object.
pub(super) fn member<'a>(object: &'a str, wanted: &str) -> Option<&'a str> {
    let mut scanner = Scanner::new(object);
    scanner.object().ok()?;
    while let Some(name) = scanner.name().ok()? {
        let value = scanner.skip().ok()?;
        if name == wanted {
            return Some(value);
        }
    }
    None
}
