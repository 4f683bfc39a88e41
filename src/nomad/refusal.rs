//! Finds out why Nomad refused a stream: Nomad closes it without a word, but answers other requests properly.

use std::collections::BTreeSet;

use reqwest::StatusCode;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    client::{Call, Client, is_token_error},
    error::Error,
    object::{Namespace, namespace_path, namespaces_call},
    stream::StreamQuery,
    topic::Permission,
};
use crate::http::Server;

/// How many namespaces are tried one by one when `*` was refused.
const MAX_NAMESPACES: usize = 64;

/// How many bytes of an answer are read: a list of namespaces, or an agent's description of itself.
const MAX_BODY: usize = 4 << 20;

/// Who we are to the server.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// ACLs are off: everyone may do everything.
    Anyone,
    /// A management token, which may do everything.
    Management,
    /// A token, a workload identity or the anonymous token, with the rights of its policies.
    Limited,
    /// The server does not know the token; with the server's words.
    Unknown(String),
}

/// A status, with the body of a success or the words of a failure.
struct Reply {
    code: StatusCode,
    body: Vec<u8>,
}

impl Client {
    /// The reason for the refusal of `query` by `server`.
    pub(super) async fn explain(&self, server: &Server, query: &StreamQuery) -> Error {
        // At most some dozens of small requests. If the server is too slow for them, the reason stays unknown.
        match timeout(self.deadline() * 2, self.investigate(server, query)).await {
            Ok(Ok(error) | Err(error)) => error,
            Err(_) => {
                self.refused(server, format!("it is slow to answer other requests; the stream needs {}", query.needs()))
            }
        }
    }

    /// Why the server does not accept the token, in its words; `None` if it does, or if that cannot be found out.
    pub(super) async fn unknown_token(&self, server: &Server) -> Option<String> {
        if !self.has_token() {
            return None;
        }
        match self.identity(server).await {
            Ok(Identity::Unknown(text)) => Some(text),
            _ => None,
        }
    }

    /// `Err` if a request of the investigation failed: then that is the reason.
    async fn investigate(&self, server: &Server, query: &StreamQuery) -> Result<Error, Error> {
        let identity = self.identity(server).await?;
        if let Identity::Unknown(text) = identity {
            return Ok(Error::BadToken { address: server.label.clone(), text });
        }
        if query.namespace != "*" {
            let path = namespace_path(&query.namespace);
            let reply = self.request(server, "the namespace", path, Vec::new()).await?;
            // An agent without any namespaces answers 404 with other words.
            if reply.code == StatusCode::NOT_FOUND && reply.text().contains("amespace not found") {
                return Ok(Error::NoNamespace { namespace: query.namespace.clone() });
            }
        }
        if identity == Identity::Limited
            && let Some(error) = self.missing(server, query).await?
        {
            return Ok(error);
        }
        if self.broker_is_off(server).await {
            return Ok(Error::no_broker(server.label.clone()));
        }
        let reason = match identity {
            Identity::Limited if query.namespace == "*" => format!(
                "the namespace * needs {} in every namespace, including those that the token cannot see; \
                 or list the namespaces that it may read in NOMAD_NAMESPACE",
                query.needs()
            ),
            Identity::Limited => format!("the stream needs {}", query.needs()),
            _ => {
                "no permission is missing; check that its event broker is enabled (enable_event_broker), and that it has a \
                 leader"
                    .to_owned()
            }
        };
        let permitted = identity != Identity::Limited;
        Ok(Error::Refused { address: server.label.clone(), reason, permitted })
    }

    fn refused(&self, server: &Server, reason: String) -> Error {
        Error::Refused { address: server.label.clone(), reason, permitted: false }
    }

    /// The permissions that are certainly missing; `None` if every permission that can be tried is there.
    async fn missing(&self, server: &Server, query: &StreamQuery) -> Result<Option<Error>, Error> {
        let mut names: BTreeSet<&str> = query.topics.iter().map(|topic| topic.name.as_str()).collect();
        if names.is_empty() {
            names.insert("*");
        }
        let namespaces = self.namespaces_of(server, query).await?;
        let mut denied = BTreeSet::new();
        let mut needs = Vec::new();
        for name in names {
            for namespace in &namespaces {
                if self.is_denied(server, Permission::of(name), namespace).await? {
                    denied.insert(name);
                    needs.push((Permission::of(name), namespace.as_str()));
                }
            }
        }
        Ok((!needs.is_empty()).then(|| Error::Denied {
            what: format!("the event stream of {}", denied.into_iter().collect::<Vec<_>>().join(", ")),
            needs: Permission::rules(&needs),
            token: self.has_token(),
        }))
    }

