//! Job stubs that wait for their job's summary: no event has it, and it is read after the event.
//!
//! A waiting record has its place in the ledger already. It holds up only the later records of its own job, so that
//! they stay in order.

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
/// So many records wait before the stream has to.
const MAX_RECORDS: usize = 1024;

/// The answer to a query for a summary.
#[derive(Debug)]
pub(crate) struct JobSummary {
    job: Arc<str>,
    /// `None` if there is none.
    text: Result<Option<Bytes>, Unread>,
}

/// The waiting records, by job.
#[derive(Default)]
pub(crate) struct Summaries {
    jobs: HashMap<Arc<str>, WaitingJob>,
    /// Jobs whose summary has yet to be asked for.
    next: VecDeque<Arc<str>>,
    fetches: JoinSet<Result<JobSummary, Stopped>>,
    len: usize,
}

/// The records of one job.
#[derive(Default)]
struct WaitingJob {
    records: VecDeque<Waiting>,
    /// The events of so many of them, from the front, arrived before the summary under way was asked for.
    asked_for: usize,
}

/// A record, and whether it still needs its summary.
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
    /// Keeps the records that need their summary, and later records of the same jobs. Returns the others.
    pub(crate) fn hold(&mut self, ctx: &Context, records: impl Iterator<Item = (Record, bool)>) -> Vec<Record> {
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

    /// Whether no record waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether no more records may wait.
    pub(crate) fn is_full(&self) -> bool {
        self.len >= MAX_RECORDS
    }

    /// The next summary to arrive.
    pub(crate) fn poll(&mut self, cx: &mut Poll_<'_>) -> Poll<Result<JobSummary, Stopped>> {
        match self.fetches.poll_join_next(cx) {
            // A task that is gone took its records' only way on with it.
            Poll::Ready(Some(summary)) => Poll::Ready(summary.unwrap_or(Err(Stopped))),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Sends the records that waited for this summary. What cannot become a record goes to the dead letters.
    pub(crate) async fn take(&mut self, ctx: &Context, summary: JobSummary) -> Result<(), Stopped> {
        let JobSummary { job: key, text } = summary;
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
                Ok(JobSummary { job: key, text })
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
        if error.tries().is_some_and(|max_tries| tries >= 2 * max_tries) {
            return Err(Interrupted::Failed(error));
        }
        outage.log(&error);
        ctx.pause(backoff.failed()).await?;
    }
}
