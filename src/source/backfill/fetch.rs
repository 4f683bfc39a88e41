//! Single objects, read by their ID, with a check that Nomad gave the right one.
//!
//! An ID is any text, and can end like a path of the API: for `web/deployment`, `/v1/job/ID` gives the deployment of
//! the job `web`; for `db/plan` it gives 405, and for `ci/scale` 404 (Nomad 2.0.5). So an object counts only if its ID
//! and namespace are those that were asked for, and "not found" counts only on a path that no ID can be confused with.

use bytes::Bytes;

use crate::{
    json::{self, Scanner},
    kind::Kind,
    nomad::{self, Client},
    resource::Listed,
    source::context::Context,
    throttle::{Class, Classified},
};

/// Why an object cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error(transparent)]
    Nomad(#[from] nomad::Error),
    #[error("Nomad gave another object in its place")]
    Another,
    #[error("Nomad's HTTP API has no path for this ID")]
    NoPath,
}

impl Unread {
    /// After how many tries the object counts as unreadable; `None` if the failure is not its own.
    pub(crate) fn tries(&self) -> Option<u32> {
        match self {
            Unread::NoPath => Some(1),
            Unread::Another => Some(3),
            Unread::Nomad(error) if Unread::is_of_all(error) => None,
            Unread::Nomad(error) => Some(if error.is_retryable() { 6 } else { 3 }),
        }
    }

    /// Whether the failure concerns every object.
    pub(crate) fn is_of_all(error: &nomad::Error) -> bool {
        match error {
            nomad::Error::Status { code, .. } => matches!(code, 408 | 425 | 429),
            nomad::Error::Timeout { .. } | nomad::Error::Broken { .. } | nomad::Error::Garbage { .. } => false,
            _ => true,
        }
    }

    /// Whether an overloaded or leaderless server could fail so for every object.
    pub(crate) fn can_be_of_all(&self) -> bool {
        matches!(self, Unread::Nomad(error) if error.is_retryable())
    }
}

impl Classified for Unread {
    fn class(&self) -> Class {
        match self {
            Unread::Nomad(error) => error.class(),
            Unread::Another => "another object".into(),
            Unread::NoPath => "no path".into(),
        }
    }
}

/// An object that a list has named; `None` if it is gone.
pub(crate) async fn object(ctx: &Context, kind: Kind, wanted: &Listed) -> Result<Option<Bytes>, Unread> {
    let Listed { id, namespace, .. } = wanted;
    let answer = match kind {
        Kind::Jobs => return job(&ctx.client, namespace, id).await,
        Kind::Allocations => ctx.client.allocation(namespace, id).await?,
        _ => ctx.client.node(id).await?,
    };
    match answer {
        Some(object) if !is_it(kind, &object, namespace, id) => Err(Unread::Another),
        answer => Ok(answer),
    }
}

async fn job(client: &Client, namespace: &str, id: &str) -> Result<Option<Bytes>, Unread> {
    let its = |job: &Bytes| is_it(Kind::Jobs, job, namespace, id);
    if has_no_path(id) {
        return Err(Unread::NoPath);
    }
    // Without a slash the ID cannot be confused with a path.
    let is_plain = !id.contains('/');
    match client.job(namespace, id).await {
        Ok(Some(job)) if its(&job) => return Ok(Some(job)),
        Ok(None) if is_plain => return Ok(None),
        Ok(Some(_)) if is_plain => return Err(Unread::Another),
        Ok(_) | Err(nomad::Error::Status { .. } | nomad::Error::Garbage { .. }) if !is_plain => {}
        Ok(_) => return Err(Unread::Another),
        Err(error) => return Err(error.into()),
    }
    // The newest version is the same text, except for the payload of a dispatched job: no such ID ends like a path.
    match client.job_version(namespace, id).await? {
        Some(job) if !its(&job) => Err(Unread::Another),
        job => Ok(job),
    }
}

/// The counts of a job's allocations; `None` if the job is gone.
pub(crate) async fn summary(client: &Client, namespace: &str, id: &str) -> Result<Option<Bytes>, Unread> {
    let summary = match has_no_path(id) {
        // The job's stub has the same text.
        true => client.job_stub(namespace, id).await?.and_then(|stub| {
            let summary = member(&stub, "JobSummary")?;
            is_it(Kind::JobListStubs, &stub, namespace, id).then_some(summary)
        }),
        // No longer path ends like this one.
        false => client.job_summary(namespace, id).await?,
    };
    match summary {
        Some(summary) if text(&summary, "JobID").as_deref() != Some(id) => Err(Unread::Another),
        summary => Ok(summary),
    }
}

/// Whether URL rules turn the path of this ID into another one.
fn has_no_path(id: &str) -> bool {
    matches!(id, "." | "..")
}

fn is_it(kind: Kind, object: &[u8], namespace: &str, id: &str) -> bool {
    let its = |listed: Listed| listed.id == id && listed.namespace == namespace;
    Listed::parse(object).is_ok_and(|listed| its(listed.of(kind)))
}

/// The text of a member of an object.
fn member(object: &Bytes, wanted: &str) -> Option<Bytes> {
    let found = |text| -> Result<Option<&str>, json::Error> {
        let mut cursor = Scanner::new(text);
        cursor.object()?;
        while let Some(name) = cursor.name()? {
            let value = cursor.skip()?;
            if name == wanted {
                return Ok(Some(value));
            }
        }
        Ok(None)
    };
    let value = found(std::str::from_utf8(object).ok()?).ok()??;
    Some(object.slice_ref(value.as_bytes()))
}

fn text(object: &Bytes, wanted: &str) -> Option<String> {
    serde_json::from_slice(&member(object, wanted)?).ok()
}
