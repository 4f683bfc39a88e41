//! Variables: small values in Nomad's raft log, each of which can be written on the condition that it has not changed.
//!
//! `/v1/var/PATH`, `/v1/vars` (`nomad/variables_endpoint.go`, `command/agent/variable_endpoint.go`). A write with `cas=N` succeeds only if
//! the Variable's `ModifyIndex` is N, or with 0 if there is no such Variable. Nomad decides that when it applies the raft entry, so a
//! conflict is certain. A read is not: an old leader that is cut off can answer it from its old state for a moment.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use reqwest::{Method, Response, StatusCode};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::timeout;

use super::{
    client::{Call, Client},
    error::Error,
};
use crate::{http::Server, position::RaftIndex};

/// The most bytes that the keys and values of one Variable may have together (`structs/variables.go`).
pub const MAX_ITEMS: usize = 64 << 10;
/// The longest path of a Variable, in bytes.
pub const MAX_PATH: usize = 128;

/// The most bytes of an answer that are read: escapes can make the text of the items six times as long.
const MAX_ANSWER: usize = 8 * MAX_ITEMS;
/// The same for a list: a Variable of a list has about 300 bytes.
const MAX_LIST: usize = 4 << 20;

/// The keys of a Variable, and their values.
pub type Items = BTreeMap<String, String>;

/// A Variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Variable {
    /// Its path.
    #[serde(rename = "Path")]
    pub path: String,
    /// Its keys and values. A list does not have them.
    #[serde(rename = "Items", default, deserialize_with = "or_nothing")]
    pub items: Items,
    /// The raft index of its last change. No two changes have the same, even if it was deleted in between.
    #[serde(rename = "ModifyIndex")]
    pub index: RaftIndex,
    /// When that was, in nanoseconds since 1970, by the clock of Nomad's leader.
    #[serde(rename = "ModifyTime", default)]
    pub modify_time: u64,
}

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// It is stored, at this index.
    Done(RaftIndex),
    /// The Variable was not at the expected index; nothing was stored. This is what it is now: `None` if there is none, or if
    /// somebody has locked it.
    Conflict(Option<Variable>),
}

/// Where Variables are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Their namespace.
    pub namespace: String,
    /// The folder of their paths, without `/` at its end.
    pub folder: String,
}

impl Place {
    /// The rule that a policy needs for it. Its capabilities are those of a run: the block of a namespace stands in the place of that
    /// of `*` (seen on Nomad 2.0.5).
    pub fn rule(&self) -> String {
        let Place { namespace, folder } = self;
        let run = r#"capabilities = ["list-jobs", "read-job"]"#;
        let rights = r#"capabilities = ["read", "write", "list", "destroy"]"#;
        format!(r#"namespace "{namespace}" {{ {run} variables {{ path "{folder}/*" {{ {rights} }} }} }}"#)
    }

    fn call(&self, path: &str) -> Call {
        Call {
            what: format!("the Variable {path} of namespace {:?}", self.namespace),
            path: format!("/v1/var/{path}"),
            query: vec![("namespace", self.namespace.clone())],
            needs: self.rule(),
        }
    }
}

impl Client {
    /// The Variable at `path`, which begins with the folder of `place`; `None` if there is none. With `after`, Nomad answers when
    /// the Variable is no longer at this index, or after this time and a sixteenth of it.
    ///
    /// # Errors
    /// See [`Error`]. No answer within `within`, beside the time that it was to wait.
    pub async fn variable(
        &self,
        place: &Place,
        path: &str,
        after: Option<(RaftIndex, Duration)>,
        within: Duration,
    ) -> Result<Option<Variable>, Error> {
        let (mut call, mut within) = (place.call(path), within);
        if let Some((RaftIndex(index), wait)) = after {
            call.query.push(("index", index.to_string()));
            call.query.push(("wait", format!("{}ms", wait.as_millis())));
            within += wait + wait / 16;
        }
        let read = self.with_renewed_token(|| async {
            let (response, server) = self.send(&call, within).await?;
            match response.status() {
                StatusCode::NOT_FOUND if is_absent(&response) => Ok(None),
                status if status.is_success() => self.parse(server, &call, response, MAX_ANSWER).await.map(Some),
                _ => Err(self.failure(server, &call, response).await),
            }
        });
        match timeout(within, read).await {
            Ok(read) => read,
            Err(_) => Err(self.timed_out(&call, within)),
        }
    }

