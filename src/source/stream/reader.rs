//! The task that reads one connection ahead of the driver, as far as the window has room.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::replay_buffer::ReplayBuffer;
use crate::{
    kind::Kind,
    nomad::{Error, EventStream, line},
    position::RaftIndex,
    telemetry::Metrics,
    window::{Share, Window},
};

/// A connection that lived this long was a good one: the next failure starts with the shortest pause.
pub(crate) const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// The most lines read ahead, besides the bound in bytes: many tiny lines have a cost of their own.
const LINES_AHEAD: usize = 1024;

/// A connection that brings nothing for so long has nothing under way.
const QUIET_AFTER: Duration = Duration::from_secs(1);

/// Half a line that does not grow for so long is held back by a proxy: Nomad writes whole lines.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// What the connection looks like while no whole line arrives.
#[derive(Debug, Default)]
struct Silence {
    quiet: AtomicBool,
    stalled: AtomicBool,
    /// Stays set.
    unbuffered: AtomicBool,
    /// A line waits for room in the pipeline.
    held_up: AtomicBool,
    /// One has waited since the last question.
    was_held_up: AtomicBool,
}

impl Silence {
    fn set(&self, quiet: bool, stalled: bool) {
        self.quiet.store(quiet, Ordering::Release);
        self.stalled.store(stalled, Ordering::Release);
    }

    /// Waits for room in the pipeline, and shows that it does.
    async fn wait_for<T>(&self, room: impl Future<Output = T>) -> T {
        let mut room = pin!(room);
        if let Some(found) = room.as_mut().now_or_never() {
            return found;
        }
        self.held_up.store(true, Ordering::Release);
        let found = room.await;
        self.was_held_up.store(true, Ordering::Release);
        self.held_up.store(false, Ordering::Release);
        found
    }

    fn look_at(&self, stream: &EventStream) {
        if stream.is_unbuffered() {
            self.unbuffered.store(true, Ordering::Release);
        }
    }
}

/// The lines of one connection, in order.
#[derive(Debug)]
pub(crate) struct LineReader {
    silence: Arc<Silence>,
    lines: mpsc::Receiver<Result<(Bytes, Option<Share>), Error>>,
    _task: AbortOnDropHandle<()>,
}

/// Records how far the received lines reach.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) metrics: Metrics,
    pub(crate) kinds: Vec<Kind>,
}

impl Received {
    /// Notes a line that was received now, and returns when that is.
    fn note(&self, index: Option<RaftIndex>) -> Instant {
        let now = Instant::now();
        if let Some(index) = index {
            self.kinds.iter().for_each(|kind| self.metrics.received(*kind, index, now));
        }
        now
    }
}

impl LineReader {
    /// Starts to read `stream`.
    pub(crate) fn new(stream: EventStream, window: Window, received: Received) -> Self {
        LineReader::start(None, Some(stream), window, received)
    }

    /// Returns the lines of `buffer`, as the window has room, and then those of `stream`. Without a stream it then ends
    /// as a connection does.
    pub(crate) fn warm(buffer: ReplayBuffer, stream: Option<EventStream>, window: Window, received: Received) -> Self {
        LineReader::start(Some(buffer), stream, window, received)
    }

    fn start(buffer: Option<ReplayBuffer>, stream: Option<EventStream>, window: Window, received: Received) -> Self {
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        let silence = Arc::new(Silence::default());
        let now = Arc::clone(&silence);
        let task = tokio::spawn(async move {
            if let Some(mut buffer) = buffer {
                while let Some(line) = buffer.pop() {
                    let at = received.note(line::index_of(&line));
                    let share = now.wait_for(window.received_line(line.len(), at)).await;
                    if now.wait_for(sender.send(Ok((line, share)))).await.is_err() {
                        return;
                    }
                }
            }
            let Some(mut stream) = stream else { return };
            now.look_at(&stream);
            loop {
                now.wait_for(window.room()).await;
                let line = next_line(&mut stream, &now).await;
                now.set(false, false);
                now.look_at(&stream);
                let mut last = false;
                let item = match line {
                    Ok(Some(line)) => {
                        // Before the wait for room: a line that waits there has been received too.
                        let at = received.note(line::index_of(&line));
                        let share = now.wait_for(window.received_line(line.len(), at)).await;
                        Ok((line, share))
                    }
                    Ok(None) => return,
                    Err(error) => {
                        match &error {
                            Error::LongLine { line, .. } => {
                                received.note(line::index_of_long(line));
                            }
                            _ => last = true,
                        }
                        Err(error)
                    }
                };
                if now.wait_for(sender.send(item)).await.is_err() || last {
                    return;
                }
            }
        });
        LineReader { silence, lines, _task: AbortOnDropHandle::new(task) }
    }

    /// The next line; `None` when the server has ended the connection.
    ///
    /// # Errors
    /// The connection failed, and brings no more lines, except after [`Error::LongLine`].
    pub(crate) async fn next(&mut self) -> Result<Option<(Bytes, Option<Share>)>, Error> {
        self.lines.recv().await.transpose()
    }

    /// The server had its time, there was room, and not even the beginning of a line has arrived.
    pub(crate) fn is_quiet(&self) -> bool {
        self.silence.quiet.load(Ordering::Acquire) && self.is_empty()
    }

    /// The beginning of a line has arrived, and no more of it for some seconds.
    pub(crate) fn is_stalled(&self) -> bool {
        self.silence.stalled.load(Ordering::Acquire) && self.is_empty()
    }

    /// Whether a line waits for room in the pipeline, or has since the last call: what is behind is the sink then, and not the stream.
    pub(crate) fn take_held_up(&self) -> bool {
        let was = self.silence.was_held_up.swap(false, Ordering::AcqRel);
        was || self.silence.held_up.load(Ordering::Acquire) || !self.is_empty()
    }

    /// Whether the connection has shown that no proxy holds its lines back.
    pub(crate) fn is_unbuffered(&self) -> bool {
        self.silence.unbuffered.load(Ordering::Acquire)
    }

    /// Whether no line is waiting.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

async fn next_line(stream: &mut EventStream, silence: &Silence) -> Result<Option<Bytes>, Error> {
    let (mut known, mut grown) = (0, Instant::now());
    loop {
        match timeout(QUIET_AFTER, stream.next_line()).await {
            Ok(line) => return line,
            Err(_) => {
                let bytes = stream.bytes_of_line();
                if std::mem::replace(&mut known, bytes) != bytes {
                    grown = Instant::now();
                }
                silence.set(bytes == 0, bytes > 0 && grown.elapsed() >= STALLED_AFTER);
                silence.look_at(stream);
            }
        }
    }
}
