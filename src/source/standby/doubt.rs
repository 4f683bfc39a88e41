//! Whether a stream has ended in all but name.
//!
//! Where a server no longer has what it is asked for, it begins with the oldest line that it keeps, and drops a reader
//! that still stands there when that line goes. It closes the connection only two seconds later, and a small buffer has
//! gone round by then: what the ring would have gone on with is lost, too.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use crate::{
    nomad::{Client, Table, Topic},
    position::RaftIndex,
};

/// For how long a stream that has begun may bring nothing before the tables are asked.
const QUIET: Duration = Duration::from_millis(200);
/// How long a line may take that the tables tell of.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// A stream that has begun, until it falls quiet for the first time. Whoever has read all that there was does not stand
/// at the oldest line any more.
#[derive(Debug)]
pub(super) struct Doubt {
    /// When to look at it.
    pub(super) due: Instant,
    read_to: RaftIndex,
}

impl Doubt {
    /// The stream has just begun.
    pub(super) fn new(read_to: RaftIndex) -> Self {
        Doubt { due: Instant::now() + QUIET, read_to }
    }

    /// Looks at it again. `None` when it is quiet, and the tables have the next word.
    pub(super) fn look(self, read_to: RaftIndex) -> Option<Doubt> {
        (read_to != self.read_to).then(|| Doubt::new(read_to))
    }
}

/// Whether a table that `topics` tell of has moved past what was read, and its line has had its time to come.
pub(super) fn is_behind(
    client: Client,
    namespace: Arc<str>,
    topics: &[Topic],
    read_to: RaftIndex,
) -> BoxFuture<'static, bool> {
    let is_told_of = |table: &Table| topics.iter().any(|topic| topic.name == "*" || topic.name == table.topic());
    let tables: Vec<Table> = Table::ALL.into_iter().filter(is_told_of).collect();
    Box::pin(async move {
        for table in tables {
            // Where nobody answers, the stream ends by itself.
            if client.table_index(table, &namespace).await.is_ok_and(|index| index > read_to) {
                sleep(ON_ITS_WAY).await;
                return true;
            }
        }
        false
    })
}
