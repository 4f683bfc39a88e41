//! A server's event buffer, with the start and cut-off rules of Nomad's `nomad/stream/event_buffer.go`.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::line::Line;

/// The last lines a server published, in memory only.
///
/// As in Nomad, a new buffer holds an empty item, and the limit counts what came after the first item: a full
/// buffer of size 100 keeps 101 lines.
#[derive(Debug)]
pub(crate) struct Ring {
    items: VecDeque<Arc<Line>>,
    /// The sequence number of the front item.
    first: u64,
    limit: usize,
    /// Told apart from the buffers before a restart.
    epoch: u64,
}

/// A reader's place in a [`Ring`].
#[derive(Debug)]
pub(crate) struct Cursor {
    start: Option<Arc<Line>>,
    /// The item last handed out; when it leaves the buffer the reader is cut off.
    held: u64,
    epoch: u64,
}

/// The next item for a reader.
#[derive(Debug)]
pub(crate) enum Next {
    Line(Arc<Line>),
    /// None yet.
    Wait,
    /// The reader was slower than the buffer, or this is another buffer.
    Dropped,
}

impl Ring {
    pub(crate) fn new(limit: usize) -> Self {
        Self { items: VecDeque::from([Arc::new(Line::sentinel())]), first: 0, limit: limit.max(1), epoch: 0 }
    }

    /// Empties the buffer, as a restart of the server does.
    pub(crate) fn clear(&mut self) {
        self.items = VecDeque::from([Arc::new(Line::sentinel())]);
        self.first = 0;
        self.epoch += 1;
    }

    pub(crate) fn append(&mut self, line: Arc<Line>) {
        self.items.push_back(line);
        while self.items.len() > self.limit + 1 {
            self.items.pop_front();
            self.first += 1;
        }
    }

    /// Begins at the item closest to an index: older than the buffer → the oldest kept; newer than the tail → the
    /// tail once more; between two items → the later one; 0 → the oldest kept.
    pub(crate) fn subscribe(&self, index: u64) -> Cursor {
        let offset = self.items.iter().position(|line| line.index >= index).unwrap_or(self.items.len() - 1);
        Cursor { start: self.items.get(offset).cloned(), held: self.first + offset as u64, epoch: self.epoch }
    }

    pub(crate) fn next(&self, cursor: &mut Cursor) -> Next {
        if let Some(line) = cursor.start.take() {
            return Next::Line(line);
        }
        if cursor.epoch != self.epoch {
            return Next::Dropped;
        }
        let next = cursor.held + 1;
        if next >= self.first + self.items.len() as u64 {
            return Next::Wait;
        }
        if cursor.held < self.first {
            return Next::Dropped;
        }
        cursor.held = next;
        self.items.get((next - self.first) as usize).cloned().map_or(Next::Dropped, Next::Line)
    }

    /// The first and last kept index, 0 where there is none.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        let first = self.items.iter().find(|line| !line.events.is_empty()).map_or(0, |line| line.index);
        (first, self.items.back().map_or(0, |line| line.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(limit: usize, indexes: &[u64]) -> Ring {
        let mut ring = Ring::new(limit);
        for index in indexes {
            let text = format!(r#"{{"Index":{index},"Events":[{{"Topic":"X","Payload":{{}}}}]}}"#);
            ring.append(Arc::new(Line::parse(text).unwrap()));
        }
        ring
    }

    fn read(ring: &Ring, cursor: &mut Cursor) -> Vec<u64> {
        let mut seen = Vec::new();
        while let Next::Line(line) = ring.next(cursor) {
            seen.push(line.index);
        }
        seen
    }

    #[test]
    fn starts_at_the_closest_index() {
        let ring = ring(3, &[10, 20, 20, 30, 40, 41]);
        let from = |index| read(&ring, &mut ring.subscribe(index));
        assert_eq!(from(0), [20, 30, 40, 41], "one more than the limit is kept");
        assert_eq!(from(1), [20, 30, 40, 41]);
        assert_eq!(from(25), [30, 40, 41]);
        assert_eq!(from(40), [40, 41]);
        assert_eq!(from(99), [41], "newer than the tail: the tail again");
    }

    #[test]
    fn an_index_of_several_lines_starts_at_the_first_and_ends_with_the_last() {
        let ring = ring(100, &[5, 6, 6]);
        assert_eq!(read(&ring, &mut ring.subscribe(6)), [6, 6]);
        assert_eq!(read(&ring, &mut ring.subscribe(7)), [6]);
    }

    #[test]
    fn a_reader_is_cut_off_when_the_item_it_holds_is_dropped() {
        let mut ring = ring(2, &[1]);
        let mut cursor = ring.subscribe(1);
        assert!(matches!(ring.next(&mut cursor), Next::Line(line) if line.index == 1));
        assert!(matches!(ring.next(&mut cursor), Next::Wait));
        for index in 2..=3 {
            ring.append(Arc::new(Line { index, ..Line::sentinel() }));
        }
        assert!(matches!(ring.next(&mut cursor), Next::Line(line) if line.index == 2));
        for index in 4..=5 {
            ring.append(Arc::new(Line { index, ..Line::sentinel() }));
        }
        assert!(matches!(ring.next(&mut cursor), Next::Dropped));
    }

    #[test]
    fn an_empty_buffer_waits_and_a_restart_cuts_off() {
        let mut ring = ring(2, &[]);
        let mut cursor = ring.subscribe(50);
        assert!(matches!(ring.next(&mut cursor), Next::Line(line) if line.events.is_empty()));
        assert!(matches!(ring.next(&mut cursor), Next::Wait));
        ring.clear();
        assert!(matches!(ring.next(&mut cursor), Next::Dropped));
    }
}
