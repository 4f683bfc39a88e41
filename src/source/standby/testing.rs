//! Buffered lines, without a server.

use bytes::Bytes;

use super::{WarmStream, feed::BufferFeed};
use crate::{
    position::RaftIndex,
    source::{resume::namespaces::Namespaces, stream::replay_buffer::ReplayBuffer},
    telemetry::Metrics,
};

/// What is buffered after these lines, each of a job, when the leaders are at `leaders`.
pub(crate) fn warm(lines: &[(u64, &str)], leaders: u64) -> WarmStream {
    let mut feed = BufferFeed::new(ReplayBuffer::new(1 << 20, Metrics::new(&[])));
    for (index, key) in lines {
        let event = format!(r#"{{"Topic":"Job","Key":"{key}","Namespace":"default","Index":{index}}}"#);
        let line = format!(r#"{{"Index":{index},"Events":[{event}]}}"#);
        feed.take(&Bytes::from(line), RaftIndex(0)).expect("a line of events");
    }
    feed.buffer.trim(RaftIndex(leaders));
    WarmStream {
        read_to: feed.read_to().unwrap_or_default(),
        buffer: feed.buffer,
        stream: None,
        topics: Vec::new(),
        namespaces: Namespaces::default(),
    }
}
