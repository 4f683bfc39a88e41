//! Whether the server has dropped a stream that still looks open, and the second stream that replaces it.
//!
//! A server that no longer has what it is asked for starts with its oldest line, and drops a reader that is still there
//! when that line leaves its buffer. It closes the connection only two seconds later, and by then a small buffer has
//! gone round: the next lines are lost too.
//!
//! A table that has moved is a reason to check, and no proof: tables move without an event. So a second stream is
//! opened beside the first. The first is left only if the second brings a line that it lacks.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};

use super::feed::{Comparison, StreamDifference};
use crate::{
    nomad::{Client, EventStream, StreamQuery, Table},
    position::RaftIndex,
    source::resume::topics::has_table,
};

/// How long a new stream may bring nothing before the tables are asked.
const QUIET: Duration = Duration::from_millis(200);
/// How long a line may take to arrive after its table has moved.
const ARRIVAL: Duration = Duration::from_millis(100);
/// The same if the second stream has brought it, and the buffer would have to restart with it.
const ARRIVAL_BEFORE_RESTART: Duration = Duration::from_secs(1);
/// How long the second stream may take to bring it. If the server has dropped the first stream, it closes that sooner.
const SECOND_STREAM_WAIT: Duration = Duration::from_secs(3);

/// A new stream, until it falls quiet for the first time. After that its reader is no longer at the oldest line.
#[derive(Debug)]
pub(super) struct QuietCheck {
    /// When to check it.
    pub(super) due: Instant,
    read_to: RaftIndex,
}

impl QuietCheck {
    /// The stream has just begun.
    pub(super) fn new(read_to: RaftIndex) -> Self {
        QuietCheck { due: Instant::now() + QUIET, read_to }
    }

    /// Checks it again. `None` if it is quiet: the tables decide.
    pub(super) fn look(self, read_to: RaftIndex) -> Option<QuietCheck> {
        (read_to != self.read_to).then(|| QuietCheck::new(read_to))
    }
}

/// A stream that replaces the first one.
pub(super) struct SecondStream {
    pub(super) stream: EventStream,
    /// Its lines. Only the last of them is not in the buffer.
    pub(super) lines: Vec<Bytes>,
}

/// Opens a second stream, and returns it if it replaces the first; `None` if the first stays. Whatever the first brings
/// meanwhile shows that it lives, and makes the answer useless.
pub(super) fn open(
    client: Client,
    query: StreamQuery,
    read_to: RaftIndex,
    comparison: Comparison,
) -> BoxFuture<'static, Option<SecondStream>> {
    Box::pin(async move {
        if !is_behind(&client, &query, read_to).await {
            return None;
        }
        let (stream, lines, difference) =
            timeout(SECOND_STREAM_WAIT, read_to_difference(&client, &query, comparison)).await.ok()??;
        sleep(match difference {
            StreamDifference::Continues => ARRIVAL,
            StreamDifference::NeedsRestart => ARRIVAL_BEFORE_RESTART,
        })
        .await;
        Some(SecondStream { stream, lines })
    })
}

/// Opens the second stream, and reads up to the first line that is not in the buffer. `None` if it fails: then there is
/// only the first, which ends by itself if it has to.
async fn read_to_difference(
    client: &Client,
    query: &StreamQuery,
    mut comparison: Comparison,
) -> Option<(EventStream, Vec<Bytes>, StreamDifference)> {
    let mut stream = client.stream(query).await.ok()?;
    // The server repeats little: it is asked for the last buffered line, or the one before.
    let mut lines = Vec::new();
    loop {
        let line = stream.next_line().await.ok()??;
        let difference = comparison.compare(&line).ok()?;
        lines.push(line);
        if let Some(difference) = difference {
            return Some((stream, lines, difference));
        }
    }
}

/// Whether a table of the subscription has moved past what was read, and its line has had its time to arrive.
async fn is_behind(client: &Client, query: &StreamQuery, read_to: RaftIndex) -> bool {
    for table in Table::ALL.into_iter().filter(|table| has_table(&query.topics, *table)) {
        // If no server answers, the stream ends by itself.
        if client.table_index(table, &query.namespace).await.is_ok_and(|index| index > read_to) {
            sleep(ARRIVAL).await;
            return true;
        }
    }
    false
}
