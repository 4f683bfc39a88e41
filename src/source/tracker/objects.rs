//! Single objects of a page, read one by one: which are delivered, tried again, or given up.

use bytes::Bytes;
use serde_json::json;
use tracing::error;

use super::{Submission, Tracker, lists::Due};
use crate::{
    resource::Listed,
    source::{
        backfill::{fetch::Unread, page_error::PageError, reader::PendingPage},
        context::{Context, Interrupted, Stopped},
    },
    window::Share,
};

/// If every object of a page fails, the server is more likely at fault: so many times more tries are made.
const EXTRA_TRIES: u32 = 4;

impl From<PageError> for Interrupted<PageError> {
    fn from(failed: PageError) -> Self {
        Interrupted::Failed(failed)
    }
}

impl Tracker {
    /// Delivers a single listed object, if its current version is still missing.
    pub(super) async fn take_object(
        &mut self,
        ctx: &Context,
        wanted: Listed,
        answer: Result<Option<Bytes>, Unread>,
        share: Option<Share>,
    ) -> Result<(), Interrupted<PageError>> {
        let identity = self.identity(&wanted);
        let Some(page) = &mut self.list.page else { return Err(PageError::Gone.into()) };
        let element = match answer {
            Ok(element) => {
                page.read_objects += 1;
                element
            }
            Err(Unread::Nomad(error)) if Unread::is_of_all(&error) => return Err(PageError::from(error).into()),
            Err(reason) => {
                page.unread.push((wanted, reason));
                return Ok(());
            }
        };
        let Some(element) = element else {
            // A leader that has not applied all that the one before it had would say so too. If the object is gone, the
            // stream has its purge, if there is one.
            if self.backfill.not_found(identity) {
                page.failed = Some(PageError::Absent { id: wanted.id });
            } else {
                self.confirm_gap(ctx);
            }
            return Ok(());
        };
        let mut submission = Submission::default();
        let made = match Listed::parse(&element).map(|listed| listed.of(self.kind)) {
            // The leader that listed it would give this version or a newer one.
            Ok(Listed { modify_index: given, .. }) if given < wanted.modify_index => {
                let Listed { id, modify_index: listed, .. } = wanted;
                page.failed = Some(PageError::Older { id, listed, given });
                return Ok(());
            }
            // The stream may deliver its current version. The listed version will not arrive.
            Ok(listed) if self.due(&listed) != Due::Yes => {
                self.confirm_gap(ctx);
                return Ok(());
            }
            Ok(listed) => self.deliver(ctx, &element, &listed, &mut submission),
            Err(reason) => Err(reason),
        };
        if let Err(reason) = made {
            self.refuse(ctx, &element, &reason).await?;
        }
        Ok(self.submit(ctx, submission, share).await?)
    }

    /// Tries unreadable objects again with the page, or gives them up.
    pub(super) async fn try_unread_again(&mut self, ctx: &Context, page: &mut PendingPage) -> Result<(), Stopped> {
        let all_fail = page.read_objects == 0 && page.unread.len() > 1;
        for (wanted, reason) in std::mem::take(&mut page.unread) {
            let tries = self.backfill.unread(self.identity(&wanted));
            let factor = if all_fail && reason.can_be_of_all() { EXTRA_TRIES } else { 1 };
            if reason.tries().is_some_and(|most| tries >= most * factor) {
                self.give_up(ctx, &wanted, &reason).await?;
            } else {
                let Listed { id, namespace, .. } = wanted;
                page.failed = Some(PageError::Unread { id, namespace, reason: Box::new(reason) });
            }
        }
        Ok(())
    }

    /// One unreadable object holds up no list: it becomes a dead letter that names it.
    async fn give_up(&mut self, ctx: &Context, wanted: &Listed, reason: &Unread) -> Result<(), Stopped> {
        let (kind, Listed { id, namespace, modify_index: index, .. }) = (self.kind, wanted);
        error!(%kind, namespace, id, %index, %reason, action = "dead letter", "cannot read a listed object");
        let text = json!({"Kind": kind.name(), "Namespace": namespace, "ID": id, "ModifyIndex": index.0}).to_string();
        let reason = format!("{kind}: {id:?} in namespace {namespace:?} at index {index} cannot be read: {reason}");
        ctx.dead_letter(kind, text.as_bytes(), &reason).await?;
        let identity = self.identity(wanted);
        if self.is_beyond_gaps(*index, identity) {
            self.note_polled(ctx, *index, identity);
        }
        self.backfill.delivered(identity);
        Ok(())
    }
}
