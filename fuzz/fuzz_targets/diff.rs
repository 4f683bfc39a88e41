//! Versions of one allocation against a model of its task events: nothing lost within ten, none twice, in order.

#![no_main]

use std::collections::HashMap;

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use nomad_firehose::{
    kind::Kind,
    nomad::line::{Line, Occurrences, Text},
    position::RaftIndex,
    resource::{self, Known, Made},
    task_cursors::{TaskCursor, TaskCursors, TaskKey},
};

const TASKS: [&str; 3] = ["server", "log-shipper", "näm\"e"];
/// What Nomad keeps of a task's events.
const KEPT: usize = 10;

#[derive(Arbitrary, Debug)]
enum Step {
    /// The client reports new events, and the stream brings the version.
    Update { grown: [u8; 3], times: [i16; 4], status: u8, raw: u8 },
    /// Somebody else's transaction repeats the version as it is.
    Repeat,
    /// The stream repeats an earlier version, as after a list that was ahead of it.
    Older(u8),
    /// The list gives the version as it is.
    List,
    /// The marks are stored.
    Save,
    /// The program dies, and goes on from the stored marks.
    Crash,
    /// It is stopped, and goes on from its marks.
    Restart,
}

#[derive(Default)]
struct Model {
    /// Each task's events so far, as their times and numbers.
    tasks: [Vec<i64>; 3],
    versions: Vec<(u64, [usize; 3], u8)>,
    task_cursors: TaskCursors,
    saved: TaskCursors,
    /// How many of each task's events were delivered or are beyond reach.
    done: [usize; 3],
    saved_done: [usize; 3],
    index: u64,
}

fuzz_target!(|steps: Vec<Step>| {
    let mut model = Model { index: 10, ..Model::default() };
    for step in steps.iter().take(64) {
        match step {
            Step::Update { grown, times, status, raw } => {
                for (task, grown) in grown.iter().enumerate() {
                    for n in 0..grown % 13 {
                        let time = i64::from(times[usize::from(n) % times.len()]);
                        model.tasks[task].push(time);
                    }
                }
                model.index += 1 + u64::from(raw % 3);
                let ends = [0, 1, 2].map(|task: usize| model.tasks[task].len());
                model.versions.push((model.index, ends, *status));
                model.stream(model.versions.len() - 1, model.index);
            }
            Step::Repeat if !model.versions.is_empty() => {
                model.index += 1;
                model.stream(model.versions.len() - 1, model.index);
            }
            Step::Older(which) if !model.versions.is_empty() => {
                let which = usize::from(*which) % model.versions.len();
                model.stream(which, model.versions[which].0);
            }
            Step::List if !model.versions.is_empty() => {
                let version = model.versions.len() - 1;
                let object = Bytes::from(model.object(version));
                let made = resource::from_object(
                    Kind::Allocations,
                    &object,
                    Known::task_cursors(&|task| model.task_cursors.get(task)),
                );
                model.check(version, &made.expect("an allocation"));
            }
            Step::Save => (model.saved, model.saved_done) = (model.task_cursors.clone(), model.done),
            Step::Crash => (model.task_cursors, model.done) = (model.saved.clone(), model.saved_done),
            Step::Restart => {
                let text = serde_json::to_vec(&model.task_cursors).expect("marks are plain data");
                model.task_cursors = serde_json::from_slice(&text).expect("just written");
            }
            _ => {}
        }
    }
});

impl Model {
    fn object(&self, version: usize) -> String {
        let (index, ends, status) = &self.versions[version];
        let mut states = Vec::new();
        for (task, end) in ends.iter().enumerate() {
            let events: Vec<String> = (end.saturating_sub(KEPT)..*end).map(|n| self.event(task, n)).collect();
            let name = serde_json::to_string(TASKS[task]).expect("a text");
            states.push(format!(r#"{name}:{{"State":"running","Events":[{}]}}"#, events.join(",")));
        }
        // Maps have no order.
        let turn = version % states.len();
        states.rotate_left(turn);
        let status = ["running", "complete", "failed", "lost", "pending"][usize::from(*status) % 5];
        format!(
            r#"{{"ID":"alloc","Namespace":"default","ClientStatus":"{status}","ModifyIndex":{index},"TaskStates":{{{}}}}}"#,
            states.join(",")
        )
    }

    /// The number makes it distinct where the clock does not move.
    fn event(&self, task: usize, n: usize) -> String {
        format!(r#"{{"Type":"Restarting","Time":{},"Details":{{"n":"{n}"}}}}"#, self.tasks[task][n])
    }

    fn stream(&mut self, version: usize, index: u64) {
        let text = format!(
            r#"{{"Index":{index},"Events":[{{"Topic":"Allocation","Type":"AllocationUpdated","Key":"alloc","Namespace":"default","Index":{index},"Payload":{{"Allocation":{}}}}}]}}"#,
            self.object(version)
        );
        let text = Text::new(Bytes::from(text));
        let line = Line::parse(&text, &mut Occurrences::default()).expect("a line");
        let made = resource::from_event(
            Kind::Allocations,
            &line.events[0],
            Known::task_cursors(&|task| self.task_cursors.get(task)),
        );
        self.check(version, &made.expect("an allocation"));
    }

    /// Exactly what is new of the version, in order, and the report where more than ten came at once.
    fn check(&mut self, version: usize, made: &Made) {
        let (_, ends, _) = self.versions[version];
        let mut got: HashMap<String, Vec<usize>> = HashMap::new();
        for draft in &made.drafts {
            let body: serde_json::Value = serde_json::from_slice(&draft.body).expect("a record is JSON");
            let n = body["TaskEvent"]["Details"]["n"].as_str().expect("as it was made").parse().expect("a number");
            got.entry(body["TaskName"].as_str().expect("a name").to_owned()).or_default().push(n);
        }
        let mut overruns = 0;
        for (task, name) in TASKS.iter().enumerate() {
            let (done, end) = (self.done[task], ends[task]);
            let got = got.remove(*name).unwrap_or_default();
            let first = if end > done { done.max(end.saturating_sub(KEPT)) } else { end };
            let expected: Vec<usize> = (first..end).collect();
            assert_eq!(got, expected, "{name}: {done} were delivered, the version has {end}");
            // The last delivered one is no longer among the ten.
            overruns += u32::from(done > 0 && end.saturating_sub(KEPT) >= done);
            self.done[task] = done.max(end);
        }
        assert!(got.is_empty());
        assert_eq!(made.overruns, overruns);
        for (task, task_cursor) in &made.task_cursors {
            let before: Option<TaskCursor> = self.task_cursors.get(*task);
            assert!(before.is_none_or(|before| before.index() <= task_cursor.index()));
            assert!(task_cursor.index() <= RaftIndex(self.index));
            self.task_cursors.set(*task, *task_cursor);
        }
        assert!(
            TASKS
                .iter()
                .enumerate()
                .all(|(n, name)| { self.done[n] == 0 || self.task_cursors.get(TaskKey::new("alloc", name)).is_some() })
        );
    }
}
