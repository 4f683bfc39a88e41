//! The replay buffer of a standby: the newest lines of a stream, within a bound of bytes.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{position::RaftIndex, telemetry::Metrics};

/// The lines of one subscription, in order, and the raft index from which on none is missing.
///
/// A line is removed together with all others of its index: half an index proves nothing, and the occurrences of its
/// objects would be counted wrong.
#[derive(Debug)]
pub(crate) struct ReplayBuffer {
    lines: VecDeque<BufferedLine>,
    bytes: usize,
    bound: usize,
    /// Lines below this index are not kept.
    floor: RaftIndex,
    complete_from: Option<RaftIndex>,
    metrics: Metrics,
}

#[derive(Debug)]
struct BufferedLine {
    index: RaftIndex,
    text: Bytes,
}

impl ReplayBuffer {
    /// An empty buffer of at most `bound` bytes, including what it needs for each line.
    pub(crate) fn new(bound: usize, metrics: Metrics) -> Self {
        ReplayBuffer { lines: VecDeque::new(), bytes: 0, bound, floor: RaftIndex(0), complete_from: None, metrics }
    }

    /// Starts empty with a subscription whose first line has this index.
    ///
    /// The buffer is complete only after that index: the server's buffer can begin in the middle of it, and a lagging
    /// server sends its last line again, which need not be the first of its index.
    pub(crate) fn begin(&mut self, index: RaftIndex) {
        self.clear();
        self.floor = index;
        self.complete_from = Some(index.next());
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) {
        self.lines = VecDeque::new();
        self.metrics.standby_freed(std::mem::take(&mut self.bytes));
        self.floor = RaftIndex(0);
        self.complete_from = None;
    }

    /// Appends a line; `index` is never below that of the line before. Older lines make room.
    pub(crate) fn push(&mut self, index: RaftIndex, text: &Bytes) {
        let size = size(text);
        while self.bytes.saturating_add(size) > self.bound
            && let Some(oldest) = self.lines.front().map(|line| line.index)
        {
            self.raise(oldest.next());
        }
        if size > self.bound && index >= self.floor {
            self.raise(index.next());
        }
        if index < self.floor {
            return;
        }
        self.bytes += size;
        self.metrics.standby_held(size);
        // A copy: the line can be a small piece of a chunk that would stay in memory with it.
        self.lines.push_back(BufferedLine { index, text: Bytes::copy_from_slice(text) });
    }

    /// Removes the lines below `index`. Lines at it stay: their events prove that the buffer continues there.
    pub(crate) fn trim(&mut self, index: RaftIndex) {
        if self.complete_from.is_some() && index > self.floor {
            self.raise(index);
        }
    }

    /// Keeps nothing below `floor`.
    fn raise(&mut self, floor: RaftIndex) {
        while self.lines.front().is_some_and(|line| line.index < floor) {
            self.pop();
        }
        self.floor = self.floor.max(floor);
        self.complete_from = self.complete_from.max(Some(floor));
    }

    /// Removes the oldest line.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let BufferedLine { text, .. } = self.lines.pop_front()?;
        let size = size(&text);
        self.bytes -= size;
        self.metrics.standby_freed(size);
        Some(text)
    }

    /// From here on no line is missing, up to what was read; `None` before the first line. Lines below it can still be
    /// in the buffer.
    pub(crate) fn complete_from(&self) -> Option<RaftIndex> {
        self.complete_from
    }

    /// The lines of one index, in order.
    pub(crate) fn at(&self, index: RaftIndex) -> impl Iterator<Item = &Bytes> {
        let start = self.lines.partition_point(|line| line.index < index);
        self.lines.range(start..).take_while(move |line| line.index == index).map(|line| &line.text)
    }

    /// The number of lines.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The bytes of the lines, including what the buffer needs for each.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for ReplayBuffer {
    fn drop(&mut self) {
        self.metrics.standby_freed(self.bytes);
    }
}

