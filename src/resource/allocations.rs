//! Allocations: one record for each new task event, in the original's shape.

use std::{borrow::Cow, fmt, marker::PhantomData};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Draft, Made, Unusable,
    object::Payload,
    task_events::{TaskEvent, Text, new_events},
};
use crate::{
    marks::{EventHash, Mark, TaskKey},
    position::RaftIndex,
    source::line::Event,
};

/// The allocation of an event, or the stub of a list: both have these fields under these names.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Allocation<'a> {
    #[serde(rename = "ID", borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(rename = "NodeID", borrow, default)]
    node_id: Text<'a>,
    #[serde(rename = "EvalID", borrow, default)]
    eval_id: Text<'a>,
    #[serde(rename = "JobID", borrow, default)]
    job_id: Text<'a>,
    #[serde(borrow, default)]
    task_group: Text<'a>,
    #[serde(borrow, default)]
    desired_status: Text<'a>,
    #[serde(borrow, default)]
    desired_description: Text<'a>,
    #[serde(borrow, default)]
    client_status: Text<'a>,
    #[serde(borrow, default)]
    client_description: Text<'a>,
    modify_index: u64,
    #[serde(borrow, default)]
    task_states: Option<Entries<'a, Option<TaskState<'a>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TaskState<'a> {
    #[serde(borrow, default)]
    state: Text<'a>,
    #[serde(default)]
    failed: bool,
    #[serde(borrow, default)]
    started_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    finished_at: Option<&'a RawValue>,
    #[serde(borrow, default)]
    events: Option<Vec<&'a RawValue>>,
}

/// The original's record: these fields, in this order.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Update<'a> {
    name: &'a str,
    #[serde(rename = "NodeID")]
    node_id: &'a str,
    #[serde(rename = "AllocationID")]
    allocation_id: &'a str,
    desired_status: &'a str,
    desired_description: &'a str,
    client_status: &'a str,
    client_description: &'a str,
    #[serde(rename = "JobID")]
    job_id: &'a str,
    group_name: &'a str,
    task_name: &'a str,
    #[serde(rename = "EvalID")]
    eval_id: &'a str,
    task_state: &'a str,
    task_failed: bool,
    task_started_at: Moment<'a>,
    task_finished_at: Moment<'a>,
    task_event: TaskEvent<'a>,
}

/// A time as Nomad wrote it, or Go's zero time where it wrote none.
struct Moment<'a>(Option<&'a RawValue>);

impl Serialize for Moment<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(raw) => raw.serialize(serializer),
            None => serializer.serialize_str("0001-01-01T00:00:00Z"),
        }
    }
}

/// The records of an event of the topic `Allocation`.
///
/// # Errors
/// The payload is no allocation.
pub(super) fn from_event(event: &Event, marks: &dyn Fn(TaskKey) -> Option<Mark>) -> Result<Made, Unusable> {
    let payload = Payload::of(event)?;
    from_object(payload.object.get().as_bytes(), Some(event.index), marks, true)
}

/// The records of an allocation as an event or a list has it. `emit` false only takes the marks, so that what happened
/// before a start at `now` is known and not sent.
///
/// # Errors
/// The object is no allocation.
pub(super) fn from_object(
    object: &[u8],
    index: Option<RaftIndex>,
    marks: &dyn Fn(TaskKey) -> Option<Mark>,
    emit: bool,
) -> Result<Made, Unusable> {
    let allocation: Allocation<'_> = serde_json::from_slice(object).map_err(Unusable::new)?;
    let version = index.unwrap_or(RaftIndex(allocation.modify_index));
    let finished = matches!(&*allocation.client_status.0, "complete" | "failed" | "lost");
    let mut made = Made::default();
    for (task, state) in allocation.task_states.iter().flat_map(|states| &states.entries) {
        let Some(state) = state else { continue };
        let key = TaskKey::new(&allocation.id, task);
        let mark = marks(key);
        if mark.is_some_and(|mark| version < mark.index()) {
            continue;
        }
        let events = state.events.as_deref().unwrap_or_default();
        let new = new_events(events, mark.map(|mark| mark.event)).map_err(Unusable::new)?;
        made.overruns += u32::from(new.overrun);
        if emit {
            for (raw, hash) in &new.events {
                let event: TaskEvent<'_> = serde_json::from_str(raw.get()).map_err(Unusable::new)?;
                made.value = made.value.max(u64::try_from(event.time).ok());
                made.drafts.push(draft(&allocation, task, state, event, *hash)?);
            }
        }
        if let Some(last) = new.last
            && (!new.events.is_empty() || mark.is_some_and(|mark| mark.is_finished() != finished))
        {
            made.marks.push((key, Mark::new(last, version, finished)));
        }
    }
    Ok(made)
}

fn draft(
    allocation: &Allocation<'_>,
    task: &str,
    state: &TaskState<'_>,
    task_event: TaskEvent<'_>,
    hash: EventHash,
) -> Result<Draft, Unusable> {
    let update = Update {
        name: &allocation.name.0,
        node_id: &allocation.node_id.0,
        allocation_id: &allocation.id,
        desired_status: &allocation.desired_status.0,
        desired_description: &allocation.desired_description.0,
        client_status: &allocation.client_status.0,
        client_description: &allocation.client_description.0,
        job_id: &allocation.job_id.0,
        group_name: &allocation.task_group.0,
        task_name: task,
        eval_id: &allocation.eval_id.0,
        task_state: &state.state.0,
        task_failed: state.failed,
        task_started_at: Moment(state.started_at),
        task_finished_at: Moment(state.finished_at),
        task_event,
    };
    Ok(Draft {
        id: format!("allocations/{}/{task}/{:016x}", allocation.id, hash.0).into(),
        key: (*allocation.id).into(),
        namespace: (*allocation.namespace.0).into(),
        job: (*allocation.job_id.0).into(),
        body: Bytes::from(serde_json::to_vec(&update).map_err(Unusable::new)?),
    })
}

/// A JSON object's entries in the order they came.
struct Entries<'a, V> {
    entries: Vec<(Cow<'a, str>, V)>,
}

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Entries<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect<'a, V>(PhantomData<(&'a (), V)>);

        impl<'de: 'a, 'a, V: Deserialize<'de>> Visitor<'de> for Collect<'a, V> {
            type Value = Entries<'a, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text<'a>, V>()? {
                    entries.push((name.0, value));
                }
                Ok(Entries { entries })
            }
        }

        deserializer.deserialize_map(Collect(PhantomData))
    }
}
