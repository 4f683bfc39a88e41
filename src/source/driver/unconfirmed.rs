//! Lines with an implausible raft index: delivered at once, and processed once more when the index is confirmed.

use bytes::Bytes;
use tracing::{debug, error};

use super::Driver;
use crate::{
    kind::Kind,
    nomad::line::{Line, Occurrences, Text},
    position::RaftIndex,
    source::context::Stopped,
    window::Share,
};

impl Driver {
    /// Whether the cluster can be at `index`, according to positions, tables and earlier lines.
    pub(super) fn is_plausible(&self, index: RaftIndex) -> bool {
        index.is_plausible_after(self.confirmed_before(index))
    }

    /// What positions, tables, and the lines before a line of `index` confirm.
    fn confirmed_before(&self, index: RaftIndex) -> RaftIndex {
        let positions = self.trackers.iter().map(|tracker| tracker.cursor.position().index);
        let others = [self.ctx.client.newest_index(), self.unconfirmed.followed_by(index)];
        positions.chain(others).max().unwrap_or_default()
    }

    /// Delivers a line with an implausible index, and keeps it until the index is confirmed.
    pub(super) async fn take_unconfirmed(
        &mut self,
        mut line: Line<'_>,
        text: Bytes,
        share: Option<Share>,
    ) -> Result<(), Stopped> {
        let identities = line.identities();
        if !self.deliver_unconfirmed(&mut line, &share).await? {
            return Ok(());
        }
        let about = about(&line);
        if self.unconfirmed.keep(line.index, text, identities, about) {
            debug!(namespace = &*self.namespace, index = %line.index, "raft index jumped");
            self.ctx.client.claim_index(line.index);
        }
        Ok(())
    }

    /// Whether a line is below an earlier one of the same connection.
    pub(super) fn is_backward(&self, index: RaftIndex) -> bool {
        self.connection.as_ref().is_some_and(|connection| index < connection.read_to) && self.is_proven()
    }

    /// The connection has brought a line of this index.
    pub(super) fn has_read_to(&mut self, index: RaftIndex) {
        if let Some(connection) = &mut self.connection {
            connection.read_to = connection.read_to.max(index);
        }
    }

    /// Delivers a line that is below an earlier one of the same connection. Nomad sends lines in order, so one of the
    /// two has a wrong index. By the other's position, this one and all that follow would be old.
    pub(super) async fn take_backward(&mut self, mut line: Line<'_>, share: Option<Share>) -> Result<(), Stopped> {
        if let Some(connection) = &mut self.connection
            && !std::mem::replace(&mut connection.went_back, true)
        {
            error!(namespace = &*self.namespace, index = %line.index, after = %connection.read_to, event = about(&line),
                server = connection.server, reason = "below that of the event before", "raft index of an event is implausible");
            self.ctx.metrics.process().implausible_indexes.inc();
        }
        let identities = line.identities();
        if self.deliver_unconfirmed(&mut line, &share).await? {
            self.unconfirmed.note(identities);
        }
        Ok(())
    }

    /// Delivers what was not delivered before. `false` if the line has no events.
    async fn deliver_unconfirmed(&mut self, line: &mut Line<'_>, share: &Option<Share>) -> Result<bool, Stopped> {
        if line.identities().is_empty() {
            return Ok(false);
        }
        if !self.first {
            line.events.retain(|event| !event.namespace.is_empty());
        }
        line.know(|event| self.unconfirmed.has_delivered(event));
        for (raw, reason) in &line.unusable {
            self.ctx.dead_letter(Kind::Events, raw, reason).await?;
        }
        for tracker in &mut self.trackers {
            tracker.take_unconfirmed(&self.ctx, line, share).await?;
        }
        Ok(true)
    }

    /// Moves positions by the lines that tables, or a following line of `index`, confirm.
    pub(super) async fn take_confirmed(&mut self, index: RaftIndex) -> Result<(), Stopped> {
        if self.unconfirmed.look_at().is_none() {
            return Ok(());
        }
        let confirmed = self.confirmed_before(index);
        // From the first line of its index on, in order of arrival.
        let mut occurrences = Occurrences::default();
        for text in self.unconfirmed.take_confirmed(confirmed) {
            let text = Text::new(text);
            if let Ok(line) = Line::parse(&text, &mut occurrences) {
                self.take_plausible(line, None).await?;
            }
        }
        Ok(())
    }

    /// The tables have answered, and do not confirm what is kept. `true` if an index is given up: the stream subscribes
    /// again at the last confirmed position, at another address if there is one.
    pub(super) fn give_up_unconfirmed(&mut self, unanswered: bool) -> bool {
        if unanswered && !self.unconfirmed.is_full() {
            self.unconfirmed.ask_later();
            return false;
        }
        let denied = self.unconfirmed.give_up();
        for denied in &denied {
            let confirmed = self.confirmed_before(RaftIndex(0));
            error!(namespace = &*self.namespace, index = %denied.index, event = denied.about, server = self.server(),
                %confirmed, reason = "above all that tables confirm", "raft index of an event is implausible");
            self.ctx.metrics.process().implausible_indexes.inc();
        }
        if !denied.is_empty() {
            self.ctx.client.fail_over(self.server());
        }
        !denied.is_empty()
    }
}

/// Topic and key of a line's first event.
fn about(line: &Line<'_>) -> String {
    line.events.first().map(|event| format!("{}:{}", event.topic, event.key)).unwrap_or_default()
}
