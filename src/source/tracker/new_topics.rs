//! Topics of raw events that were added since the checkpoint: their earlier events are never delivered, so that is a
//! gap.

use tracing::warn;

use super::{Submission, Tracker};
use crate::{
    resource,
    source::context::{Context, Stopped},
};

impl Tracker {
    /// Reports the wanted topics that the checkpoint's own subscription did not have. The report and the stored topics
    /// take effect together: the report is repeated until it is delivered, and never again.
    pub(crate) async fn report_new_topics(&mut self, ctx: &Context) -> Result<(), Stopped> {
        let Some(new) = self.topics.take_added() else { return Ok(()) };
        let mut submission = Submission::default();
        if !new.is_empty() {
            let from = self.cursor.position().index.next();
            ctx.metrics.gap(self.kind, from.0);
            warn!(
                kind = %self.kind,
                namespace = &*self.namespace,
                topics = new.join(","),
                %from,
                "topics added without their earlier events"
            );
            submission.drafts.push(resource::gap_of_topics(&self.namespace, from, &new));
        }
        // A smaller set is stored too: what is missed from here on is a gap when the topics are wanted again.
        self.submit(ctx, submission, None).await
    }
}