fn size(text: &Bytes) -> usize {
    text.len().saturating_add(size_of::<BufferedLine>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        /// A line, so many indexes later, so many bytes long.
        Line(u64, usize),
        /// The leaders are so many indexes after what was read, or before it.
        Trim(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let line = (prop_oneof![2 => Just(0_u64), 3 => 1_u64..4], prop_oneof![9 => 0_usize..200, 1 => 900_usize..1500]);
        let step = prop_oneof![
            5 => line.prop_map(|(further, bytes)| Step::Line(further, bytes)),
            1 => (-20_i64..4).prop_map(Step::Trim),
        ];
        proptest::collection::vec(step, 0..120)
    }

    fn buffer(bound: usize) -> ReplayBuffer {
        ReplayBuffer::new(bound, Metrics::new(&[]))
    }

    proptest! {
        #[test]
        fn the_buffer_is_complete_from_where_it_says(first in 1_u64..5, steps in steps()) {
            let mut buffer = buffer(1000);
            let mut log: Vec<(RaftIndex, Bytes)> = Vec::new();
            let (mut index, mut trimmed) = (RaftIndex(first), RaftIndex(0));
            buffer.begin(index);
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Line(further, bytes) => {
                        index.0 += further;
                        let text = Bytes::from(format!("{n:04}{}", "x".repeat(bytes)));
                        buffer.push(index, &text);
                        log.push((index, text));
                    }
                    Step::Trim(ahead) => {
                        let to = RaftIndex(index.0.saturating_add_signed(ahead));
                        buffer.trim(to);
                        trimmed = trimmed.max(to);
                    }
                }
                let from = buffer.complete_from().expect("it has begun");
                let held: Vec<_> = buffer.lines.iter().map(|line| (line.index, line.text.clone())).collect();
                let whole: Vec<_> = log.iter().filter(|(index, _)| *index >= from).cloned().collect();
                prop_assert!(held.ends_with(&whole), "{from}: {held:?} of {log:?}");
                prop_assert!(log.ends_with(&held), "only the oldest are removed, and never one of two of an index");
                prop_assert!(held.iter().all(|(index, _)| *index >= trimmed));
                prop_assert!(buffer.bytes() <= 1000);
                prop_assert_eq!(buffer.bytes(), held.iter().map(|(_, text)| size(text)).sum::<usize>());
            }
        }
    }

    #[test]
    fn a_buffer_with_room_keeps_all_that_the_leaders_have_not_passed() {
        let mut buffer = buffer(10_000);
        buffer.begin(RaftIndex(10));
        for index in [10, 11, 11, 14] {
            buffer.push(RaftIndex(index), &Bytes::from_static(b"line"));
        }
        assert_eq!((buffer.len(), buffer.complete_from()), (4, Some(RaftIndex(11))));
        buffer.trim(RaftIndex(11));
        assert_eq!((buffer.len(), buffer.complete_from()), (3, Some(RaftIndex(11))));
        assert_eq!((buffer.at(RaftIndex(11)).count(), buffer.at(RaftIndex(12)).count()), (2, 0));
        buffer.trim(RaftIndex(12));
        assert_eq!((buffer.len(), buffer.complete_from()), (1, Some(RaftIndex(12))));
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_dropped_with_its_whole_index() {
        let metrics = Metrics::new(&[]);
        let mut buffer = ReplayBuffer::new(200, metrics.clone());
        buffer.begin(RaftIndex(1));
        buffer.push(RaftIndex(1), &Bytes::from_static(b"short"));
        buffer.push(RaftIndex(2), &Bytes::from_static(b"short"));
        buffer.push(RaftIndex(2), &Bytes::from(vec![b'x'; 300]));
        buffer.push(RaftIndex(2), &Bytes::from_static(b"short"));
        assert_eq!((buffer.len(), buffer.bytes(), buffer.complete_from()), (0, 0, Some(RaftIndex(3))));
        buffer.push(RaftIndex(5), &Bytes::from_static(b"short"));
        assert_eq!(buffer.len(), 1);
        drop(buffer);
        let text = metrics.encode().expect("it can be encoded");
        assert!(text.contains("nomad_firehose_replay_buffer_bytes 0\n"), "{text}");
    }
}
