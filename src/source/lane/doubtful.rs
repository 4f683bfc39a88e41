//! Lines whose raft index nothing confirms yet: delivered at once, and taken once more when it is confirmed.

use bytes::Bytes;
use tracing::{debug, error};

use super::Lane;
use crate::{
    kind::Kind,
    position::RaftIndex,
    source::{
        Stopped,
        line::{Line, Occurrences, Text},
        window::Share,
    },
};

impl Lane {
    /// Whether the cluster can be at `index`, as far as positions, tables and earlier lines tell.
    pub(super) fn is_plausible(&self, index: RaftIndex) -> bool {
        index.is_plausible_after(self.confirmed_before(index))
    }

    /// What positions, tables, and the lines that a line of `index` follows confirm.
    fn confirmed_before(&self, index: RaftIndex) -> RaftIndex {
        let positions = self.members.iter().map(|member| member.cursor.position().index);
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
        if !self.first {
            line.events.retain(|event| !event.namespace.is_empty());
        }
        if identities.is_empty() {
            return Ok(());
        }
        line.know(|event| self.doubts.has_delivered(event));
        for (raw, reason) in &line.unusable {
            self.ctx.dead_letter(Kind::Events, raw, reason).await?;
        }
        for member in &mut self.members {
            member.take_doubtful(&self.ctx, &line, &share).await?;
        }
        let about = line.events.first().map(|event| format!("{}:{}", event.topic, event.key)).unwrap_or_default();
        if self.doubts.keep(line.index, text, identities, about) {
            debug!(namespace = &*self.namespace, index = %line.index, "raft index jumps, asking the tables");
            self.ctx.client.claim_index(line.index);
        }
        Ok(())
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
            error!(namespace = &*self.namespace, index = %denied.index, event = denied.about, server = self.server,
                %confirmed, "event's raft index is not plausible, subscribing again");
            self.ctx.metrics.implausible_index();
        }
        if !denied.is_empty() {
            self.ctx.client.fail_over(&self.server);
        }
        !denied.is_empty()
    }
}
