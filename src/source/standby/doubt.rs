//! Whether a stream has ended in all but name.
//!
//! Where a server no longer has what it is asked for, it begins with the oldest line that it keeps, and drops a reader
//! that still stands there when that line goes. It closes the connection only two seconds later, and a small buffer has
//! gone round by then: what the ring would have gone on with is lost, too.
//!
//! A table that has moved is a reason to look, and no proof: tables move without an event. So a second stream is opened
//! beside the first, which is left only when the second has brought what it lacks.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};

use super::intake::{News, Trial};
use crate::{
    nomad::{Client, EventStream, StreamQuery, Table},
    position::RaftIndex,
};

/// For how long a stream that has begun may bring nothing before the tables are asked.
const QUIET: Duration = Duration::from_millis(200);
/// How long a line may take that the tables tell of.
const ON_ITS_WAY: Duration = Duration::from_millis(100);
/// The same, where the second stream has brought it, and the ring would have to begin anew with that.
const ON_ITS_LONG_WAY: Duration = Duration::from_secs(1);
/// How long the second stream has to bring it. The server closes the first one sooner, if it has dropped it.
const UNDECIDED: Duration = Duration::from_secs(3);

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

/// A stream to leave the first one for.
pub(super) struct Second {
    pub(super) stream: EventStream,
    /// What it has brought. Only the last of them is not held.
    pub(super) lines: Vec<Bytes>,
}

/// A stream to leave the first one for; `None` where that is to be kept. Whatever the first brings meanwhile shows that it
/// lives: the answer is of no use then.
pub(super) fn second(
    client: Client,
    query: StreamQuery,
    read_to: RaftIndex,
    trial: Trial,
) -> BoxFuture<'static, Option<Second>> {
    Box::pin(async move {
        if !is_behind(&client, &query, read_to).await {
            return None;
        }
        let (stream, lines, news) = timeout(UNDECIDED, begin(&client, &query, trial)).await.ok()??;
        sleep(match news {
            News::GoesOn => ON_ITS_WAY,
            News::Anew => ON_ITS_LONG_WAY,
        })
        .await;
        Some(Second { stream, lines })
    })
}

/// Opens the second stream, and reads what is held up to the first line that is not. `None` where it fails: the first is
/// all there is, and ends by itself if it has to.
async fn begin(client: &Client, query: &StreamQuery, mut trial: Trial) -> Option<(EventStream, Vec<Bytes>, News)> {
    let mut stream = client.stream(query).await.ok()?;
    // The server repeats little: it is asked for the last line that is held, or the one before.
    let mut lines = Vec::new();
    loop {
        let line = stream.next_line().await.ok()??;
        let news = trial.look(&line).ok()?;
        lines.push(line);
        if let Some(news) = news {
            return Some((stream, lines, news));
        }
    }
}

/// Whether a table that the subscription tells of has moved past what was read, and its line has had its time to come.
async fn is_behind(client: &Client, query: &StreamQuery, read_to: RaftIndex) -> bool {
    let is_told_of = |table: &Table| query.topics.iter().any(|topic| topic.name == "*" || topic.name == table.topic());
    for table in Table::ALL.into_iter().filter(is_told_of) {
        // Where nobody answers, the stream ends by itself.
        if client.table_index(table, &query.namespace).await.is_ok_and(|index| index > read_to) {
            sleep(ON_ITS_WAY).await;
            return true;
        }
    }
    false
}
