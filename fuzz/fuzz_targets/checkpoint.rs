//! A checkpoint file that anything may have happened to: no panic, and what can be read survives being written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nomad_firehose::checkpoint::Checkpoint;

fuzz_target!(|text: &[u8]| {
    let Ok(checkpoint) = serde_json::from_slice::<Checkpoint>(text) else { return };
    let written = serde_json::to_vec(&checkpoint).expect("a checkpoint is plain data");
    let read: Checkpoint = serde_json::from_slice(&written).expect("just written");
    assert_eq!(read, checkpoint);
});
