//! Topics of raw events that were added to a checkpoint: what they had before is never delivered, so it is a gap.

use tracing::warn;

use super::{Batch, Tracker};
use crate::{
    position::RaftIndex,
    resource,
    source::context::{Context, Stopped},
};

impl Tracker {
    /// Reports the topics that are wanted, and that the checkpoint's own subscription did not have. The report and the
    /// topics of the checkpoint take effect together: until it is delivered it is repeated, and after that never.
    pub(in crate::source) async fn report_new_topics(&mut self, ctx: &Context) -> Result<(), Stopped> {
        let Some(new) = self.topics.take_added() else { return Ok(()) };
        let mut batch = Batch::default();
        if !new.is_empty() {
            let from = RaftIndex(self.cursor.position().index.0.saturating_add(1));
            ctx.metrics.gap(self.kind, from.0);
            warn!(
                kind = %self.kind,
                namespace = &*self.namespace,
                topics = new.join(","),
                %from,
                "topics added without their earlier events"
            );
            batch.drafts.push(resource::gap_of_topics(&self.namespace, from, &new));
        }
        // Fewer topics are stored, too: what they miss from here on is a gap when they are wanted again.
        self.submit(ctx, batch, None).await
    }
}
