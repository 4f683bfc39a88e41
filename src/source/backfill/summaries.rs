//! Job stubs that wait for their job's summary: no event has it, and it is read after the event.
//!
//! Its place in the ledger a record has already. What is held up is the job's own further records, in their order, and
//! nothing else.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
    task::{Context as Poll_, Poll},
};

use bytes::Bytes;
use tokio::task::JoinSet;
use tracing::{error, warn};

use super::fetch::{self, Unread};
use crate::{
    backoff::Backoff,
    record::Record,
    resource,
    source::context::{Context, Interrupted, Stopped},
    throttle::Outage,
};

/// Summaries asked for at once.
const FETCHES: usize = 8;
/// So many records are held before the stream has to wait.
const MOST: usize = 1024;

/// What has come of a summary.
#[derive(Debug)]
pub(in crate::source) struct Summary {
    job: Arc<str>,
    /// `None` where there is none.
    text: Result<Option<Bytes>, Unread>,
}

/// The records that wait, in the order of their jobs.
#[derive(Default)]
pub(in crate::source) struct Summaries {
    jobs: HashMap<Arc<str>, Job>,
    /// Jobs whose summary is yet to be asked for.
    next: VecDeque<Arc<str>>,
    fetches: JoinSet<Result<Summary, Stopped>>,
    len: usize,
}

/// The records of one job.
#[derive(Default)]
struct Job {
    records: VecDeque<Waiting>,
    /// Of so many of them, the first ones, the events had come when the summary under way was asked for.
    asked_for: usize,
}

/// A record, and whether it has yet to get its summary.
struct Waiting {
    record: Record,
    needs_summary: bool,
}

impl fmt::Debug for Summaries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Summaries").field("jobs", &self.jobs.len()).field("records", &self.len).finish_non_exhaustive()
    }
}

impl Summaries {
    /// Keeps the records that lack their summary, and those of the same jobs that follow them. Gives the others.
    pub(in crate::source) fn hold(
        &mut self,
        ctx: &Context,
        records: impl Iterator<Item = (Record, bool)>,
    ) -> Vec<Record> {
        let mut free = Vec::with_capacity(records.size_hint().0);
        for (record, needs_summary) in records {
            if !needs_summary && !self.jobs.contains_key(&record.key) {
                free.push(record);
                continue;
            }
            let job = self.jobs.entry(Arc::clone(&record.key)).or_default();
            if job.records.is_empty() {
                self.next.push_back(Arc::clone(&record.key));
            }
            job.records.push_back(Waiting { record, needs_summary });
            self.len += 1;
        }
        self.ask(ctx);
        free
    }

    /// Whether none are.
    pub(in crate::source) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no more may be held.
    pub(in crate::source) fn is_full(&self) -> bool {
        self.len >= MOST
    }

    /// A summary that has come.
    pub(in crate::source) fn poll(&mut self, cx: &mut Poll_<'_>) -> Poll<Result<Summary, Stopped>> {
        match self.fetches.poll_join_next(cx) {
            // A task that is gone took its records' only way on with it.
            Poll::Ready(Some(summary)) => Poll::Ready(summary.unwrap_or(Err(Stopped))),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Sends on what waited for this summary. What no record can be made of goes to the dead-letter place.
    pub(in crate::source) async fn take(&mut self, ctx: &Context, summary: Summary) -> Result<(), Stopped> {
        let Summary { job: key, text } = summary;
        let Some(job) = self.jobs.get_mut(&key) else { return Ok(()) };
        let mut records = Vec::new();
        while let Some(Waiting { needs_summary, .. }) = job.records.front() {
            if *needs_summary && job.asked_for == 0 {
                break;
            }
            let Some(Waiting { mut record, needs_summary }) = job.records.pop_front() else { break };
            job.asked_for = job.asked_for.saturating_sub(1);
            self.len -= 1;
            let whole = match &text {
                Ok(Some(summary)) if needs_summary => {
                    resource::with_summary(&record.body, summary).map_err(|reason| reason.to_string())
                }
                Err(reason) if needs_summary => Err(reason.to_string()),
                _ => Ok(record.body.clone()),
            };
            match whole {
                Ok(body) => {
                    record.body = body;
                    records.push(record);
                }
                Err(reason) => {
                    let Record { kind, namespace, job, .. } = &record;
                    let reason = format!("cannot read the summary of job {job:?} in namespace {namespace:?}: {reason}");
                    error!(%kind, namespace = &**namespace, job = &**job, reason, "job stub became a dead letter");
                    ctx.dead_letter(*kind, &record.body, &reason).await?;
                    record.ack.delivered();
                }
            }
        }
        if job.records.is_empty() {
            self.jobs.remove(&key);
        } else {
            self.next.push_back(key);
        }
        self.ask(ctx);
        ctx.submit(records).await
    }

    fn ask(&mut self, ctx: &Context) {
        while self.fetches.len() < FETCHES
            && let Some(key) = self.next.pop_front()
        {
            let Some(job) = self.jobs.get_mut(&key) else { continue };
            let Some(Waiting { record, .. }) = job.records.front() else { continue };
            let (namespace, id) = (Arc::clone(&record.namespace), Arc::clone(&record.job));
            job.asked_for = job.records.len();
            let ctx = ctx.clone();
            self.fetches.spawn(async move {
                let text = match read(&ctx, &namespace, &id).await {
                    Ok(text) => Ok(text),
                    Err(Interrupted::Failed(error)) => Err(error),
                    Err(Interrupted::Stopped) => return Err(Stopped),
                };
                Ok(Summary { job: key, text })
            });
        }
    }
}

/// Reads a job's summary; `None` for a job that is gone.
async fn read(ctx: &Context, namespace: &str, job: &str) -> Result<Option<Bytes>, Interrupted<Unread>> {
    let (mut backoff, mut tries) = (Backoff::default(), 0);
    let mut outage = Outage::new("reading a job's summary");
    loop {
        let error = match fetch::summary(&ctx.client, namespace, job).await {
            Ok(summary) => {
                outage.over();
                return Ok(summary);
            }
            Err(Unread::Nomad(error)) if !error.is_retryable() => {
                warn!(%error, namespace, job, "sending a job stub without its summary");
                return Ok(None);
            }
            Err(error) => error,
        };
        tries += 1;
        if error.tries().is_some_and(|most| tries >= 2 * most) {
            return Err(Interrupted::Failed(error));
        }
        outage.log(&error);
        ctx.pause(backoff.failed()).await?;
    }
}
