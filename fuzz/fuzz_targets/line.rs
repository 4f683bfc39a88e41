//! Whatever comes down the stream: no panic, the same identities at every reading, and of a line that is JSON no record
//! that is none.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use nomad_firehose::{
    kind::Kind,
    nomad::line::{Line, Occurrences, Text},
    resource,
};
use serde_json::value::RawValue;

fuzz_target!(|text: &[u8]| {
    let mut occurrences = Occurrences::default();
    let mut again = Occurrences::default();
    // Several lines of one connection: what an occurrence is depends on the lines before.
    for text in text.split(|byte| *byte == b'\n') {
        let valid = serde_json::from_str::<&RawValue>(&String::from_utf8_lossy(text)).is_ok();
        let text = Text::new(Bytes::copy_from_slice(text));
        let line = match Line::parse(&text, &mut occurrences) {
            Ok(line) => line,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let repeated = Line::parse(&text, &mut again).expect("it was a line a moment ago");
        assert_eq!(line.identities(), repeated.identities());
        assert_eq!(line.identities().len(), line.events.len() + line.unusable.len());
        for event in &line.events {
            assert_eq!(event.index, line.index);
            // What is passed over is not looked at.
            let is_json =
                |text: &[u8]| assert!(!valid || serde_json::from_slice::<&RawValue>(text).is_ok(), "a record is JSON");
            is_json(&event.raw);
            for kind in Kind::ALL {
                records(kind, event, &is_json);
            }
        }
    }
});

const SUMMARY: &[u8] = br#"{"JobID":"x","Summary":{},"CreateIndex":1,"ModifyIndex":2}"#;

fn records(kind: Kind, event: &nomad_firehose::nomad::line::Event<'_>, is_json: &dyn Fn(&[u8])) {
    let Ok(made) = resource::from_event(kind, event, resource::Known::task_cursors(&|_| None)) else { return };
    for draft in &made.drafts {
        assert!(!draft.body.contains(&b'\n'), "a record is one line of text");
        is_json(&draft.body);
        if kind == Kind::JobListStubs
            && let Ok(body) = resource::with_summary(&draft.body, SUMMARY)
        {
            is_json(&body);
        }
        let object = resource::from_object(kind, &draft.body, resource::Known::task_cursors(&|_| None));
        if matches!(kind, Kind::Nodes | Kind::Evaluations | Kind::Jobs | Kind::Deployments) {
            assert!(object.is_ok(), "what an event gave, a list can give");
        }
    }
    if kind == Kind::Allocations {
        // Every task event is known by the marks that came with it, and none is sent twice.
        let task_cursor =
            |task| made.task_cursors.iter().rev().find(|(key, _)| *key == task).map(|(_, task_cursor)| *task_cursor);
        let distinct = made
            .task_cursors
            .iter()
            .enumerate()
            .all(|(n, (key, _))| made.task_cursors[..n].iter().all(|(k, _)| k != key));
        if distinct {
            let repeat = resource::from_event(kind, event, resource::Known::task_cursors(&task_cursor))
                .expect("it gave records a moment ago");
            assert!(repeat.drafts.is_empty());
        }
    }
}
