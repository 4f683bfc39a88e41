//! What an agent says of itself: for a check before the start.

use std::time::Duration;

use reqwest::{Method, StatusCode};

use super::{
    client::{Call, Client},
    error::Error,
};

/// The largest answer that is read, in bytes: an agent describes its whole configuration.
const MAX_BODY: usize = 1 << 20;

impl Client {
    /// The address of the raft leader; empty if there is none. Consul answers this without a token.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn leader(&self, deadline: Duration) -> Result<String, Error> {
        self.json("read the leader's address", "/v1/status/leader", &[], deadline).await.map(Option::unwrap_or_default)
    }

    /// The version of the agent; `None` if the token may not read it (`agent_prefix "" { policy = "read" }`).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn version(&self, deadline: Duration) -> Result<Option<String>, Error> {
        let also = [StatusCode::FORBIDDEN];
        let answer: Option<serde_json::Value> =
            self.json("read the agent's version", "/v1/agent/self", &also, deadline).await?;
        Ok(answer.and_then(|answer| answer["Config"]["Version"].as_str().map(str::to_owned)))
    }

    /// The JSON at `path`; `None` for the statuses in `also`.
    async fn json<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        path: &str,
        also: &[StatusCode],
        deadline: Duration,
    ) -> Result<Option<T>, Error> {
        let call = Call {
            method: Method::GET,
            path: path.to_owned(),
            query: &[],
            body: None,
            what: what.to_owned(),
            needs: r#"agent_prefix "" { policy = "read" }"#.to_owned(),
            limit: MAX_BODY,
        };
        let answer = self.send(&call, also, deadline).await?;
        if !answer.code.is_success() {
            return Ok(None);
        }
        serde_json::from_slice(&answer.body).map(Some).map_err(|error| self.garbage(&call, error.to_string()))
    }
}
