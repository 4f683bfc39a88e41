//! Reads one connection ahead of the lane, as far as the window has room.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::window::{Share, Window};
use crate::nomad::{Error, EventStream};

/// Lines read ahead, next to the bound in bytes: many tiny lines have a cost of their own.
const LINES_AHEAD: usize = 1024;

/// The lines of one connection, in order.
#[derive(Debug)]
pub(super) struct Reader {
    lines: mpsc::Receiver<Result<(Bytes, Option<Share>), Error>>,
    _task: AbortOnDropHandle<()>,
}

impl Reader {
    /// Starts to read `stream`.
    pub(super) fn new(mut stream: EventStream, window: Window) -> Self {
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        let task = tokio::spawn(async move {
            loop {
                window.room().await;
                let item = match stream.next_line().await {
                    Ok(Some(line)) => {
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
        Reader { lines, _task: AbortOnDropHandle::new(task) }
    }

    /// The next line; `None` when the server has ended the connection.
    ///
    /// # Errors
    /// Why the connection failed; it gives no more lines.
    pub(super) async fn next(&mut self) -> Result<Option<(Bytes, Option<Share>)>, Error> {
        self.lines.recv().await.transpose()
    }

    /// Whether no line is there already.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}
