//! Things held, without a server.

use bytes::Bytes;

use super::{WarmStream, intake::Intake};
use crate::{
    position::RaftIndex,
    source::{resume::namespaces::Namespaces, stream::replay_buffer::ReplayBuffer},
    telemetry::Metrics,
};

/// What is held after these lines, each of a job, when the leaders are at `leaders`.
pub(in crate::source) fn warm(lines: &[(u64, &str)], leaders: u64) -> WarmStream {
    let mut intake = Intake::new(ReplayBuffer::new(1 << 20, Metrics::new(&[])));
    for (index, key) in lines {
        let event = format!(r#"{{"Topic":"Job","Key":"{key}","Namespace":"default","Index":{index}}}"#);
        let line = format!(r#"{{"Index":{index},"Events":[{event}]}}"#);
        intake.take(&Bytes::from(line), RaftIndex(0)).expect("a line of events");
    }
    intake.buffer.trim(RaftIndex(leaders));
    WarmStream {
        read_to: intake.read_to().unwrap_or_default(),
        buffer: intake.buffer,
        stream: None,
        topics: Vec::new(),
        namespaces: Namespaces::default(),
    }
}
