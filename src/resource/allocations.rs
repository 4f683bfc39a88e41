//! Allocations: one record for each new task event, in the original program's shape.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Draft, Known, LegacyProgress, Made, Unusable,
    object::{Payload, whole},
    task_events::{Events, KEPT, New, TaskEvent, unescaped},
};
use crate::{
    json::Scanner,
    nomad::line::Event,
    position::RaftIndex,
    task_cursors::{EventHash, TaskCursor, TaskKey},
};

/// The allocation of an event, or the stub of a list: both have these fields under these names. Texts are kept as they
/// came, with their quotes.
struct Allocation<'a> {
    id: &'a str,
    namespace: &'a str,
    name: &'a str,
    node_id: &'a str,
    node_name: &'a str,
    eval_id: &'a str,
    job_id: &'a str,
    task_group: &'a str,
    desired_status: &'a str,
    desired_description: &'a str,
    client_status: &'a str,
    client_description: &'a str,
    modify_index: u64,
    task_states: &'a str,
}

impl<'a> Allocation<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Result<Self, Unusable> {
        const NONE: &str = r#""""#;
        let (mut id, mut modify_index) = (None, None);
        let mut allocation = Allocation {
            id: NONE,
            namespace: NONE,
            name: NONE,
            node_id: NONE,
            node_name: NONE,
            eval_id: NONE,
            job_id: NONE,
            task_group: NONE,
            desired_status: NONE,
            desired_description: NONE,
            client_status: NONE,
            client_description: NONE,
            modify_index: 0,
            task_states: "null",
        };
        scanner.object()?;
        while let Some(name) = scanner.name()? {
            let field = match name {
                "ID" => {
                    id = Some(scanner.quoted()?);
                    continue;
                }
                "ModifyIndex" => {
                    modify_index = Some(scanner.number()?);
                    continue;
                }
                "TaskStates" => {
                    allocation.task_states = scanner.skip()?;
                    continue;
                }
                "Namespace" => &mut allocation.namespace,
                "Name" => &mut allocation.name,
                "NodeID" => &mut allocation.node_id,
                "NodeName" => &mut allocation.node_name,
                "EvalID" => &mut allocation.eval_id,
                "JobID" => &mut allocation.job_id,
                "TaskGroup" => &mut allocation.task_group,
                "DesiredStatus" => &mut allocation.desired_status,
                "DesiredDescription" => &mut allocation.desired_description,
                "ClientStatus" => &mut allocation.client_status,
                "ClientDescription" => &mut allocation.client_description,
                _ => {
                    scanner.skip()?;
                    continue;
                }
            };
            *field = scanner.quoted()?;
        }
        allocation.id = id.ok_or_else(|| Unusable::new("the allocation has no ID"))?;
        allocation.modify_index = modify_index.ok_or_else(|| Unusable::new("the allocation has no ModifyIndex"))?;
        Ok(allocation)
    }
}

struct TaskState<'a> {
    state: &'a str,
    failed: bool,
    started_at: &'a str,
    finished_at: &'a str,
    events: Events<'a>,
}

impl<'a> TaskState<'a> {
    /// Reads a task's state; `None` for `null`. See [`Events::read`] for `known`.
    fn read(scanner: &mut Scanner<'a>, known: bool) -> Result<Option<Self>, Unusable> {
        /// Where Nomad wrote no time, Go's zero time.
        const NEVER: &str = r#""0001-01-01T00:00:00Z""#;
        let events = Events::Raw(Vec::new());
        let mut state = TaskState { state: r#""""#, failed: false, started_at: NEVER, finished_at: NEVER, events };
        if !scanner.object_or_null()? {
            return Ok(None);
        }
        while let Some(name) = scanner.name()? {
            match name {
                "State" => state.state = scanner.quoted()?,
                "Failed" => state.failed = scanner.boolean()?,
                "StartedAt" => state.started_at = given(scanner.skip()?, NEVER),
                "FinishedAt" => state.finished_at = given(scanner.skip()?, NEVER),
                "Events" => state.events = Events::read(scanner, known)?,
                _ => drop(scanner.skip()?),
            }
        }
        Ok(Some(state))
    }
}

fn given<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text == "null" { otherwise } else { text }
}

/// The records of an event of the topic `Allocation`.
///
/// # Errors
/// The payload is no allocation.
pub(super) fn from_event(event: &Event<'_>, known: Known<'_>) -> Result<Made, Unusable> {
    made(&Payload::of(event, Allocation::read)?.object, Some(event.index), known)
}