    /// Writes a Variable, if it is at `index`; 0 if there is none.
    ///
    /// # Errors
    /// See [`Error`]. The write may have arrived, and can still take effect.
    pub async fn put_variable(
        &self,
        place: &Place,
        path: &str,
        (items, index): (&Items, RaftIndex),
        within: Duration,
    ) -> Result<Written, Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Body<'a> {
            items: &'a Items,
        }
        let body: Bytes = serde_json::to_vec(&Body { items }).expect("a map with texts as keys").into();
        self.change(Method::PUT, place, (path, index, Some(body)), within).await
    }

    /// Deletes a Variable, if it is at `index`. One that is gone counts as deleted.
    ///
    /// # Errors
    /// As [`Client::put_variable`].
    pub async fn delete_variable(
        &self,
        place: &Place,
        path: &str,
        index: RaftIndex,
        within: Duration,
    ) -> Result<Written, Error> {
        self.change(Method::DELETE, place, (path, index, None), within).await
    }

    async fn change(
        &self,
        method: Method,
        place: &Place,
        (path, index, body): (&str, RaftIndex, Option<Bytes>),
        within: Duration,
    ) -> Result<Written, Error> {
        let mut call = place.call(path);
        call.query.push(("cas", index.to_string()));
        let write = self.with_renewed_token(|| async {
            let (response, server) = self.send_as(&method, &call, body.as_ref(), within).await?;
            match response.status() {
                StatusCode::NO_CONTENT => Ok(Written::Done(RaftIndex(0))),
                StatusCode::CONFLICT => {
                    let now: Variable = self.parse(server, &call, response, MAX_ANSWER).await?;
                    Ok(Written::Conflict((now.index.0 > 0).then_some(now)))
                }
                status if status.is_success() => {
                    let now: Variable = self.parse(server, &call, response, MAX_ANSWER).await?;
                    Ok(Written::Done(now.index))
                }
                _ => Err(self.failure(server, &call, response).await),
            }
        });
        let written = match timeout(within, write).await {
            Ok(written) => written,
            Err(_) => Err(self.timed_out(&call, within)),
        };
        written.map_err(|error| Error::Write(Box::new(error)))
    }

    /// All Variables whose path begins with `prefix`, without their items.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn variables(&self, place: &Place, prefix: &str, within: Duration) -> Result<Vec<Variable>, Error> {
        let query = [("namespace", &*place.namespace), ("prefix", prefix)];
        let call = Call {
            what: format!("the list of Variables of namespace {:?}", place.namespace),
            path: "/v1/vars".to_owned(),
            query: query.map(|(name, value)| (name, value.to_owned())).into(),
            needs: place.rule(),
        };
        let read = self.with_renewed_token(|| async {
            let (response, server) = self.send(&call, within).await?;
            match response.status().is_success() {
                true => self.parse(server, &call, response, MAX_LIST).await,
                false => Err(self.failure(server, &call, response).await),
            }
        });
        match timeout(within, read).await {
            Ok(read) => read,
            Err(_) => Err(self.timed_out(&call, within)),
        }
    }

    async fn parse<T: for<'a> Deserialize<'a>>(
        &self,
        server: &Server,
        call: &Call,
        response: Response,
        limit: usize,
    ) -> Result<T, Error> {
        let body = self.body(server, call, response, limit).await?;
        serde_json::from_slice(&body).map_err(|error| Error::Garbage {
            address: server.label.clone(),
            what: call.what.clone(),
            text: error.to_string(),
        })
    }
}

/// Whether a 404 is Nomad's own about the Variable: with an index. A path that nothing serves has none.
fn is_absent(response: &Response) -> bool {
    response.headers().contains_key("X-Nomad-Index")
}

/// Nomad writes `null` for no items.
fn or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Items, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
