//! Single objects, and the namespaces.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    client::{Call, Client},
    elements::{Elements, MAX_ELEMENT},
    error::Error,
    list::index_of,
};
use crate::{
    http::{self, Server},
    position::RaftIndex,
};

/// The characters that are not encoded in one segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A namespace of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Namespace {
    /// Its name.
    #[serde(rename = "Name")]
    pub name: String,
    /// The raft index of its creation. A subscription from there misses none of its events.
    #[serde(rename = "CreateIndex")]
    pub create_index: RaftIndex,
}

impl Client {
    /// The job `id` of `namespace` (never `*`) as Nomad sends it; `None` if there is no such job.
    ///
    /// An id is any text, and is encoded as a whole. If it ends like a sub-resource (`x/deployment`), Nomad answers with that
    /// sub-resource, so the caller has to check the answer. [`Client::job_version`] has no such ambiguity.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job(&self, namespace: &str, id: &str) -> Result<Option<Bytes>, Error> {
        self.object(job_call(namespace, id, "")).await
    }

    /// The newest version of a job, from `/v1/job/ID/versions`; `None` if there is no such job. The older versions after it
    /// are not read.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job_version(&self, namespace: &str, id: &str) -> Result<Option<Bytes>, Error> {
        let (call, deadline) = (job_call(namespace, id, "/versions"), self.deadline());
        let read = async {
            let (response, server) = self.send(&call, deadline).await?;
            match response.status() {
                StatusCode::NOT_FOUND => Ok(None),
                status if status.is_success() => self.first_version(server, &call, response).await,
                _ => Err(self.failure(server, &call, response).await),
            }
        };
        match timeout(deadline, read).await {
            Ok(read) => read,
            Err(_) => Err(self.timed_out(&call, deadline)),
        }
    }

    async fn first_version(
        &self,
        server: &Server,
        call: &Call,
        mut response: Response,
    ) -> Result<Option<Bytes>, Error> {
        /// Only a few numbers come before it, and differences that were not asked for.
        const MARK: &[u8] = b"\"Versions\":";
        const BEFORE: usize = 64 << 10;
        let (address, what) = (server.label.clone(), call.what.clone());
        let garbage = |text: String| Error::Garbage { address: address.clone(), what: what.clone(), text };
        let (mut head, mut versions) = (BytesMut::new(), None::<Elements>);
        loop {
            let chunk = response.chunk().await.map_err(|error| {
                let reason = http::reason(&error);
                Error::Broken { address: address.clone(), what: what.clone(), reason }
            })?;
            let Some(chunk) = chunk else { break };
            match &mut versions {
                Some(versions) => versions.push(chunk),
                None => {
                    head.extend_from_slice(&chunk);
                    if let Some(at) = head.windows(MARK.len()).position(|part| part == MARK) {
                        let rest = head.split_off(at + MARK.len());
                        versions.insert(Elements::default()).push(rest.freeze());
                    } else if head.len() > BEFORE {
                        break;
                    }
                }
            }
            if let Some(versions) = &mut versions
                && let Some(newest) = versions.next().map_err(|broken| garbage(broken.to_string()))?
            {
                return Ok(Some(newest));
            }
        }
        Err(garbage("it has no version of the job".to_owned()))
    }

    /// The stub of a job as the list has it; `None` if no job's id begins with `id`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job_stub(&self, namespace: &str, id: &str) -> Result<Option<Bytes>, Error> {
        // Of all jobs whose id begins with it, it is the first.
        let page = [("namespace", namespace), ("prefix", id), ("per_page", "1")];
        let call = Call {
            what: format!("the stub of job {id:?} of namespace {namespace:?}"),
            path: "/v1/jobs".to_owned(),
            query: page.map(|(name, value)| (name, value.to_owned())).into(),
            needs: Error::needs("Job", namespace),
        };
        let Some(body) = self.object(call).await? else { return Ok(None) };
        let mut stubs = Elements::default();
        stubs.push(body);
        Ok(stubs.next().ok().flatten())
    }

    /// The counts of a job's allocations; `None` if there is no such job.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn job_summary(&self, namespace: &str, id: &str) -> Result<Option<Bytes>, Error> {
        self.object(job_call(namespace, id, "/summary")).await
    }

    /// The allocation `id` of `namespace` (never `*`); `None` if there is no such allocation.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn allocation(&self, namespace: &str, id: &str) -> Result<Option<Bytes>, Error> {
        self.object(Call {
            what: format!("allocation {id:?}"),
            path: format!("/v1/allocation/{}", utf8_percent_encode(id, SEGMENT)),
            query: vec![("namespace", namespace.to_owned())],
            needs: Error::needs("Allocation", namespace),
        })
        .await
    }

    /// The node `id`; `None` if there is no such node.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn node(&self, id: &str) -> Result<Option<Bytes>, Error> {
        self.object(Call {
            what: format!("node {id:?}"),
            path: format!("/v1/node/{}", utf8_percent_encode(id, SEGMENT)),
            query: Vec::new(),
            needs: Error::needs("Node", ""),
        })
        .await
    }

    async fn object(&self, call: Call) -> Result<Option<Bytes>, Error> {
        self.object_within(call, self.deadline(), MAX_ELEMENT).await
    }

    /// The whole answer, of at most `limit` bytes; `None` for a 404.
    pub(super) async fn object_within(
        &self,
        call: Call,
        deadline: Duration,
        limit: usize,
    ) -> Result<Option<Bytes>, Error> {
        let read = || async {
            let (response, server) = self.send(&call, deadline).await?;
            match response.status() {
                StatusCode::NOT_FOUND => Ok(None),
                status if status.is_success() => self.body(server, &call, response, limit).await.map(Some),
                _ => Err(self.failure(server, &call, response).await),
            }
        };
        match timeout(deadline, self.with_renewed_token(read)).await {
            Ok(read) => read,
            Err(_) => Err(self.timed_out(&call, deadline)),
        }
    }

    /// The namespace `name`; `None` if there is no such namespace. Nomad would accept a stream of it all the same, and send
    /// nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn namespace(&self, name: &str) -> Result<Option<Namespace>, Error> {
        let what = format!("namespace {name:?}");
        let needs = format!("any capability in {what}");
        let call = Call { what: what.clone(), path: namespace_path(name), query: Vec::new(), needs };
        let Some(body) = self.object(call).await? else {
            return Ok(None);
        };
        let garbage = |error: serde_json::Error| Error::Garbage {
            address: self.address().to_owned(),
            what,
            text: error.to_string(),
        };
        serde_json::from_slice(&body).map(Some).map_err(garbage)
    }

    /// The namespaces that the token may see, and the index of the last change to any of them. With an `index` above 0, Nomad
    /// answers when the index has passed it, or when `wait` (at most 5 minutes) is over.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if Nomad has no namespaces (before 1.0, without the enterprise edition). Otherwise see
    /// [`Error`].
    pub async fn namespaces(&self, index: RaftIndex, wait: Duration) -> Result<(RaftIndex, Vec<Namespace>), Error> {
        let mut call = namespaces_call();
        let mut deadline = self.deadline();
        if index.0 > 0 {
            call.query.extend([("index", index.to_string()), ("wait", format!("{}ms", wait.as_millis()))]);
            deadline += wait + wait / 16;
        }
        let read = async {
            let (response, server) = self.get(&call, deadline).await?;
            let index = index_of(server, &call, response.headers())?;
            self.believe(&server.label, index, namespaces_call).await?;
            let body = self.body(server, &call, response, MAX_ELEMENT).await?;
            let names: Option<Vec<Namespace>> = serde_json::from_slice(&body).map_err(|error| Error::Garbage {
                address: server.label.clone(),
                what: call.what.clone(),
                text: error.to_string(),
            })?;
            let mut names = names.unwrap_or_default();
            // No object is newer than its table.
            names.iter_mut().for_each(|namespace| namespace.create_index = namespace.create_index.min(index));
            Ok((index, names))
        };
        match timeout(deadline, read).await {
            Ok(Err(Error::Status { address, what, code: 404 | 501, text })) => {
                Err(Error::Unsupported { address, what, text })
            }
            Ok(read) => read,
            Err(_) => Err(self.timed_out(&call, deadline)),
        }
    }
}

/// The call that lists the namespaces.
pub(super) fn namespaces_call() -> Call {
    Call {
        what: "the list of namespaces".to_owned(),
        path: "/v1/namespaces".to_owned(),
        query: Vec::new(),
        needs: "any capability in a namespace".to_owned(),
    }
}

/// The call that reads a job, or a part of it.
pub(super) fn job_call(namespace: &str, id: &str, part: &str) -> Call {
    Call {
        what: format!("job {id:?} of namespace {namespace:?}"),
        path: format!("/v1/job/{}{part}", utf8_percent_encode(id, SEGMENT)),
        query: vec![("namespace", namespace.to_owned())],
        needs: Error::needs("Allocation", namespace),
    }
}

/// The path of one namespace.
pub(super) fn namespace_path(name: &str) -> String {
    format!("/v1/namespace/{}", utf8_percent_encode(name, SEGMENT))
}