/// The records of an allocation from a list. A known event without a task cursor is not sent, but sets its cursor.
///
/// # Errors
/// The object is no allocation.
pub(super) fn from_object(object: &[u8], known: Known<'_>) -> Result<Made, Unusable> {
    made(&whole(object, Allocation::read)?, None, known)
}

fn made(allocation: &Allocation<'_>, index: Option<RaftIndex>, known: Known<'_>) -> Result<Made, Unusable> {
    let mut made = Made::default();
    let mut scanner = Scanner::new(allocation.task_states);
    if !scanner.object_or_null()? {
        return Ok(made);
    }
    let id = Scanner::new(allocation.id).string()?;
    let version = index.unwrap_or(RaftIndex(allocation.modify_index));
    let whose = Whose {
        key: Arc::from(&*id),
        namespace: Scanner::new(allocation.namespace).string()?.into(),
        job: Scanner::new(allocation.job_id).string()?.into(),
        node: Scanner::new(allocation.node_name).string()?.into(),
        index: version,
    };
    let finished = matches!(&*Scanner::new(allocation.client_status).string()?, "complete" | "failed" | "lost");
    while let Some(task) = scanner.name()? {
        let name = unescaped(task)?;
        let key = TaskKey::new(&id, &name);
        let task_cursor = (known.task_cursor)(key);
        let Some(mut state) = TaskState::read(&mut scanner, task_cursor.is_some())? else { continue };
        if task_cursor.is_some_and(|task_cursor| version < task_cursor.index()) {
            continue;
        }
        let new = std::mem::replace(&mut state.events, Events::Raw(Vec::new()))
            .after(task_cursor.map(|task_cursor| task_cursor.event))?;
        let legacy = known.legacy.among(version, &new);
        made.overruns += u32::from(known.legacy.is_overrun(version, &new, task_cursor.is_some()) && legacy == 0);
        for event in new.events.iter().skip(legacy) {
            made.value = made.value.max(u64::try_from(event.time).ok());
            let body = &new.bodies[event.body.clone()];
            made.drafts.push(draft(allocation, &whose, (task, &name), &state, (event.hash, body)));
        }
        if let Some(last) = new.last
            && (!new.events.is_empty() || task_cursor.is_some_and(|task_cursor| task_cursor.is_finished() != finished))
        {
            made.task_cursors.push((key, TaskCursor::new(last, version, finished)));
        }
    }
    Ok(made)
}

impl LegacyProgress {
    /// How many of a task's new events are known; they are the first ones.
    fn among(self, version: RaftIndex, new: &New) -> usize {
        match self {
            LegacyProgress::Before { time, until } if version <= until => {
                // A time before 1970 counts as no time.
                let is_undelivered = |event: &TaskEvent| u64::try_from(event.time).is_ok_and(|at| at >= time);
                new.events.iter().position(is_undelivered).unwrap_or(new.events.len())
            }
            LegacyProgress::Nothing | LegacyProgress::Before { .. } => 0,
            LegacyProgress::All => new.events.len(),
        }
    }

    /// Whether events can be missing before the new ones: the last delivered event is gone from the list, or none of
    /// the ten is one that the original program had delivered.
    fn is_overrun(self, version: RaftIndex, new: &New, marked: bool) -> bool {
        let unknown =
            || matches!(self, LegacyProgress::Before { until, .. } if version <= until) && new.events.len() >= KEPT;
        new.overrun || !marked && unknown()
    }
}

/// What all records of an allocation have in common.
#[derive(Clone)]
struct Whose {
    key: Arc<str>,
    namespace: Arc<str>,
    job: Arc<str>,
    node: Arc<str>,
    index: RaftIndex,
}

