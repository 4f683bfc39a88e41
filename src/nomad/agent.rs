//! What an agent says of itself, and of the token: for a check before the start.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::{
    client::{Call, Client, Limits},
    config::Config,
    error::Error,
    refusal::is_identity_error,
};

/// An agent, as far as it says. Reading it needs `agent { policy = "read" }`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// The version of Nomad.
    pub version: String,
    /// Whether it is a server: only servers have an event stream of their own, and an index.
    pub is_server: bool,
    /// Whether a server has its event broker on.
    pub has_broker: bool,
    /// `event_buffer_size` of a server.
    pub event_buffer_size: Option<u64>,
    /// The raft index that a server has applied.
    pub applied_index: Option<u64>,
}

/// What the token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// ACLs are off: everyone may do everything.
    Anyone,
    /// A management token.
    Management {
        /// Its name.
        name: String,
        /// When it expires.
        expires: Option<SystemTime>,
    },
    /// A token with the rights of its policies. Without any token, it is the anonymous one.
    Client {
        /// Its name.
        name: String,
        /// The names of its policies, and of its roles.
        policies: Vec<String>,
        /// When it expires.
        expires: Option<SystemTime>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TokenAnswer {
    #[serde(rename = "AccessorID", default)]
    accessor: String,
    #[serde(default)]
    name: String,
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(default)]
    policies: Option<Vec<String>>,
    #[serde(default)]
    roles: Option<Vec<Role>>,
    #[serde(default)]
    expiration_time: Option<String>,
}

#[derive(Deserialize)]
struct Role {
    #[serde(rename = "Name", default)]
    name: String,
}

impl Client {
    /// A client that gives up after `within` whatever the settings say: for a person who waits.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn impatient(config: Config, within: Duration) -> Result<Self, Error> {
        let limits = Limits::default();
        let limits = Limits { connect: limits.connect.min(within), open: limits.open.min(within), ..limits };
        Client::with_limits(Config { timeout: config.timeout.min(within), ..config }, limits)
    }

    /// What the current agent says of itself.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn agent(&self) -> Result<Agent, Error> {
        let call = call("the agent", "/v1/agent/self", "agent { policy = \"read\" }");
        let (answer, ()) = self.evidence::<serde_json::Value, _>(&call, |_| ()).await?;
        let server = &answer["config"]["Server"];
        let is_server = server["Enabled"] == true;
        let applied = answer["stats"]["raft"]["applied_index"].as_str();
        Ok(Agent {
            version: answer["config"]["Version"]["Version"].as_str().unwrap_or_default().to_owned(),
            is_server,
            has_broker: server["EnableEventBroker"] != false,
            event_buffer_size: server["EventBufferSize"].as_u64().filter(|_| is_server),
            applied_index: applied.and_then(|text| text.parse().ok()).filter(|_| is_server),
        })
    }

    /// The version of the servers, by the members of their cluster. Reading it needs `node { policy = "read" }`.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn version(&self) -> Result<Option<String>, Error> {
        let call = call("the members of the cluster", "/v1/agent/members", "node { policy = \"read\" }");
        let (answer, ()) = self.evidence::<serde_json::Value, _>(&call, |_| ()).await?;
        let builds = answer["Members"].as_array().into_iter().flatten();
        let mut builds: Vec<&str> = builds.filter_map(|member| member["Tags"]["build"].as_str()).collect();
        builds.sort_unstable();
        builds.dedup();
        Ok((!builds.is_empty()).then(|| builds.join(" and ")))
    }

    /// What the token is. Every token may ask that.
    ///
    /// # Errors
    /// [`Error::BadToken`] for a token that Nomad does not accept; otherwise see [`Error`].
    pub async fn token_self(&self) -> Result<Token, Error> {
        let call = call("the token", "/v1/acl/token/self", "no permission");
        let answer = match self.evidence::<TokenAnswer, _>(&call, |_| ()).await {
            Ok((answer, ())) => answer,
            // "ACL support disabled".
            Err(Error::Status { code: 400, .. }) => return Ok(Token::Anyone),
            Err(Error::Status { code: 500, address, text, .. }) if is_identity_error(&text) => {
                return Err(Error::BadToken { address, text });
            }
            Err(error) => return Err(error),
        };
        let TokenAnswer { accessor, name, kind, policies, roles, expiration_time } = answer;
        let expires = expiration_time.and_then(|time| humantime::parse_rfc3339(&time).ok());
        Ok(match kind.as_str() {
            _ if accessor == "acls-disabled" => Token::Anyone,
            "management" => Token::Management { name, expires },
            _ => {
                let roles = roles.unwrap_or_default().into_iter().map(|role| role.name);
                Token::Client {
                    name,
                    policies: policies.unwrap_or_default().into_iter().chain(roles).collect(),
                    expires,
                }
            }
        })
    }
}

fn call(what: &str, path: &str, needs: &str) -> Call {
    Call { what: what.to_owned(), path: path.to_owned(), query: Vec::new(), needs: needs.to_owned() }
}
