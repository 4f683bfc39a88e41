//! Allocations: one record for each new task event, in the original's shape.

use std::{borrow::Cow, fmt, marker::PhantomData};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Draft, Known, Made, Told, Unusable,
    object::Payload,
    task_events::{KEPT, New, TaskEvent, Text, new_events},
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
pub(super) fn from_event(event: &Event, known: Known<'_>) -> Result<Made, Unusable> {
    let payload = Payload::of(event)?;
    from_object(payload.object.get().as_bytes(), Some(event.index), known)
}

/// The records of an allocation as an event or a list has it. What is known though it has no mark is not sent, and gets
/// its mark.
///
/// # Errors
/// The object is no allocation.
pub(super) fn from_object(object: &[u8], index: Option<RaftIndex>, known: Known<'_>) -> Result<Made, Unusable> {
    let allocation: Allocation<'_> = serde_json::from_slice(object).map_err(Unusable::new)?;
    let version = index.unwrap_or(RaftIndex(allocation.modify_index));
    let finished = matches!(&*allocation.client_status.0, "complete" | "failed" | "lost");
    let mut made = Made::default();
    for (task, state) in allocation.task_states.iter().flat_map(|states| &states.entries) {
        let Some(state) = state else { continue };
        let key = TaskKey::new(&allocation.id, task);
        let mark = (known.mark)(key);
        if mark.is_some_and(|mark| version < mark.index()) {
            continue;
        }
        let events = state.events.as_deref().unwrap_or_default();
        let new = new_events(events, mark.map(|mark| mark.event)).map_err(Unusable::new)?;
        let told = known.told.among(version, &new);
        made.overruns += u32::from(known.told.is_overrun(version, &new, mark.is_some()) && told == 0);
        for (raw, hash, time) in new.events.iter().skip(told) {
            let event: TaskEvent<'_> = serde_json::from_str(raw.get()).map_err(Unusable::new)?;
            made.value = made.value.max(u64::try_from(*time).ok());
            made.drafts.push(draft(&allocation, task, state, event, *hash)?);
        }
        if let Some(last) = new.last
            && (!new.events.is_empty() || mark.is_some_and(|mark| mark.is_finished() != finished))
        {
            made.marks.push((key, Mark::new(last, version, finished)));
        }
    }
    Ok(made)
}

impl Told {
    /// How many of a task's new events are known, the first ones.
    fn among(self, version: RaftIndex, new: &New<'_>) -> usize {
        match self {
            Told::Before { time, until } if version <= until => {
                // Before 1970 is before any time.
                let is_owed = |event: &(_, _, i64)| u64::try_from(event.2).is_ok_and(|at| at >= time);
                new.events.iter().position(is_owed).unwrap_or(new.events.len())
            }
            Told::Nothing | Told::Before { .. } => 0,
            Told::All => new.events.len(),
        }
    }

    /// Whether events can be missing before the new ones: the mark is gone, or none of the ten is one that the original
    /// program had delivered.
    fn is_overrun(self, version: RaftIndex, new: &New<'_>, marked: bool) -> bool {
        let unknown = || matches!(self, Told::Before { until, .. } if version <= until) && new.events.len() >= KEPT;
        new.overrun || !marked && unknown()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: RaftIndex = RaftIndex(50);
    const TOLD: Told = Told::Before { time: 100, until: UNTIL };

    /// An allocation at `index` whose one task had events at these times.
    fn made(index: u64, times: &[i64], mark: Option<Mark>, told: Told) -> (Vec<i64>, Made) {
        let events: Vec<_> = times.iter().map(|time| serde_json::json!({"Type": "T", "Time": time})).collect();
        let object = serde_json::json!({"ID": "a", "ModifyIndex": index, "TaskStates": {"t": {"Events": events}}});
        let mark = |_| mark;
        let known = Known::marks(&mark).and(told);
        let made = from_object(object.to_string().as_bytes(), None, known).expect("an allocation");
        let bodies = made.drafts.iter().map(|draft| serde_json::from_slice(&draft.body).expect("just written"));
        let sent = bodies.map(|body: serde_json::Value| body["TaskEvent"]["Time"].as_i64().expect("a time"));
        (sent.collect(), made)
    }

    fn sent(index: u64, times: &[i64], mark: Option<Mark>, told: Told) -> Vec<i64> {
        made(index, times, mark, told).0
    }

    /// The mark of the event at `time`.
    fn mark_at(time: i64) -> Mark {
        made(1, &[time], None, Told::Nothing).1.marks[0].1
    }

    #[test]
    fn what_precedes_the_first_event_that_is_not_older_is_known_up_to_an_index() {
        assert_eq!(sent(50, &[1, 99, 100, 101], None, TOLD), [100, 101]);
        assert_eq!(sent(51, &[1, 99, 100, 101], None, TOLD), [1, 99, 100, 101]);
        // Times go back: what follows is new, whatever its time.
        assert_eq!(sent(50, &[-5, 99, 100, 7], None, TOLD), [100, 7]);
        assert_eq!(sent(50, &[1, 2, 3], Some(mark_at(1)), TOLD), [] as [i64; 0]);
        assert_eq!(sent(50, &[100, 101], Some(mark_at(100)), TOLD), [101]);
        assert_eq!(sent(50, &[100, 101], None, Told::All), [] as [i64; 0]);
    }

    #[test]
    fn a_task_whose_events_are_all_known_gets_its_mark() {
        let (sent_before, made_before) = made(50, &[1, 2], None, TOLD);
        assert_eq!((sent_before.len(), made_before.value), (0, None));
        let mark = made_before.marks[0].1;
        assert_eq!(mark.event, mark_at(2).event);
        assert_eq!(sent(60, &[1, 2, 3], Some(mark), Told::Nothing), [3]);
    }

    #[test]
    fn more_than_ten_events_since_the_original_are_reported() {
        let ten = [100, 101, 102, 103, 104, 105, 106, 107, 108, 109];
        assert_eq!(made(50, &ten, None, TOLD).1.overruns, 1);
        assert_eq!(made(50, &ten[1..], None, TOLD).1.overruns, 0);
        assert_eq!(made(51, &ten, None, TOLD).1.overruns, 0);
        // Our mark is gone, but the original has delivered what followed it.
        let known = [99, 100, 101, 102, 103, 104, 105, 106, 107, 108];
        assert_eq!(made(50, &known, Some(mark_at(5)), TOLD).1.overruns, 0);
        assert_eq!(made(51, &known, Some(mark_at(5)), TOLD).1.overruns, 1);
    }
}
