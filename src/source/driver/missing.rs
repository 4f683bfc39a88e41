//! Whether a failure of the stream means that there is no stream.

use std::{sync::Arc, time::Duration};

use tracing::debug;

use super::Driver;
use crate::{
    nomad::{Error, ListQuery},
    source::{
        context::{Interrupted, Source, Stopped},
        stream::absence::Absence,
        tracker::Tracker,
    },
};

/// What a failure says about the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is another failure.
    No,
    /// There seems to be no stream.
    Perhaps,
    /// There has been none for long enough, at a cluster that answers otherwise.
    Surely,
}

impl Driver {
    /// Whether this failure means that there is no stream, and lists have to replace it. By then everything in the
    /// stream's buffer is lost, so one answer is not enough, nor is one that does not come from Nomad.
    pub(super) async fn is_missing(&mut self, error: &Error, absence: &mut Absence) -> Result<Missing, Stopped> {
        let table = self.trackers.iter().find_map(Tracker::table);
        let says_so = match error {
            // It is shown even if lists may not replace the stream.
            Error::HeldBack { .. } => true,
            Error::NoStream { .. } | Error::Refused { permitted: true, .. } => {
                self.ctx.polling.source != Source::Stream
            }
            _ => false,
        };
        let Some(table) = table.filter(|_| says_so) else {
            *absence = Absence::default();
            return Ok(Missing::No);
        };
        let stale = self.ctx.polling.stale.is_some();
        let (client, namespace) = (self.ctx.client.clone(), Arc::clone(&self.namespace));
        let look = async move { client.table(&ListQuery { stale, ..ListQuery::new(table, &namespace) }).await };
        match self.meanwhile(look).await {
            Err(Interrupted::Stopped) => Err(Stopped),
            Ok(_) | Err(Interrupted::Failed(Error::Denied { .. })) => {
                let waited = if let Error::HeldBack { after, .. } = error { *after } else { Duration::ZERO };
                let lasts = absence.seen_for(&self.ctx.polling, waited);
                let at_once = matches!(error, Error::NoStream { .. }) && self.was_polled();
                Ok(if lasts || at_once { Missing::Surely } else { Missing::Perhaps })
            }
            Err(Interrupted::Failed(other)) => {
                debug!(error = %other, "no list either");
                *absence = Absence::default();
                Ok(Missing::No)
            }
        }
    }

    /// Whether lists were the last to move the checkpoint: there was no stream before the restart either.
    fn was_polled(&self) -> bool {
        let by_list = |tracker: &Tracker| {
            let position = tracker.cursor.position();
            let anchor = tracker.anchor();
            position.seen.is_empty() && anchor.is_some_and(|anchor| anchor.index == position.index)
        };
        self.connection.is_none() && self.trackers.iter().any(by_list)
    }
}
