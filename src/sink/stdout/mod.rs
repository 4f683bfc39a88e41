//! One record a line to standard output. Delivered means written and flushed.

mod lines;
mod settings;

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use self::lines::Lines;
pub(super) use self::settings::DEFINITION;
use super::{Closed, ErrorClass, Outcome, Sink};
use crate::{
    lease::LeaseState,
    ledger::AckHandle,
    record::Record,
    sys::standard::{self, stands_in_for_nothing},
};

/// Writes each record's body and a line break.
///
/// A thread of its own does the writes, and the program never joins it: a reader that stops reading blocks only that
/// thread, and neither the other tasks nor the end of the program.
#[derive(Debug)]
pub struct Stdout {
    jobs: mpsc::Sender<Job>,
    /// Where to put the error that closes it; without, writes that fail are retried.
    failure: Option<Failure>,
}

/// Why nothing more could be written; unset unless a write failed.
pub type Failure = Arc<OnceLock<String>>;

#[derive(Debug)]
struct Job {
    bodies: Vec<Bytes>,
    /// One ack handle for each lease among the records.
    leases: Vec<AckHandle>,
    reply: oneshot::Sender<(usize, io::Result<()>)>,
}

/// The thread that writes to the standard output of this process. There is one, because a pipeline that starts again in place has
/// to finish the line that its predecessor has begun.
static WRITER: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

impl Stdout {
    /// A sink to the standard output of this process, past the buffer of [`std::io::stdout`].
    ///
    /// # Errors
    /// There is no standard output, the descriptor cannot be duplicated, or the thread cannot be started.
    pub fn open() -> io::Result<Self> {
        let mut writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = writer.as_ref().filter(|jobs| !jobs.is_closed()) {
            return Ok(Stdout { jobs: jobs.clone(), failure: None });
        }
        let stdout = Self::open_first()?;
        *writer = Some(stdout.jobs.clone());
        Ok(stdout)
    }

    fn open_first() -> io::Result<Self> {
        let stdout = standard::output()?;
        if stands_in_for_nothing(&stdout)? {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the standard output is closed"));
        }
        Self::new(stdout)
    }

    /// A sink to `writer`, which should not buffer: a record that is lost in a buffer cannot be sent again.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn new(writer: impl Write + Send + 'static) -> io::Result<Self> {
        // One job waits here only if an earlier send was given up while its write was blocked.
        let (jobs, mut queue) = mpsc::channel::<Job>(1);
        let mut lines = Lines::new(writer);
        thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            while let Some(Job { bodies, leases, reply }) = queue.blocking_recv() {
                let may_start = || leases.iter().all(|ack| ack.lease_state() == LeaseState::Held);
                if reply.send(lines.write(&bodies, &may_start)).is_err() {
                    tracing::debug!("a write ended after its send was given up");
                }
            }
        })?;
        Ok(Stdout { jobs, failure: None })
    }

    /// The same, closed by the first write that fails, which `failure` then has: for a person who waits in front of it.
    pub fn closed_by(self, failure: Failure) -> Self {
        Stdout { failure: Some(failure), ..self }
    }

    async fn write(&self, batch: &[Record]) -> Result<Vec<Outcome>, Closed> {
        let (reply, answer) = oneshot::channel();
        let bodies = batch.iter().map(|record| record.body.clone()).collect();
        let mut leases: Vec<AckHandle> = Vec::new();
        for Record { ack, .. } in batch {
            if !leases.iter().any(|known| known.has_lease_of(ack)) {
                leases.push(ack.clone());
            }
        }
        let ended = || Closed("the writing thread has ended".to_owned());
        self.jobs.send(Job { bodies, leases, reply }).await.map_err(|_| ended())?;
        let (written, result) = answer.await.map_err(|_| ended())?;
        let reason = match result {
            Ok(()) => String::new(),
            Err(error) if is_closed(&error) => return Err(Closed(error.to_string())),
            Err(error) => {
                // A reader that is only slow can have made the pipe or the terminal non-blocking.
                let is_slow = error.kind() == io::ErrorKind::WouldBlock;
                if let Some(failure) = self.failure.as_ref().filter(|_| !is_slow) {
                    return Err(Closed(failure.get_or_init(|| error.to_string()).clone()));
                }
                format!("write to stdout: {error}")
            }
        };
        let outcome = |number| {
            if number < written {
                return Outcome::Delivered;
            }
            Outcome::failed(ErrorClass::Local, reason.clone())
        };
        Ok((0..batch.len()).map(outcome).collect())
    }
}

/// Whether the reader is gone, for a pipe or a socket.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl Sink for Stdout {
    fn name(&self) -> &'static str {
        "stdout"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(self.write(batch))
    }
}
