//! Reads one connection ahead of the lane, as far as the window has room.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{
    line,
    standby::Ring,
    window::{Share, Window},
};
use crate::{
    kind::Kind,
    nomad::{Error, EventStream},
    telemetry::Metrics,
};

/// Lines read ahead, next to the bound in bytes: many tiny lines have a cost of their own.
const LINES_AHEAD: usize = 1024;

/// A connection that brings nothing for so long has nothing on its way.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// The lines of one connection, in order.
#[derive(Debug)]
pub(super) struct Reader {
    quiet: Arc<AtomicBool>,
    lines: mpsc::Receiver<Result<(Bytes, Option<Share>), Error>>,
    _task: AbortOnDropHandle<()>,
}

/// Notes how far the lines that have come reach.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) metrics: Metrics,
    pub(super) kinds: Vec<Kind>,
}

impl Received {
    fn note(&self, line: &[u8]) {
        if let Some(index) = line::index_of(line) {
            self.kinds.iter().for_each(|kind| self.metrics.seen(*kind, index));
        }
    }
}

impl Reader {
    /// Starts to read `stream`.
    pub(super) fn new(stream: EventStream, window: Window, received: Received) -> Self {
        Reader::start(None, Some(stream), window, received)
    }

    /// Gives what `held` holds, line by line as the window has room, and goes on with `stream`; without one it then ends
    /// as a connection does.
    pub(super) fn warm(held: Ring, stream: Option<EventStream>, window: Window, received: Received) -> Self {
        Reader::start(Some(held), stream, window, received)
    }

    fn start(held: Option<Ring>, stream: Option<EventStream>, window: Window, received: Received) -> Self {
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        let quiet = Arc::new(AtomicBool::new(false));
        let is_quiet = Arc::clone(&quiet);
        let task = tokio::spawn(async move {
            if let Some(mut held) = held {
                while let Some(line) = held.pop() {
                    received.note(&line);
                    let share = window.line(line.len()).await;
                    if sender.send(Ok((line, share))).await.is_err() {
                        return;
                    }
                }
            }
            let Some(mut stream) = stream else { return };
            loop {
                window.room().await;
                let line = next_line(&mut stream, &is_quiet).await;
                is_quiet.store(false, Ordering::Release);
                let item = match line {
                    Ok(Some(line)) => {
                        // Before it waits for room: what waits there is known, too.
                        received.note(&line);
                        let share = window.line(line.len()).await;
                        Ok((line, share))
                    }
                    Ok(None) => return,
                    Err(error) => Err(error),
                };
                let last = item.is_err();
                if sender.send(item).await.is_err() || last {
                    return;
                }
            }
        });
        Reader { quiet, lines, _task: AbortOnDropHandle::new(task) }
    }

    /// The next line; `None` when the server has ended the connection.
    ///
    /// # Errors
    /// Why the connection failed; it gives no more lines.
    pub(super) async fn next(&mut self) -> Result<Option<(Bytes, Option<Share>)>, Error> {
        self.lines.recv().await.transpose()
    }

    /// The server had its time, there was room, and yet not even the beginning of a line has come.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Acquire) && self.is_empty()
    }

    /// Whether no line is there already.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

async fn next_line(stream: &mut EventStream, quiet: &AtomicBool) -> Result<Option<Bytes>, Error> {
    loop {
        match timeout(QUIET_AFTER, stream.next_line()).await {
            Ok(line) => return line,
            Err(_) => quiet.store(!stream.is_mid_line(), Ordering::Release),
        }
    }
}