/// The record of the original program: these fields, in this order.
fn draft(
    allocation: &Allocation<'_>,
    whose: &Whose,
    (raw_task, task): (&str, &str),
    state: &TaskState<'_>,
    (hash, event): (EventHash, &str),
) -> Draft {
    let fields = [
        ("{\"Name\":", allocation.name),
        (",\"NodeID\":", allocation.node_id),
        (",\"AllocationID\":", allocation.id),
        (",\"DesiredStatus\":", allocation.desired_status),
        (",\"DesiredDescription\":", allocation.desired_description),
        (",\"ClientStatus\":", allocation.client_status),
        (",\"ClientDescription\":", allocation.client_description),
        (",\"JobID\":", allocation.job_id),
        (",\"GroupName\":", allocation.task_group),
        (",\"TaskName\":\"", raw_task),
        ("\",\"EvalID\":", allocation.eval_id),
        (",\"TaskState\":", state.state),
        (",\"TaskFailed\":", if state.failed { "true" } else { "false" }),
        (",\"TaskStartedAt\":", state.started_at),
        (",\"TaskFinishedAt\":", state.finished_at),
        (",\"TaskEvent\":", event),
    ];
    let length: usize = fields.iter().map(|(name, text)| name.len() + text.len()).sum();
    let mut body = String::with_capacity(length + 1);
    for (name, text) in fields {
        body.push_str(name);
        body.push_str(text);
    }
    body.push('}');
    let Whose { key, namespace, job, node, index } = whose.clone();
    let id = format!("allocations/{key}/{task}/{:016x}", hash.0).into();
    Draft { id, key, namespace, job, node, index, body: Bytes::from(body) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: RaftIndex = RaftIndex(50);
    const TOLD: LegacyProgress = LegacyProgress::Before { time: 100, until: UNTIL };

    /// An allocation at `index` whose one task had events at these times.
    fn made(index: u64, times: &[i64], task_cursor: Option<TaskCursor>, legacy: LegacyProgress) -> (Vec<i64>, Made) {
        let events: Vec<_> = times.iter().map(|time| serde_json::json!({"Type": "T", "Time": time})).collect();
        let object = serde_json::json!({"ID": "a", "ModifyIndex": index, "TaskStates": {"t": {"Events": events}}});
        let task_cursor = |_| task_cursor;
        let known = Known::task_cursors(&task_cursor).and(legacy);
        let made = from_object(object.to_string().as_bytes(), known).expect("an allocation");
        let bodies = made.drafts.iter().map(|draft| serde_json::from_slice(&draft.body).expect("just written"));
        let sent = bodies.map(|body: serde_json::Value| body["TaskEvent"]["Time"].as_i64().expect("a time"));
        (sent.collect(), made)
    }

    fn sent(index: u64, times: &[i64], task_cursor: Option<TaskCursor>, legacy: LegacyProgress) -> Vec<i64> {
        made(index, times, task_cursor, legacy).0
    }

    /// The task cursor of the event at `time`.
    fn mark_at(time: i64) -> TaskCursor {
        made(1, &[time], None, LegacyProgress::Nothing).1.task_cursors[0].1
    }

    #[test]
    fn what_precedes_the_first_event_that_is_not_older_is_known_up_to_an_index() {
        assert_eq!(sent(50, &[1, 99, 100, 101], None, TOLD), [100, 101]);
        assert_eq!(sent(51, &[1, 99, 100, 101], None, TOLD), [1, 99, 100, 101]);
        // Times go back: later events in the list are new, whatever their time.
        assert_eq!(sent(50, &[-5, 99, 100, 7], None, TOLD), [100, 7]);
        assert_eq!(sent(50, &[1, 2, 3], Some(mark_at(1)), TOLD), [] as [i64; 0]);
        assert_eq!(sent(50, &[100, 101], Some(mark_at(100)), TOLD), [101]);
        assert_eq!(sent(50, &[100, 101], None, LegacyProgress::All), [] as [i64; 0]);
    }

    #[test]
    fn a_task_whose_events_are_all_known_gets_its_mark() {
        let (sent_before, made_before) = made(50, &[1, 2], None, TOLD);
        assert_eq!((sent_before.len(), made_before.value), (0, None));
        let task_cursor = made_before.task_cursors[0].1;
        assert_eq!(task_cursor.event, mark_at(2).event);
        assert_eq!(sent(60, &[1, 2, 3], Some(task_cursor), LegacyProgress::Nothing), [3]);
    }

    #[test]
    fn more_than_ten_events_since_the_original_are_reported() {
        let ten = [100, 101, 102, 103, 104, 105, 106, 107, 108, 109];
        assert_eq!(made(50, &ten, None, TOLD).1.overruns, 1);
        assert_eq!(made(50, &ten[1..], None, TOLD).1.overruns, 0);
        assert_eq!(made(51, &ten, None, TOLD).1.overruns, 0);
        // The event of our cursor is gone, but the original program has delivered the ones after it.
        let known = [99, 100, 101, 102, 103, 104, 105, 106, 107, 108];
        assert_eq!(made(50, &known, Some(mark_at(5)), TOLD).1.overruns, 0);
        assert_eq!(made(51, &known, Some(mark_at(5)), TOLD).1.overruns, 1);
    }
}
