//! The first connection of a driver that takes over from a standby: the replay buffer, if it continues from every
//! position.

use tracing::info;

use super::{Connected, Connection, Driver};
use crate::{
    nomad::line::{Line, Occurrences, Text},
    position::Position,
    source::{
        resume::topics::brings,
        standby::WarmStream,
        stream::{reader::LineReader, replay_buffer::ReplayBuffer},
        tracker::Tracker,
    },
    telemetry::SourceState,
};

impl Driver {
    /// Uses what a standby has buffered in place of a new subscription, and returns its lines and namespaces.
    ///
    /// This is tried once. If it is not certain that nothing lies between a position and the buffer, the buffer is
    /// dropped, and the gap proof decides on a subscription of our own.
    pub(super) fn take_over(&mut self) -> Option<Connected> {
        let warm = self.warm.take()?;
        let position = self.position();
        let (lines, bytes, read_to) = (warm.buffer.len(), warm.buffer.bytes(), warm.read_to);
        let complete_from = warm.buffer.complete_from().unwrap_or_default();
        if let Err(reason) = self.can_resume_from(&warm) {
            info!(namespace = &*self.namespace, reason, %position, lines, bytes, %complete_from, %read_to,
                "replay buffer not usable for take-over");
            return None;
        }
        let WarmStream { buffer, stream, namespaces, .. } = warm;
        // After the original program, namespaces that the subscription does not have have yet to be found.
        if namespaces.are_all() {
            self.coverage.lower_to(namespaces.complete_to());
        }
        info!(namespace = &*self.namespace, %position, lines, bytes, %complete_from, %read_to, open = stream.is_some(),
            "resuming from the replay buffer");
        for tracker in &mut self.trackers {
            tracker.cursor.reconnected();
            // A first start has nothing to prove: lists deliver what precedes the first line.
            if !tracker.starts_from_nothing() {
                tracker.cursor.proven_from(tracker.cursor.position().index);
            }
        }
        let server = stream.as_ref().map(|stream| stream.server().to_owned()).unwrap_or_default();
        self.connection = Some(Connection { server, ..Connection::default() });
        self.show(&SourceState::Streaming);
        Some((LineReader::warm(buffer, stream, self.ctx.window.clone(), self.received()), namespaces))
    }

    /// Whether nothing can be missing between the position of any kind and the buffer. If not, why not.
    fn can_resume_from(&self, warm: &WarmStream) -> Result<(), &'static str> {
        if warm.stream.is_none() && warm.buffer.len() == 0 {
            return Err("the buffer is empty");
        }
        if !self.topics.iter().all(|topic| brings(&warm.topics, topic)) {
            return Err("the buffer is of other kinds");
        }
        // The original program had no subscription: its value is of another table, and above the creation of every
        // namespace.
        let by_ours = |tracker: &&Tracker| !tracker.needs_legacy_value();
        let watermarks = self.trackers.iter().filter(by_ours).filter_map(Tracker::stored_watermark);
        if watermarks.max() > Some(warm.namespaces.complete_to()) && &*self.namespace == "*" {
            return Err("the leader had newer namespaces");
        }
        if !self.coverage.uncovered(warm.namespaces.listed(), self.newest_position().index).is_empty() {
            return Err("there are namespaces that the leader had not found");
        }
        let mut resuming = self.trackers.iter().filter(|tracker| !tracker.starts_from_nothing());
        resuming.try_for_each(|tracker| reaches_back(warm, tracker.cursor.position()))
    }
}

/// Whether the buffer continues from `position`.
fn reaches_back(warm: &WarmStream, position: &Position) -> Result<(), &'static str> {
    let Some(complete_from) = warm.buffer.complete_from() else { return Err("the standby read no line") };
    // A server that lags would first have to prove that its history is ours.
    if warm.read_to < position.index {
        return Err("the leader had read more");
    }
    let overlap = at(&warm.buffer, position);
    if overlap == Overlap::Other {
        return Err("the buffer is of another history");
    }
    // Lines after the position are enough if the position's own index is known to be whole, or buffered from its first
    // line on: a later event of an object looks like the known one.
    let begins_with_it = overlap == Overlap::Known && !position.needs_line_before();
    let whole = position.whole || position.seen.is_empty() || begins_with_it;
    let needed = if whole { position.index.next() } else { position.index };
    if needed < complete_from { Err("the buffer starts after the position") } else { Ok(()) }
}

/// What the buffer has of a position's index.
#[derive(PartialEq, Eq)]
enum Overlap {
    /// No line, or nothing of it is known.
    Nothing,
    /// A known event.
    Known,
    /// Only unknown events.
    Other,
}

fn at(buffer: &ReplayBuffer, position: &Position) -> Overlap {
    let mut occurrences = Occurrences::default();
    let lines = buffer.at(position.index).map(|text| Text::new(text.clone()));
    let events = lines.filter_map(|text| Some(Line::parse(&text, &mut occurrences).ok()?.identities()));
    let mut events = events.flatten().peekable();
    if position.seen.is_empty() || events.peek().is_none() {
        return Overlap::Nothing;
    }
    if events.any(|event| position.seen.contains(&event)) { Overlap::Known } else { Overlap::Other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        position::{Identity, RaftIndex},
        source::standby::testing,
    };

    fn position(index: u64, keys: &[&str], whole: bool) -> Position {
        let seen = keys.iter().map(|key| Identity::new("Job", "default", key, RaftIndex(index), 0)).collect();
        Position { index: RaftIndex(index), seen, whole, before: RaftIndex(0) }
    }

    #[test]
    fn the_buffer_serves_positions_that_it_surely_continues_from() {
        let lines = [(10, "a"), (11, "b"), (11, "c"), (14, "d")];
        let untrimmed = || testing::warm(&lines, 0);
        let ok = [
            (position(11, &["b"], false), "known at a buffered index"),
            (position(10, &["a"], false), "known at the first index, which need not be whole"),
            (position(10, &[], false), "the first index is covered by a list"),
            (position(12, &["x"], false), "an index that only the leader's subscription has"),
            (position(14, &["d"], false), "the last"),
        ];
        for (position, why) in ok {
            assert_eq!(reaches_back(&untrimmed(), &position), Ok(()), "{why}");
        }
        let refused = [
            (position(9, &["z"], true), "the buffer starts after the position"),
            (position(10, &["z"], false), "the buffer is of another history"),
            (position(11, &["z"], true), "the buffer is of another history"),
            (position(15, &["d"], false), "the leader had read more"),
        ];
        for (position, why) in refused {
            assert_eq!(reaches_back(&untrimmed(), &position), Err(why));
        }
        assert_eq!(reaches_back(&testing::warm(&[], 0), &position(1, &[], true)), Err("the standby read no line"));
        let cut_off = Position { before: RaftIndex(9), ..position(10, &["a"], false) };
        assert_eq!(reaches_back(&untrimmed(), &cut_off), Err("the buffer starts after the position"));
        // Trimmed up to the position: nothing below is needed.
        let trimmed = testing::warm(&lines, 14);
        assert_eq!(reaches_back(&trimmed, &position(14, &["d"], false)), Ok(()));
        assert_eq!(reaches_back(&trimmed, &position(13, &["x"], true)), Ok(()));
        assert_eq!(reaches_back(&trimmed, &position(13, &["x"], false)), Err("the buffer starts after the position"));
    }
}
