//! Objects of the cluster, kept as undecoded JSON or as a recipe to make it on demand.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

/// The desired transition of an allocation that has none.
pub(crate) const NO_TRANSITION: &str = "{\"ForceReschedule\":null,\"Migrate\":null,\"MigrateDisablePlacement\":null,\
                             \"NoShutdownDelay\":null,\"Reschedule\":null}";

/// The latest version of a job, node, evaluation, allocation or deployment.
#[derive(Debug)]
pub struct Object {
    /// The namespace, empty for nodes.
    pub namespace: Arc<str>,
    /// The id, unique in its namespace.
    pub id: Arc<str>,
    /// The raft index that created it.
    pub create_index: u64,
    /// The raft index that last changed it.
    pub modify_index: u64,
    /// The job it belongs to, where it belongs to one.
    pub job: Option<Arc<str>>,
    /// Garbage collection would take it: a status, or client status, that is final.
    pub finished: bool,
    /// The full JSON object.
    pub body: Body,
}

/// Where an object's JSON comes from.
pub enum Body {
    /// Kept as text.
    Raw(Bytes),
    /// Made on demand, so that a large generated cluster stays small in memory.
    Lazy(Box<dyn Render>),
}

/// Makes an object's JSON on demand; the same recipe must always make the same JSON.
pub trait Render: Send + Sync {
    /// The full JSON object.
    fn render(&self) -> Bytes;

    /// The stub that a list shows of an allocation, where it is made without the full object: byte by byte what would be
    /// made of that. Lists of a million allocations would wait for it otherwise.
    fn allocation_stub(&self, _job_type: &str, _job_version: u64) -> Option<Vec<u8>> {
        None
    }

    /// What the tables want to know of an allocation, where it is known without making its JSON.
    fn allocation(&self) -> Option<AllocationFacts> {
        None
    }
}

/// What the tables want to know of an allocation.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AllocationFacts {
    /// Its job's id.
    #[serde(rename = "JobID")]
    pub job_id: Arc<str>,
    /// Its group in the job.
    pub task_group: Arc<str>,
    /// Such as `running`.
    pub client_status: Box<str>,
    /// Such as `run` or `stop`.
    pub desired_status: Box<str>,
    /// The raft index of the last change by a plan.
    #[serde(default)]
    pub alloc_modify_index: u64,
}

impl Body {
    /// The full JSON object.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        match self {
            Self::Raw(raw) => raw.clone(),
            Self::Lazy(recipe) => recipe.render(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(raw) => write!(f, "Raw({} bytes)", raw.len()),
            Self::Lazy(_) => f.write_str("Lazy"),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Head {
    #[serde(rename = "ID")]
    id: Arc<str>,
    #[serde(default = "no_namespace")]
    namespace: Arc<str>,
    create_index: u64,
    modify_index: u64,
    #[serde(rename = "JobID")]
    job: Option<Arc<str>>,
    #[serde(default)]
    status: Box<str>,
    #[serde(default)]
    client_status: Box<str>,
}

fn no_namespace() -> Arc<str> {
    Arc::from("")
}

impl Object {
    pub(crate) fn allocation(&self) -> Option<AllocationFacts> {
        if let Body::Lazy(recipe) = &self.body
            && let Some(facts) = recipe.allocation()
        {
            return Some(facts);
        }
        serde_json::from_slice(&self.body.bytes()).ok()
    }

    /// An object from its JSON; `None` when it lacks an id or its indexes.
    #[must_use]
    pub fn from_json(body: Body) -> Option<Self> {
        let head: Head = serde_json::from_slice(&body.bytes()).ok()?;
        Some(Self {
            namespace: head.namespace,
            id: head.id,
            create_index: head.create_index,
            modify_index: head.modify_index,
            job: head.job,
            finished: matches!(&*head.status, "complete" | "failed" | "canceled" | "cancelled" | "successful")
                || matches!(&*head.client_status, "complete" | "failed" | "lost"),
            body,
        })
    }
}
