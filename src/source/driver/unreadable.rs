//! Lines that cannot be delivered: those that are too long, and those that are no events. Everything after them goes
//! on.

use bytes::Bytes;
use tracing::error;
use xxhash_rust::xxh3::xxh3_64;

use super::Driver;
use crate::{
    dead_letter::{Input, LOGGED},
    kind::Kind,
    nomad::{
        LongLine,
        line::{self, Garbage, Line, Occurrences},
    },
    redact,
    source::context::Stopped,
    throttle::{Classified as _, Throttle},
};

/// The unreadable lines of a stream.
#[derive(Debug, Default)]
pub(super) struct Unreadable {
    /// The last one.
    last: Garbage,
    /// How often such lines are logged: each connection can bring one.
    log: Throttle,
    /// Whether the log has the last one.
    is_logged: bool,
}

impl Driver {
    /// Books a line that was too long as a gap, and moves past it. Only its raft index is known: by that the line is
    /// recognized when the server sends it again, so that it is reported once.
    ///
    /// `false` if the index is unknown or implausible: then it counts as any other unreadable line.
    pub(super) async fn pass_over(&mut self, long: &LongLine, occurrences: &mut Occurrences) -> Result<bool, Stopped> {
        let index = line::index_of_long(long);
        let index = index.filter(|index| self.is_plausible(*index) && !self.is_backward(*index));
        let Some(index) = index else {
            return self.take_garbage(&long.head, long.bytes, &line::Error::TooLong { bytes: long.bytes }).await;
        };
        let line = Line::passed_over(index, occurrences);
        let is_new = line
            .identities()
            .iter()
            .any(|identity| self.trackers.iter().any(|tracker| tracker.cursor.is_new(index, *identity)));
        if is_new {
            error!(
                namespace = &*self.namespace,
                %index,
                bytes = long.bytes,
                server = self.server(),
                action = "read final versions from lists",
                "event stream line too long"
            );
        }
        self.take_confirmed(index).await?;
        self.has_read_to(index);
        self.take_plausible(line, None).await?;
        Ok(true)
    }

    /// A line that is no JSON is an error message of the server, or damage on the wire. Its start is logged once,
    /// unless a file keeps the whole, and the connection is given up. If it comes again at the same place, it is the
    /// server's own, and becomes a dead letter.
    ///
    /// `text` is the line, or the start of one of so many `bytes`.
    pub(super) async fn take_garbage(
        &mut self,
        text: &Bytes,
        bytes: u64,
        failure: &line::Error,
    ) -> Result<bool, Stopped> {
        self.ctx.metrics.process().unreadable_lines.inc();
        let times = self.unreadable.last.seen(xxh3_64(text), self.position());
        let reason = failure.to_string();
        if times == 1 {
            self.unreadable.is_logged = false;
        }
        if let Some(lines) = self.unreadable.log.due(failure.class()) {
            let line = (!self.ctx.dead_letters.keeps()).then(|| redact::shown(text, LOGGED));
            self.unreadable.is_logged = line.is_some();
            error!(namespace = &*self.namespace, reason, times, lines, bytes, line, "cannot read an event stream line");
        }
        if times < Garbage::PASSED_OVER {
            return Ok(false);
        }
        let (context, is_logged) = (Kind::Events.name(), self.unreadable.is_logged);
        self.ctx.unreadable(Kind::Events, Input { raw: text, reason: &reason, context, is_logged }).await?;
        Ok(true)
    }
}
