//! Sessions: what a lock hangs on.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    SessionId,
    client::{Call, Client},
    error::Error,
};

/// Largest answer about a session.
const MAX_BODY: usize = 64 << 10;

/// A session to be made. Its locks are released when it ends; their keys stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name, for people: Consul does not ask for it to be unique.
    pub name: String,
    /// How long it lives without a renewal, at least; Consul may take twice as long. 10 s to 24 h.
    pub ttl: Duration,
    /// How long nobody can take a lock that ended with this session. 0 to 60 s; Consul holds longer ones for 60 s.
    pub lock_delay: Duration,
    /// Whether it ends too when the agent's node is thought dead (`serfHealth`), as Consul's default has it.
    pub node_checks: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    name: &'a str,
    #[serde(rename = "TTL")]
    ttl: String,
    lock_delay: String,
    behavior: &'static str,
    /// An empty list is no check at all; without the field there is `serfHealth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    node_checks: Option<[&'static str; 0]>,
}

/// A session as Consul answers it.
#[derive(Deserialize)]
struct Named {
    #[serde(rename = "ID")]
    id: Box<str>,
}

impl Client {
    /// Makes a session, on the node of the agent.
    ///
    /// # Errors
    /// None was made, unless [`Error::may_have_happened`]: it then ends by itself, by its TTL.
    pub async fn create_session(&self, session: &Session, deadline: Duration) -> Result<SessionId, Error> {
        let request = Request {
            name: &session.name,
            ttl: go(session.ttl),
            lock_delay: go(session.lock_delay),
            behavior: "release",
            node_checks: (!session.node_checks).then_some([]),
        };
        let body = serde_json::to_vec(&request).expect("texts and numbers are JSON").into();
        let call = session_call("create", Some(body), "to create a session");
        let answer = self.ask(&call, &[], deadline).await?;
        let created: Named =
            serde_json::from_slice(&answer.body).map_err(|error| self.garbage(&call, error.to_string()))?;
        Ok(SessionId::new(created.id))
    }

    /// Starts the TTL anew. False where the session is gone: it ended, or it was destroyed.
    ///
    /// # Errors
    /// Whether it was renewed is not known, unless Consul refused.
    pub async fn renew_session(&self, session: &SessionId, deadline: Duration) -> Result<bool, Error> {
        let call =
            session_call(&format!("renew/{}", super::kv::encoded(session.as_str())), None, "to renew the session");
        let answer = self.ask(&call, &[StatusCode::NOT_FOUND], deadline).await?;
        if answer.code == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        let renewed: Vec<Named> =
            serde_json::from_slice(&answer.body).map_err(|error| self.garbage(&call, error.to_string()))?;
        match renewed.iter().any(|renewed| *renewed.id == *session.as_str()) {
            true => Ok(true),
            false => Err(self.garbage(&call, "it does not name the session")),
        }
    }

    /// Ends it, and starts the lock-delay of the locks that it holds. No error where it is gone already.
    ///
    /// # Errors
    /// It lives on, until its TTL at the longest, unless [`Error::may_have_happened`].
    pub async fn destroy_session(&self, session: &SessionId, deadline: Duration) -> Result<(), Error> {
        let call =
            session_call(&format!("destroy/{}", super::kv::encoded(session.as_str())), None, "to end the session");
        let answer = self.ask(&call, &[], deadline).await?;
        match answer.body.trim_ascii() {
            b"true" => Ok(()),
            text => Err(self.garbage(&call, String::from_utf8_lossy(text))),
        }
    }
}

/// A session belongs to the node of the agent that makes it, and the policy has to name that node. Its name is not known
/// here and differs from agent to agent, so the line names all.
fn session_call(path: &str, body: Option<bytes::Bytes>, what: &str) -> Call<'static> {
    Call {
        method: Method::PUT,
        path: format!("/v1/session/{path}"),
        query: &[],
        body,
        what: what.to_owned(),
        needs: r#"session_prefix "" { policy = "write" }"#.to_owned(),
        limit: MAX_BODY,
    }
}

/// As Go writes a duration. The unit is always written: Consul takes a small number without one for seconds.
fn go(duration: Duration) -> String {
    if duration.is_zero() { "0s".to_owned() } else { format!("{}ms", duration.as_millis()) }
}
