//! Lines whose raft index nothing confirms yet: delivered at once, and taken once more when it is confirmed.

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
    /// Whether the cluster can be at `index`, as far as positions, tables and earlier lines tell.
    pub(super) fn is_plausible(&self, index: RaftIndex) -> bool {
        index.is_plausible_after(self.confirmed_before(index))
    }

    /// What positions, tables, and the lines that a line of `index` follows confirm.
    fn confirmed_before(&self, index: RaftIndex) -> RaftIndex {
        let positions = self.trackers.iter().map(|tracker| tracker.cursor.position().index);
        let others = [self.ctx.client.newest_index(), self.doubts.followed_by(index)];
        positions.chain(others).max().unwrap_or_default()
    }

    /// Delivers a line of a doubtful index. Its place is taken when the index is confirmed.
    pub(super) async fn take_doubtful(
        &mut self,
        mut line: Line<'_>,
        text: Bytes,
        share: Option<Share>,
    ) -> Result<(), Stopped> {
        let identities = line.identities();
        if !self.deliver_doubtful(&mut line, &share).await? {
            return Ok(());
        }
        let about = about(&line);
        if self.doubts.keep(line.index, text, identities, about) {
            debug!(namespace = &*self.namespace, index = %line.index, "raft index jumped");
            self.ctx.client.claim_index(line.index);
        }
        Ok(())
    }

    /// Whether a line is below one that came before it on the same connection.
    pub(super) fn is_backward(&self, index: RaftIndex) -> bool {
        self.connection.as_ref().is_some_and(|connection| index < connection.read_to) && self.is_proven()
    }

    /// The connection has brought a line of this index.
    pub(super) fn has_read_to(&mut self, index: RaftIndex) {
        if let Some(connection) = &mut self.connection {
            connection.read_to = connection.read_to.max(index);
        }
    }

    /// Delivers a line that is below one that came before it on the same connection: one of the two has a wrong index.
    /// Nomad sends them in order. By the other's place, this one and all that follow would be old.
    pub(super) async fn take_backward(&mut self, mut line: Line<'_>, share: Option<Share>) -> Result<(), Stopped> {
        if let Some(connection) = &mut self.connection
            && !std::mem::replace(&mut connection.went_back, true)
        {
            error!(namespace = &*self.namespace, index = %line.index, after = %connection.read_to, event = about(&line),
                server = connection.server, reason = "below that of the event before", "raft index of an event is implausible");
            self.ctx.metrics.process().implausible_indexes.inc();
        }
        let identities = line.identities();
        if self.deliver_doubtful(&mut line, &share).await? {
            self.doubts.note(identities);
        }
        Ok(())
    }

    /// Delivers what was not delivered under doubt before. `false` where the line has nothing.
    async fn deliver_doubtful(&mut self, line: &mut Line<'_>, share: &Option<Share>) -> Result<bool, Stopped> {
        if line.identities().is_empty() {
            return Ok(false);
        }
        if !self.first {
            line.events.retain(|event| !event.namespace.is_empty());
        }
        line.know(|event| self.doubts.has_delivered(event));
        for (raw, reason) in &line.unusable {
            self.ctx.dead_letter(Kind::Events, raw, reason).await?;
        }
        for tracker in &mut self.trackers {
            tracker.take_doubtful(&self.ctx, line, share).await?;
        }
        Ok(true)
    }

    /// Gives the lines their places that tables or a line of `index`, which follows them, confirm.
    pub(super) async fn take_confirmed(&mut self, index: RaftIndex) -> Result<(), Stopped> {
        if self.doubts.look_at().is_none() {
            return Ok(());
        }
        let confirmed = self.confirmed_before(index);
        // From the first line of its index on, as they came.
        let mut occurrences = Occurrences::default();
        for text in self.doubts.take_confirmed(confirmed) {
            let text = Text::new(text);
            if let Ok(line) = Line::parse(&text, &mut occurrences) {
                self.take_plausible(line, None).await?;
            }
        }
        Ok(())
    }

    /// The tables have answered, and what is still kept is not confirmed. `true` when it is denied for good: the
    /// subscription begins again at the last confirmed position, at another address if there is one.
    pub(super) fn deny(&mut self, unanswered: bool) -> bool {
        if unanswered && !self.doubts.is_full() {
            self.doubts.ask_later();
            return false;
        }
        let denied = self.doubts.deny();
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
