//! One connection to Redis: commands are written in order, and their answers read in order.
//!
//! Several batches can be under way. Each takes its place in the queue for the answers before the next one may write, so that answers
//! come to whom they belong. Whoever gives up before all its answers have come ends the connection for all: a command that is
//! not answered may otherwise be executed later.

use std::{
    fmt,
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream, stream::BoxStream};
use redis::{Cmd, RedisResult, Value};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::Mutex,
    time::timeout,
};

use super::{Settings, fault::Fault};
use crate::sink::dial::{Socket, Stream};

/// How long Redis may take nothing, or leave the next answer to wait for. One that writes each command to a slow disk needs time.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The most bytes of one answer: an id, a number, or an error.
const ANSWER: u64 = 1 << 20;

/// How many bytes are gathered before they are written.
const CHUNK: usize = 64 << 10;

/// Answers in the order of their commands. It ends after the first that is unreadable.
type Answers = BoxStream<'static, RedisResult<Value>>;

/// The side that is written to.
pub(super) struct Wire {
    writer: WriteHalf<Box<dyn Stream>>,
    buffer: Vec<u8>,
}

/// The side that batches under way share.
pub(super) struct Link {
    answers: Mutex<Answers>,
    socket: Socket,
    is_up: AtomicBool,
}

/// Splits a connection.
pub(super) fn split(stream: Box<dyn Stream>, socket: Socket) -> (Wire, Link) {
    let (reader, writer) = tokio::io::split(stream);
    let link = Link { answers: Mutex::new(answers(reader)), socket, is_up: AtomicBool::new(true) };
    (Wire { writer, buffer: Vec::new() }, link)
}

fn answers(reader: ReadHalf<Box<dyn Stream>>) -> Answers {
    let state = (Default::default(), reader.take(ANSWER));
    let next = |(mut decoder, mut reader): (_, tokio::io::Take<_>)| async move {
        reader.set_limit(ANSWER);
        let answer = redis::parse_redis_value_async(&mut decoder, &mut reader).await;
        Some((answer, (decoder, reader)))
    };
    stream::unfold(state, next).boxed()
}

impl Wire {
    /// Appends a command. It is written with the next chunk, or by [`flush`](Wire::flush).
    pub(super) fn push(&mut self, command: &Cmd) {
        command.write_packed_command(&mut self.buffer);
    }

    /// Whether there is enough to write.
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= CHUNK
    }

    /// Writes what is left.
    pub(super) async fn flush(&mut self, settings: &Settings) -> Result<(), Fault> {
        let mut left = self.buffer.as_slice();
        while !left.is_empty() {
            // What is one write here can be many for the system: each has the whole time.
            let (chunk, rest) = left.split_at(left.len().min(CHUNK));
            in_time(self.writer.write_all(chunk), settings).await?.map_err(|error| Fault::of_io(&error, settings))?;
            left = rest;
        }
        self.buffer.clear();
        // A single large record must not keep its memory.
        self.buffer.shrink_to(2 * CHUNK);
        in_time(self.writer.flush(), settings).await?.map_err(|error| Fault::of_io(&error, settings))
    }

    /// Writes one command, and reads its answer: an error of Redis is a fault.
    pub(super) async fn call(&mut self, link: &Link, command: &Cmd, settings: &Settings) -> Result<Value, Fault> {
        self.push(command);
        self.flush(settings).await?;
        match next(&mut *link.answers.lock().await, PATIENCE, settings).await? {
            Value::ServerError(error) => Err(Fault::of_answer(&error, settings)),
            value => Ok(value),
        }
    }
}

impl Link {
    /// Resolves, in the order of the first polls, with the answers: those of earlier batches have been read.
    pub(super) fn turn(&self) -> impl Future<Output = tokio::sync::MutexGuard<'_, Answers>> {
        self.answers.lock()
    }

    /// Whether a further batch may be written.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::SeqCst)
    }

    /// No further batch is written. Answers still come.
    pub(super) fn retire(&self) {
        self.is_up.store(false, Ordering::SeqCst);
    }

    /// Ends it for all, at once.
    pub(super) fn tear_off(&self) {
        self.retire();
        self.socket.tear_off();
    }
}

/// The next answer, which may be an error of Redis.
pub(super) async fn next(answers: &mut Answers, within: Duration, settings: &Settings) -> Result<Value, Fault> {
    let silent = |_| Fault::silent(format!("{} did not answer within {within:?}", settings.shown));
    let answer = timeout(within, answers.next()).await.map_err(silent)?;
    answer.expect("it never ends by itself").map_err(|error| Fault::of_client(&error, settings))
}

async fn in_time<T>(step: impl Future<Output = T>, settings: &Settings) -> Result<T, Fault> {
    let silent = |_| Fault::silent(format!("{} took nothing within {PATIENCE:?}", settings.shown));
    timeout(PATIENCE, step).await.map_err(silent)
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("is_up", &self.is_up()).finish_non_exhaustive()
    }
}
