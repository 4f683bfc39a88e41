//! Appends lines of JSON to files of a directory. Delivered means written, and on disk: `fsync` has returned.
//!
//! A file that is written to ends with `.open`. Once it is large or old enough it is compressed, if that is wanted, and gets its
//! name in one step; from then on it never changes. So who reads only finished files never sees half a line, nor a line that is
//! taken back. What a batch could not write to its end is cut off again, and so is, at the next start, what a crash has left.
//!
//! | What happens | Outcome |
//! |---|---|
//! | written and synced | delivered |
//! | anything else: a full disk, a read-only one, no right, a directory that is missing or that another process writes to | retry; nothing of the batch is left in that file |
//!
//! One process writes to a directory: it holds a lock from its first record on. A thread of its own does the writes, so that a disk
//! that hangs blocks only that thread. There is no deadline: a write to a disk cannot be taken back while it is under way.

mod check;
mod config;
mod directory;
mod fault;
mod finish;
mod settings;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    io,
    sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

pub(super) use self::settings::DEFINITION;
use self::{
    config::Config,
    writer::{Group, Writer, Written},
};
use super::{
    Closed, ErrorClass, Outcome, Policy, Prepared, Sink, Unusable,
    ndjson::{Pattern, Stamp},
};
use crate::{finding::Finding, lease::LeaseState, ledger::AckHandle, record::Record};

/// Writes batches through its thread.
#[derive(Debug)]
struct Files {
    name: Pattern,
    jobs: SyncSender<Job>,
}

#[derive(Debug)]
enum Job {
    Write {
        groups: Vec<Group>,
        /// One ack handle for each lease among the records.
        leases: Vec<AckHandle>,
        reply: oneshot::Sender<Vec<Written>>,
    },
    /// Finish all files.
    End(oneshot::Sender<()>),
}

impl Files {
    fn new(config: Config) -> io::Result<Self> {
        let name = config.name.clone();
        // One job waits here only if an earlier send was given up while the disk hung.
        let (jobs, queue) = sync_channel(1);
        let mut writer = Writer::new(config);
        thread::Builder::new().name("file".to_owned()).spawn(move || {
            loop {
                let received = match writer.tick() {
                    Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
                    None => queue.recv().map_err(RecvTimeoutError::from),
                };
                match received {
                    Ok(Job::Write { groups, leases, reply }) => {
                        let may_start = || leases.iter().all(|ack| ack.lease_state() == LeaseState::Held);
                        if reply.send(writer.write(&groups, &may_start)).is_err() {
                            tracing::debug!("a write ended after its send was given up");
                        }
                    }
                    Ok(Job::End(reply)) => {
                        writer.end();
                        reply.send(()).ok();
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return writer.end(),
                }
            }
        })?;
        Ok(Files { name, jobs })
    }

    async fn write(&self, batch: &[Record]) -> Result<Vec<Outcome>, Closed> {
        let (groups, places) = grouped(&self.name, batch);
        let mut leases: Vec<AckHandle> = Vec::new();
        for Record { ack, .. } in batch {
            if !leases.iter().any(|known| known.has_lease_of(ack)) {
                leases.push(ack.clone());
            }
        }
        let (reply, answer) = oneshot::channel();
        match self.jobs.try_send(Job::Write { groups, leases, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let retry = || Outcome::failed(ErrorClass::Local, "an earlier write still waits for the disk");
                return Ok(batch.iter().map(|_| retry()).collect());
            }
            Err(TrySendError::Disconnected(_)) => return Err(ended()),
        }
        let results = answer.await.map_err(|_| ended())?;
        let outcome = |(group, line): &(usize, usize)| match &results[*group] {
            Written { lines, .. } if line < lines => Outcome::Delivered,
            Written { failure: Some(reason), .. } => Outcome::failed(ErrorClass::Local, reason.clone()),
            Written { failure: None, .. } => Outcome::not_sent(),
        };
        Ok(places.iter().map(outcome).collect())
    }
}

fn ended() -> Closed {
    Closed("the writing thread has ended".to_owned())
}

/// The records for each file, and for each record its group and its place in it.
fn grouped(name: &Pattern, batch: &[Record]) -> (Vec<Group>, Vec<(usize, usize)>) {
    let now = Stamp::of(SystemTime::now());
    let mut groups: Vec<Group> = Vec::new();
    let mut places = Vec::with_capacity(batch.len());
    let constant = name.is_constant();
    for record in batch {
        let place = if constant && !groups.is_empty() {
            0
        } else {
            let name = name.render(record, &now);
            groups.iter().position(|group| group.name == name).unwrap_or_else(|| {
                groups.push(Group { name, bodies: Vec::new() });
                groups.len() - 1
            })
        };
        places.push((place, groups[place].bodies.len()));
        groups[place].bodies.push(record.body.clone());
    }
    (groups, places)
}

impl Sink for Files {
    fn name(&self) -> &'static str {
        "file"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(self.write(batch))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let (reply, answer) = oneshot::channel();
            // If the disk hangs, the next start finishes the files.
            if self.jobs.try_send(Job::End(reply)).is_ok() {
                answer.await.ok();
            }
        })
    }
}

impl Prepared for Config {
    fn build(&self, _cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        let files = Files::new(self.clone())
            .map_err(|error| Unusable::new(format!("cannot use SINK_TYPE=file: no thread can be started: {error}")))?;
        Ok((Box::new(files), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }
}