    /// The namespaces to try: for `*` those that the token sees, because a list of `*` leaves out the others without a word.
    async fn namespaces_of(&self, server: &Server, query: &StreamQuery) -> Result<Vec<String>, Error> {
        if query.namespace != "*" {
            return Ok(vec![query.namespace.clone()]);
        }
        let call = namespaces_call();
        let reply = self.request(server, &call.what, call.path, call.query).await?;
        let seen: Option<Vec<Namespace>> = serde_json::from_slice(&reply.body).unwrap_or_default();
        let mut names: Vec<_> = seen.unwrap_or_default().into_iter().map(|namespace| namespace.name).collect();
        names.truncate(MAX_NAMESPACES);
        if names.is_empty() {
            names.push("*".to_owned());
        }
        Ok(names)
    }

    /// Whether Nomad denies a request that needs the same permission.
    async fn is_denied(&self, server: &Server, permission: Permission, namespace: &str) -> Result<bool, Error> {
        let (path, query) = match permission {
            // The list of allocations needs the same capability as the stream; the list of jobs needs another one.
            Permission::Namespace(capabilities) if capabilities.contains(&"read-job") => {
                ("/v1/allocations", vec![("namespace", namespace.to_owned()), ("per_page", "1".to_owned())])
            }
            Permission::Node => ("/v1/nodes", vec![("per_page", "1".to_owned())]),
            Permission::Operator => ("/v1/operator/scheduler/configuration", Vec::new()),
            // Called only for tokens that are not management tokens.
            Permission::Management => return Ok(true),
            // These lists leave out what the token may not read, so they prove nothing.
            Permission::Namespace(_) | Permission::Variables => return Ok(false),
        };
        let what = path.trim_start_matches("/v1/");
        let reply = self.request(server, what, path.to_owned(), query).await?;
        Ok(reply.code == StatusCode::FORBIDDEN)
    }

    async fn identity(&self, server: &Server) -> Result<Identity, Error> {
        #[derive(Deserialize)]
        struct Token {
            #[serde(rename = "AccessorID", default)]
            accessor: String,
            #[serde(rename = "Type", default)]
            kind: String,
        }
        let reply = match self.request(server, "the token", "/v1/acl/token/self".to_owned(), Vec::new()).await {
            // For an expired token and for an invalid workload identity, Nomad answers 500 here.
            Err(Error::Status { code: 500, text, .. })
                if self.has_token() && (is_token_error(&text) || is_identity_error(&text)) =>
            {
                return Ok(Identity::Unknown(text));
            }
            reply => reply?,
        };
        Ok(match reply.code {
            StatusCode::OK => match serde_json::from_slice::<Token>(&reply.body) {
                Ok(token) if token.accessor == "acls-disabled" => Identity::Anyone,
                Ok(token) if token.kind == "management" => Identity::Management,
                _ => Identity::Limited,
            },
            // "ACL support disabled".
            StatusCode::BAD_REQUEST => Identity::Anyone,
            StatusCode::FORBIDDEN if self.has_token() => Identity::Unknown(reply.text()),
            _ => Identity::Limited,
        })
    }

    /// Whether the agent is a server that reports a disabled broker. Reading that needs the permission to read the agent.
    async fn broker_is_off(&self, server: &Server) -> bool {
        let path = "/v1/agent/self".to_owned();
        let Ok(reply) = self.request(server, "the agent", path, Vec::new()).await else {
            return false;
        };
        let agent: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let server = &agent["config"]["Server"];
        server["Enabled"] == true && server["EnableEventBroker"] == false
    }

    /// Sends one request. `Err` without an answer, and for the statuses of a server in trouble.
    async fn request(
        &self,
        server: &Server,
        what: &str,
        path: String,
        query: Vec<(&'static str, String)>,
    ) -> Result<Reply, Error> {
        let call = Call { what: what.to_owned(), path, query, needs: String::new() };
        let read = async {
            let response = self.send_to(server, &call).await?;
            let code = response.status();
            if code.is_success() {
                let body = self.body(server, &call, response, MAX_BODY).await?.to_vec();
                return Ok(Reply { code, body });
            }
            let text = self.text(response).await;
            if code.is_server_error() && code != StatusCode::NOT_IMPLEMENTED {
                return Err(self.status(server, &call, code, text).await);
            }
            Ok(Reply { code, body: text.into_bytes() })
        };
        timeout(self.deadline(), read).await.unwrap_or_else(|_| Err(self.timeout_error(server, &call, self.deadline())))
    }
}

/// Nomad's words for a workload identity that it does not accept (`nomad/encrypter.go` and `nomad/auth/auth.go`).
/// Nomad takes every token that is not a UUID for a workload identity.
pub(super) fn is_identity_error(text: &str) -> bool {
    [
        "failed to parse signed token",
        "invalid signature",
        "invalid claims",
        "in keyring",
        "failed to determine claim type",
        "allocation does not exist",
        "allocation is terminal",
    ]
    .iter()
    .any(|words| text.contains(words))
}

impl Reply {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
