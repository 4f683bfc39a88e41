//! Makes records of lines of the event stream, as the program does.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use futures_util::future::BoxFuture;
use nomad_firehose::{
    checkpoint::Checkpoint,
    kind::Kind,
    lease::{Error, Lease, LeaseState, Progress},
    ledger::{Effect, Ledger},
    nomad::line::{Line, Occurrences, Text},
    position::RaftIndex,
    record::{Envelope, Record},
    resource::{self, Draft, Known},
};
use serde_json::Value;

/// A lease that is always held.
#[derive(Debug)]
struct Held;

impl Lease for Held {
    fn lease_state(&self) -> LeaseState {
        LeaseState::Held
    }

    fn lost(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Checkpoint>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn save<'a>(&'a self, _progress: &'a dyn Progress) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn release(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The summary that the recorded lists have of a job, at the end of its life.
fn summary_of(draft: &Draft) -> Option<Vec<u8>> {
    let lists = ["4-stopped", "3-drained", "2-busy"].map(|moment| {
        let text = std::fs::read(format!("tests/fixtures/nomad-2.0.5/rest/{moment}/jobs.json")).expect("recorded");
        let list: Value = serde_json::from_slice(&text).expect("JSON");
        list["body"].as_array().expect("a list").clone()
    });
    let is_it = |stub: &&Value| stub["ID"] == *draft.job && stub["Namespace"] == *draft.namespace;
    let found = lists.iter().find_map(|list| list.iter().find(is_it));
    found.map(|stub| stub["JobSummary"].to_string().into_bytes())
}

/// Keeps account of records. Each is a line of its own.
#[derive(Debug)]
pub(crate) struct Book(Arc<Ledger>);

impl Default for Book {
    fn default() -> Self {
        Book(Ledger::new(Arc::new(Held), Checkpoint::default()))
    }
}

impl Book {
    /// The records of these lines, in their order.
    pub(crate) fn records(&self, lines: &[String], kinds: &[Kind]) -> Vec<Record> {
        let cursors = RefCell::new(HashMap::new());
        let mut occurrences = Occurrences::default();
        let mut records = Vec::new();
        for line in lines {
            let text = Text::new(line.clone().into_bytes().into());
            let line = Line::parse(&text, &mut occurrences).expect("a line of the stream");
            for kind in kinds {
                for event in &line.events {
                    let cursor_of = |task| cursors.borrow().get(&task).copied();
                    let made = resource::from_event(*kind, event, Known::task_cursors(&cursor_of));
                    let made = made.expect("a recorded event");
                    cursors.borrow_mut().extend(made.task_cursors);
                    for mut draft in made.drafts {
                        if made.lacks_summary
                            && let Some(summary) = summary_of(&draft)
                        {
                            draft.body = resource::with_summary(&draft.body, &summary).expect("JSON");
                        }
                        records.push(self.record(*kind, draft, records.len()));
                    }
                }
            }
        }
        records
    }

    fn record(&self, kind: Kind, draft: Draft, number: usize) -> Record {
        let line = Some((RaftIndex(number as u64 + 1), Vec::new()));
        let ack = self.0.enter(Effect { stream: "*".into(), line, ..Effect::default() }, 1, None);
        let ack = ack.expect("there is a record to wait for");
        let Draft { id, key, namespace, job, node, index, body } = draft;
        let (group, time, envelope) = (None, None, Envelope::None);
        Record { kind, id, key, namespace, job, node, group, index, time, body, envelope, ack }
    }

    /// How many of the first records are acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        let index = self.0.stream("*").map_or(0, |stream| stream.position.index.0);
        usize::try_from(index).expect("a number of records")
    }
}
