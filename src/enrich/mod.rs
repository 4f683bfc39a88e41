//! What a program cannot know from a record alone, read from Nomad: `$diff`, `$node` and `$job`.
//!
//! | Variable | Of which records | What it is |
//! |---|---|---|
//! | `$diff` | `jobs`: the record that brings a new version | Nomad's diff of this version against the one before |
//! | `$node` | `allocations`, and `evaluations` that name a node | The node |
//! | `$job` | `allocations`, `evaluations`, `deployments` | The job as it is now |
//!
//! The records of `events` have them too, by the object in their payload. Everywhere else they are null.
//!
//! **No record goes without them because of an outage.** `lookup` says when Nomad is asked again, and when a value is null
//! instead. What was read is kept in `cache` with bounds, so that a thousand records of one node ask once.

mod cache;
mod change;
mod lookup;
mod members;
mod subject;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};

use self::{
    cache::Bounds,
    change::{Changes, JobChange},
    lookup::{Cached, Lookup},
    subject::Subject,
};
use crate::{
    nomad::{self, Client},
    program::{Enrich, Extra, Mentions},
    record::Record,
    telemetry::{Metrics, Status},
    throttle::Outage,
};

/// How long a node or a job counts as known. Until then, a change of its metadata is not seen.
const FRESH: Duration = Duration::from_secs(60);
/// The bounds of what is kept of nodes, and of jobs.
const BOUNDS: Bounds = Bounds { entries: 4096, bytes: 16 << 20 };

/// What is passed on of a node. Nothing that changes by the minute: its status is in the records of `nodes`.
const NODE: [&str; 8] = ["ID", "Name", "Datacenter", "NodePool", "NodeClass", "HTTPAddr", "Meta", "Attributes"];
/// What is passed on of a job. Not its status, for the same reason, and no token.
const JOB: [&str; 13] = [
    "ID",
    "Name",
    "Namespace",
    "Region",
    "Type",
    "Priority",
    "Datacenters",
    "NodePool",
    "ParentID",
    "Version",
    "SubmitTime",
    "Meta",
    "UI",
];

/// Where an object is looked up: its namespace, empty for nodes, and its ID.
type Key = (Arc<str>, Arc<str>);

/// Reads from one cluster what programs mention.
#[derive(Debug)]
pub struct Enricher {
    client: Client,
    mentions: Mentions,
    changes: Changes,
    nodes: Cached,
    jobs: Cached,
}

impl Enricher {
    /// Looks up what `mentions` says, and nothing else. Failures are counted in `metrics`.
    pub fn new(client: Client, mentions: Mentions, metrics: &Metrics) -> Self {
        Enricher {
            client,
            mentions,
            changes: Changes::new(Lookup::new("$diff", Outage::new("looking up $diff"), metrics.clone())),
            nodes: Cached::new(Lookup::new("$node", Outage::new("looking up $node"), metrics.clone()), BOUNDS),
            jobs: Cached::new(Lookup::new("$job", Outage::new("looking up $job"), metrics.clone()), BOUNDS),
        }
    }

    /// Gives up at the first failure, so that nobody waits for an outage.
    #[must_use]
    pub fn impatient(mut self) -> Self {
        self.lookups().into_iter().for_each(Lookup::impatient);
        self
    }

    /// Shows on `status` that records wait, and why.
    #[must_use]
    pub fn shown_on(mut self, status: &Status) -> Self {
        self.lookups().into_iter().for_each(|lookup| lookup.shown_on(status.clone()));
        self
    }

    fn lookups(&mut self) -> [&mut Lookup; 3] {
        [self.changes.lookup(), self.nodes.lookup(), self.jobs.lookup()]
    }

    async fn look_up(&self, record: &Record) -> Extra {
        // The body is what Nomad sent; if it is not readable here, the program says so.
        let Some(subject) = Subject::of(record) else { return Extra::default() };
        let mut extra = Extra::default();
        if self.mentions.diff
            && let Some(change) = JobChange::of(record, &subject)
        {
            extra.diff = self.changes.diff(&self.client, record, &change).await;
        }
        if self.mentions.node
            && let Some(id) = subject.node_id()
        {
            let key: Key = (Arc::from(""), Arc::from(&*id));
            extra.node = self.nodes.get(&self.client, record, &key, || node(&self.client, &key)).await;
        }
        if self.mentions.job
            && let Some(id) = subject.job_id()
        {
            let key: Key = (subject::namespace(record), Arc::from(&*id));
            extra.job = self.jobs.get(&self.client, record, &key, || job(&self.client, &key)).await;
        }
        extra
    }
}

impl Enrich for Enricher {
    fn extra<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Extra> {
        self.look_up(record).boxed()
    }
}

async fn node(client: &Client, key: &Key) -> Result<Option<Bytes>, nomad::Error> {
    let node = client.node(&key.1).await?;
    picked(client, node, format!("node {:?}", key.1), key, &NODE)
}

async fn job(client: &Client, key: &Key) -> Result<Option<Bytes>, nomad::Error> {
    let (namespace, id) = (&*key.0, &*key.1);
    // An ID with a slash can end like a path of the API (`web/deployment`); the list of its versions cannot be confused.
    let job = match id.contains('/') {
        true => client.job_version(namespace, id).await?,
        false => client.job(namespace, id).await?,
    };
    picked(client, job, format!("job {id:?} of namespace {namespace:?}"), key, &JOB)
}

/// The wanted members of what Nomad answered, if it is the object that was asked for.
fn picked(
    client: &Client,
    answer: Option<Bytes>,
    what: String,
    (namespace, id): &Key,
    wanted: &[&str],
) -> Result<Option<Bytes>, nomad::Error> {
    let Some(answer) = answer else { return Ok(None) };
    let garbage = |text: &str| nomad::Error::Garbage {
        address: client.address().to_owned(),
        what: what.clone(),
        text: text.to_owned(),
    };
    match members::pick(&answer, namespace, id, wanted) {
        Some(picked) => Ok(Some(picked)),
        None => Err(garbage("it is another object, or none")),
    }
}
