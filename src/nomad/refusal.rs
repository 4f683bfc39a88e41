//! Finds out why a stream was refused: Nomad closes it without a word, but answers other requests properly.

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

/// How many namespaces are tried one by one for a refused `*`.
const MAX_NAMESPACES: usize = 64;

/// How much of an answer is read: the lists of namespaces and an agent's own description.
const MAX_BODY: usize = 4 << 20;

/// Whom the server takes us for.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    /// ACLs are off: everyone may everything.
    Anyone,
    /// A management token: may everything.
    Management,
    /// A token, a workload identity or nobody in particular, with what its policies give.
    Limited,
    /// The token is not known; with the server's words.
    Unknown(String),
}

/// A status, and the body where it is a success or the words where it is not.
struct Said {
    code: StatusCode,
    body: Vec<u8>,
}

impl Client {
    /// The reason for the refusal of `query` by `server`.
    pub(super) async fn explain(&self, server: &Server, query: &StreamQuery) -> Error {
        // Some dozens of small questions at most; a server too slow for them leaves the reason open.
        match timeout(self.deadline() * 2, self.investigate(server, query)).await {
            Ok(Ok(error) | Err(error)) => error,
            Err(_) => self.refused(server, format!("and is slow to answer; the stream needs {}", query.needs())),
        }
    }

    /// Why the token is not accepted, in the server's words; `None` where it is, or nothing can be said.
    pub(super) async fn unknown_token(&self, server: &Server) -> Option<String> {
        if !self.has_token() {
            return None;
        }
        match self.identity(server).await {
            Ok(Identity::Unknown(text)) => Some(text),
            _ => None,
        }
    }

    /// `Err` where a question itself failed: then that is the reason.
    async fn investigate(&self, server: &Server, query: &StreamQuery) -> Result<Error, Error> {
        let identity = self.identity(server).await?;
        if let Identity::Unknown(text) = identity {
            return Ok(Error::BadToken { address: server.label.clone(), text });
        }
        if query.namespace != "*" {
            let path = namespace_path(&query.namespace);
            let said = self.said(server, "the namespace", path, Vec::new()).await?;
            // An agent that knows no namespaces at all answers 404 with other words.
            if said.code == StatusCode::NOT_FOUND && said.text().contains("amespace not found") {
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
                "the namespace * takes {} in every namespace, those the token cannot see too; \
                 or list the namespaces it may read in NOMAD_NAMESPACE",
                query.needs()
            ),
            Identity::Limited => format!("the stream needs {}", query.needs()),
            _ => {
                "not for want of a permission; is its event broker disabled (enable_event_broker), or has it lost its \
                  leader?"
                    .to_owned()
            }
        };
        let permitted = identity != Identity::Limited;
        Ok(Error::Refused { address: server.label.clone(), reason, permitted })
    }

    fn refused(&self, server: &Server, reason: String) -> Error {
        Error::Refused { address: server.label.clone(), reason, permitted: false }
    }

