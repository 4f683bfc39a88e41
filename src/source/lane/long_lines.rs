//! Lines that are too long to be held. What they had is a gap: lists give what is left of it, and everything behind it goes
//! on.

use tracing::error;

use super::Lane;
use crate::{
    nomad::LongLine,
    source::{
        Stopped,
        line::{self, Line, Occurrences},
    },
};

impl Lane {
    /// Books a line that was too long as a gap, and moves past it. Its raft index is all that is known of it: by that it is
    /// known again when the server sends it once more, so that it is reported once.
    ///
    /// `false` where the index is not known or not plausible: then it is as any other line that cannot be read.
    pub(super) async fn pass_over(&mut self, long: &LongLine, occurrences: &mut Occurrences) -> Result<bool, Stopped> {
        let index = line::index_of_long(long).filter(|index| self.is_plausible(*index));
        let Some(index) = index else {
            return self.garbage(&long.head, long.bytes, &line::Error::TooLong { bytes: long.bytes }).await;
        };
        let line = Line::passed_over(index, occurrences);
        let is_new = line
            .identities()
            .iter()
            .any(|identity| self.members.iter().any(|member| member.cursor.is_new(index, *identity)));
        if is_new {
            error!(
                namespace = &*self.namespace,
                %index,
                bytes = long.bytes,
                server = self.server,
                action = "read final versions from lists",
                "event stream line is too long, passed over"
            );
        }
        self.take_confirmed(index).await?;
        self.take_plausible(line, None).await?;
        Ok(true)
    }
}
