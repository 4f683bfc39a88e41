//! Sessions, which hold locks.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    SessionId,
    client::{Call, Client},
    error::Error,
};

/// The largest answer about a session, in bytes.
const MAX_BODY: usize = 64 << 10;

/// A session to create. When it ends, Consul releases its locks; their keys stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name, for people. It need not be unique.
    pub name: String,
    /// The shortest time that it lives without a renewal. Consul may take twice as long. 10 s to 24 h.
    pub ttl: Duration,
    /// How long Consul refuses to give out a lock that ended with this session. 0 to 60 s; Consul cuts more to 60 s.
    pub lock_delay: Duration,
    /// Whether it also ends when the agent's node counts as dead (`serfHealth`), which is Consul's default.
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
    /// An empty list means no check. Without the field, Consul uses `serfHealth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    node_checks: Option<[&'static str; 0]>,
}

/// A session in an answer of Consul.
#[derive(Deserialize)]
struct Named {
    #[serde(rename = "ID")]
    id: Box<str>,
}

impl Client {
    /// Creates a session, on the node of the agent.
    ///
    /// # Errors
    /// No session was created, unless [`Error::may_have_happened`]: such a session ends after its TTL.
    pub async fn create_session(&self, session: &Session, deadline: Duration) -> Result<SessionId, Error> {
        let request = Request {
            name: &session.name,
            ttl: go_duration(session.ttl),
            lock_delay: go_duration(session.lock_delay),
            behavior: "release",
            node_checks: (!session.node_checks).then_some([]),
        };
        let body = serde_json::to_vec(&request).expect("texts and numbers are JSON").into();
        let call = session_call("create", Some(body), "create a session");
        let answer = self.send(&call, &[], deadline).await?;
        let created: Named =
            serde_json::from_slice(&answer.body).map_err(|error| self.garbage(&call, error.to_string()))?;
        Ok(SessionId::new(created.id))
    }

    /// Restarts the TTL. Returns false if the session is gone, because it ended or was destroyed.
    ///
    /// # Errors
    /// It is not known whether Consul renewed it, unless Consul refused.
    pub async fn renew_session(&self, session: &SessionId, deadline: Duration) -> Result<bool, Error> {
        let call = session_call(&format!("renew/{}", super::kv::encoded(session.as_str())), None, "renew the session");
        let answer = self.send(&call, &[StatusCode::NOT_FOUND], deadline).await?;
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

    /// Ends the session, and starts the lock-delay of the locks that it holds. It is no error if the session is gone already.
    ///
    /// # Errors
    /// The session lives on, at most until its TTL, unless [`Error::may_have_happened`].
    pub async fn destroy_session(&self, session: &SessionId, deadline: Duration) -> Result<(), Error> {
        let call = session_call(&format!("destroy/{}", super::kv::encoded(session.as_str())), None, "end the session");
        let answer = self.send(&call, &[], deadline).await?;
        match answer.body.trim_ascii() {
            b"true" => Ok(()),
            text => Err(self.garbage(&call, String::from_utf8_lossy(text))),
        }
    }
}

/// A session belongs to the node of the agent that creates it, and the policy has to name that node. The client does not know
/// the node's name, which differs from agent to agent, so the rule names all nodes.
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

/// Writes a duration as Go does, always with a unit: Consul takes a small number without one for seconds.
fn go_duration(duration: Duration) -> String {
    if duration.is_zero() { "0s".to_owned() } else { format!("{}ms", duration.as_millis()) }
}