    /// The permissions that are proven, or bound, to be missing; `None` where every one that can be tried is there.
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
            what: format!("event stream of {}", denied.into_iter().collect::<Vec<_>>().join(", ")),
            needs: Permission::rules(&needs),
            token: self.has_token(),
        }))
    }

    /// The namespaces to try: for `*` those the token sees, since a list of `*` passes over the others in silence.
    async fn namespaces_of(&self, server: &Server, query: &StreamQuery) -> Result<Vec<String>, Error> {
        if query.namespace != "*" {
            return Ok(vec![query.namespace.clone()]);
        }
        let call = namespaces_call();
        let said = self.said(server, &call.what, call.path, call.query).await?;
        let seen: Option<Vec<Namespace>> = serde_json::from_slice(&said.body).unwrap_or_default();
        let mut names: Vec<_> = seen.unwrap_or_default().into_iter().map(|namespace| namespace.name).collect();
        names.truncate(MAX_NAMESPACES);
        if names.is_empty() {
            names.push("*".to_owned());
        }
        Ok(names)
    }

    /// Whether a request that asks for the same permission is denied.
    async fn is_denied(&self, server: &Server, permission: Permission, namespace: &str) -> Result<bool, Error> {
        let (path, query) = match permission {
            // The list of allocations asks for the stream's own capability; that of jobs for another.
            Permission::Namespace(capabilities) if capabilities.contains(&"read-job") => {
                ("/v1/allocations", vec![("namespace", namespace.to_owned()), ("per_page", "1".to_owned())])
            }
            Permission::Node => ("/v1/nodes", vec![("per_page", "1".to_owned())]),
            Permission::Operator => ("/v1/operator/scheduler/configuration", Vec::new()),
            // Only asked for tokens that are none.
            Permission::Management => return Ok(true),
            // Lists that leave out what may not be read prove nothing.
            Permission::Namespace(_) | Permission::Variables => return Ok(false),
        };
        let what = path.trim_start_matches("/v1/");
        let said = self.said(server, what, path.to_owned(), query).await?;
        Ok(said.code == StatusCode::FORBIDDEN)
    }

    async fn identity(&self, server: &Server) -> Result<Identity, Error> {
        #[derive(Deserialize)]
        struct Token {
            #[serde(rename = "AccessorID", default)]
            accessor: String,
            #[serde(rename = "Type", default)]
            kind: String,
        }
        let said = match self.said(server, "the token", "/v1/acl/token/self".to_owned(), Vec::new()).await {
            // Here Nomad gives an expired token, and a workload identity that does not hold, no status of their own.
            Err(Error::Status { code: 500, text, .. })
                if self.has_token() && (is_token_error(&text) || is_identity_error(&text)) =>
            {
                return Ok(Identity::Unknown(text));
            }
            said => said?,
        };
        Ok(match said.code {
            StatusCode::OK => match serde_json::from_slice::<Token>(&said.body) {
                Ok(token) if token.accessor == "acls-disabled" => Identity::Anyone,
                Ok(token) if token.kind == "management" => Identity::Management,
                _ => Identity::Limited,
            },
            // "ACL support disabled".
            StatusCode::BAD_REQUEST => Identity::Anyone,
            StatusCode::FORBIDDEN if self.has_token() => Identity::Unknown(said.text()),
            _ => Identity::Limited,
        })
    }

    /// Whether the agent is a server that says so of itself; telling takes the permission to read the agent.
    async fn broker_is_off(&self, server: &Server) -> bool {
        let path = "/v1/agent/self".to_owned();
        let Ok(said) = self.said(server, "the agent", path, Vec::new()).await else {
            return false;
        };
        let agent: serde_json::Value = serde_json::from_slice(&said.body).unwrap_or_default();
        let server = &agent["config"]["Server"];
        server["Enabled"] == true && server["EnableEventBroker"] == false
    }

    /// Asks one question. `Err` without an answer, and for the statuses of a server in trouble.
    async fn said(
        &self,
        server: &Server,
        what: &str,
        path: String,
        query: Vec<(&'static str, String)>,
    ) -> Result<Said, Error> {
        let call = Call { what: what.to_owned(), path, query, needs: String::new() };
        let read = async {
            let response = self.ask_at(server, &call).await?;
            let code = response.status();
            if code.is_success() {
                let body = self.body(server, &call, response, MAX_BODY).await?.to_vec();
                return Ok(Said { code, body });
            }
            let text = self.text(response).await;
            if code.is_server_error() && code != StatusCode::NOT_IMPLEMENTED {
                return Err(self.status(server, &call, code, text).await);
            }
            Ok(Said { code, body: text.into_bytes() })
        };
        timeout(self.deadline(), read).await.unwrap_or_else(|_| Err(self.late(server, &call, self.deadline())))
    }
}

/// Words of a workload identity that the cluster does not accept (Nomad's `nomad/encrypter.go` and `nomad/auth/auth.go`).
/// Whatever is no UUID is taken for one.
fn is_identity_error(text: &str) -> bool {
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

impl Said {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
