//! What can go wrong, and what to do about it. No message carries a secret.

use std::{path::PathBuf, time::Duration};

use crate::{
    http::{Fault, UNASKED},
    throttle::{Class, Classified},
};

/// Why a request to Consul failed. Each text says what failed, why, and what to do, where somebody can do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file named in the settings cannot be used.
    #[error("cannot use {variable}={}: {reason}", path.display())]
    File {
        /// The variable that names it.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and how to fix it.
        reason: String,
    },
    /// The value of a setting cannot be used.
    #[error("cannot use {variable}: {reason}")]
    Setting {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it, and how to fix it.
        reason: String,
    },
    /// The connection could not be opened.
    #[error("cannot connect to Consul at {address}: {reason}; check that the agent runs there (CONSUL_HTTP_ADDR)")]
    Connect {
        /// Label of the address.
        address: String,
        /// The cause.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("cannot set up TLS with Consul at {address}: {reason}; {fix}")]
    Tls {
        /// Label of the address.
        address: String,
        /// The cause.
        reason: String,
        /// What to set.
        fix: String,
    },
    /// The agent expects TLS, and the request came without it.
    #[error(
        "cannot use Consul at {address} without TLS: it speaks HTTPS there; write https:// in CONSUL_HTTP_ADDR, or set \
         CONSUL_HTTP_SSL=true"
    )]
    WantsTls {
        /// Label of the address.
        address: String,
    },
    /// Consul did not answer within the deadline.
    #[error("cannot {what}: Consul at {address} did not answer within {after:?}; check the agent (CONSUL_HTTP_ADDR)")]
    Timeout {
        /// Label of the address.
        address: String,
        /// What was asked, as a verb: "read …".
        what: String,
        /// The deadline.
        after: Duration,
    },
    /// The connection broke in the middle of an exchange.
    #[error("cannot {what}: the connection to Consul at {address} broke: {reason}")]
    Broken {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// The cause.
        reason: String,
    },
    /// The servers are electing a leader, or the agent does not reach them.
    #[error("cannot {what}: Consul at {address} has no leader at the moment: {text}; check its servers if this lasts")]
    NoLeader {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// Consul's words.
        text: String,
    },
    /// Too many requests, or too many connections from here.
    #[error(
        "cannot {what}: Consul at {address} refuses further requests from this machine: {text}; \
         raise http_max_conns_per_client or the rate limits of the agent, or find out what else calls it"
    )]
    Busy {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// Consul's words.
        text: String,
    },
    /// The token may not do this.
    #[error(
        "cannot {what}: Consul answered {text:?}; {} needs {needs}",
        if *.token { "the policy of the token" } else { "no token was given (CONSUL_HTTP_TOKEN), and the anonymous policy" }
    )]
    Denied {
        /// What was asked.
        what: String,
        /// The missing line of the policy.
        needs: String,
        /// Whether a token was sent at all.
        token: bool,
        /// Consul's words.
        text: String,
    },
    /// Consul does not know the token.
    #[error(
        "Consul at {address} does not accept the token: {text}; set a valid one in CONSUL_HTTP_TOKEN or \
         CONSUL_HTTP_TOKEN_FILE"
    )]
    BadToken {
        /// Label of the address.
        address: String,
        /// Consul's words.
        text: String,
    },
    /// An option that this edition or version of Consul does not have.
    #[error("cannot use {variable} with Consul at {address}: {text}; unset it, only Consul Enterprise has it")]
    Enterprise {
        /// The variable.
        variable: &'static str,
        /// Label of the address.
        address: String,
        /// Consul's words.
        text: String,
    },
    /// The datacenter is unknown, or none of its servers can be reached.
    #[error("cannot reach the datacenter {datacenter:?} from Consul at {address}: {text}; check CONSUL_DATACENTER")]
    NoDatacenter {
        /// Label of the address.
        address: String,
        /// Its name.
        datacenter: String,
        /// Consul's words.
        text: String,
    },
    /// More than Consul takes in one request.
    #[error(
        "cannot {what}: the request is larger than Consul at {address} allows: {text}; raise txn_max_req_len and \
         kv_max_value_size in the limits of the agents"
    )]
    TooLarge {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// Consul's words.
        text: String,
    },
    /// Any other status than success.
    #[error("cannot {what}: Consul at {address} answered {code}: {text}")]
    Status {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// The HTTP status.
        code: u16,
        /// The start of Consul's words.
        text: String,
    },
    /// The answer does not follow the protocol.
    #[error("cannot {what}: unexpected answer from {address}: {text}; check that CONSUL_HTTP_ADDR is a Consul agent")]
    Garbage {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// What is wrong with it.
        text: String,
    },
}

impl Error {
    /// Whether the same call can succeed later without a change of a policy or a setting.
    ///
    /// A caller keeps trying either way, because policies do get changed. The difference is how soon, and how loudly.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Connect { .. }
            | Error::Timeout { .. }
            | Error::Broken { .. }
            | Error::NoLeader { .. }
            | Error::Busy { .. }
            | Error::Garbage { .. } => true,
            Error::Status { code, .. } => *code >= 500 || matches!(code, 408 | 425),
            Error::File { .. }
            | Error::Setting { .. }
            | Error::Tls { .. }
            | Error::WantsTls { .. }
            | Error::Denied { .. }
            | Error::BadToken { .. }
            | Error::Enterprise { .. }
            | Error::NoDatacenter { .. }
            | Error::TooLarge { .. } => false,
        }
    }

    /// Whether Consul may have carried out a write that failed with this error, so that only its answer is missing.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Error::Timeout { .. } | Error::Broken { .. } | Error::Garbage { .. } => true,
            // A leader that is deposed while it writes answers 500 (or that there is no leader), and its successor can
            // still commit the write.
            Error::NoLeader { .. } => true,
            Error::Status { code, .. } => *code >= 500 || *code == 408,
            Error::File { .. }
            | Error::Setting { .. }
            | Error::Connect { .. }
            | Error::Tls { .. }
            | Error::WantsTls { .. }
            | Error::Busy { .. }
            | Error::Denied { .. }
            | Error::BadToken { .. }
            | Error::Enterprise { .. }
            | Error::NoDatacenter { .. }
            | Error::TooLarge { .. } => false,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::File { variable, path, reason } => Error::File { variable, path, reason },
            Fault::Setting { variable, reason } => Error::Setting { variable, reason },
            Fault::Connect { address, reason } => Error::Connect { address, reason },
            Fault::Tls { address, reason, fix } => Error::Tls { address, reason, fix },
            Fault::Crowded { address, what } => Error::Busy { address, what, text: UNASKED.to_owned() },
            Fault::Broken { address, what, reason } => Error::Broken { address, what, reason },
        }
    }
}

/// An answer without success, and the request that it belongs to.
#[derive(Debug)]
pub(super) struct BadStatus<'a> {
    pub(super) address: &'a str,
    pub(super) what: &'a str,
    pub(super) needs: &'a str,
    pub(super) token: bool,
    pub(super) datacenter: Option<&'a str>,
    pub(super) code: u16,
    pub(super) text: String,
}

impl BadStatus<'_> {
    /// Consul has no codes for its errors, so its words decide: those of `agent/structs/errors.go`, `acl/errors.go` and
    /// `agent/http_oss.go`, from 1.8 on.
    pub(super) fn meaning(self) -> Error {
        let BadStatus { address, what, needs, token, datacenter, code, text } = self;
        let says = |words: &str| text.contains(words);
        let (address, what) = (address.to_owned(), what.to_owned());
        let of_namespace = says("Namespaces is a Consul") || says("Namespaces are a Consul") || says("\"Namespace\"");
        let of_partition = says("Partitions is a Consul") || says("Partitions are a Consul") || says("\"Partition\"");
        match code {
            _ if says("ACL not found") => Error::BadToken { address, text },
            403 => Error::Denied { what, needs: needs.to_owned(), token, text },
            400 if of_namespace => Error::Enterprise { variable: "CONSUL_NAMESPACE", address, text },
            400 if of_partition => Error::Enterprise { variable: "CONSUL_PARTITION", address, text },
            400 if says("HTTP request to an HTTPS server") => Error::WantsTls { address },
            413 => Error::TooLarge { address, what, text },
            429 => Error::Busy { address, what, text },
            500.. if says("rate limit") => Error::Busy { address, what, text },
            500.. if says("No path to datacenter") || says("Datacenter not found") => {
                Error::NoDatacenter { address, datacenter: datacenter.unwrap_or("the agent's own").to_owned(), text }
            }
            500.. if says("No cluster leader") || says("not the leader") || says("No known Consul servers") => {
                Error::NoLeader { address, what, text }
            }
            300..400 => {
                let text = format!("{text} (a redirect, which is not followed; see CONSUL_HTTP_ADDR)");
                Error::Status { address, what, code, text }
            }
            _ => Error::Status { address, what, code, text },
        }
    }
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Error::File { variable, .. } => Class::from("file").with(variable),
            Error::Setting { variable, .. } => Class::from("setting").with(variable),
            Error::Connect { .. } => "connect".into(),
            Error::Tls { .. } => "tls".into(),
            Error::WantsTls { .. } => "wants tls".into(),
            Error::Timeout { .. } => "timeout".into(),
            Error::Broken { .. } => "broken".into(),
            Error::NoLeader { .. } => "no leader".into(),
            Error::Busy { .. } => "busy".into(),
            // Each missing rule is a class of its own, and there are few.
            Error::Denied { needs, .. } => Class::from("denied").with(needs),
            Error::BadToken { .. } => "token".into(),
            Error::Enterprise { variable, .. } => Class::from("enterprise").with(variable),
            Error::NoDatacenter { .. } => "datacenter".into(),
            Error::TooLarge { .. } => "too large".into(),
            Error::Status { code, .. } => Class::from("status").with(code),
            Error::Garbage { .. } => "garbage".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(code: u16, text: &str) -> Error {
        BadStatus {
            address: "http://consul:8500",
            what: "read \"f/k\"",
            needs: "key_prefix \"f/\" { policy = \"write\" }",
            token: true,
            datacenter: Some("eu"),
            code,
            text: text.to_owned(),
        }
        .meaning()
    }

    /// Answers of Consul 1.8.7. Where its words have changed since, they are from its sources.
    #[test]
    fn every_refusal_has_its_sentence_and_its_fix() {
        for (code, text, needle, passing, happened) in [
            (
                403,
                "Permission denied",
                "the policy of the token needs key_prefix \"f/\" { policy = \"write\" }",
                false,
                false,
            ),
            (
                403,
                "Permission denied: token with AccessorID 'x' lacks permission 'key:read' on \"f/k\"",
                "lacks permission 'key:read'",
                false,
                false,
            ),
            (403, "ACL not found", "CONSUL_HTTP_TOKEN", false, false),
            (500, "rpc error making call: ACL not found", "CONSUL_HTTP_TOKEN", false, false),
            (
                400,
                "Bad request: Invalid query parameter: \"ns\" - Namespaces are a Consul Enterprise feature",
                "cannot use CONSUL_NAMESPACE with Consul",
                false,
                false,
            ),
            (
                400,
                "Invalid query parameter: \"partition\" - Partitions are a Consul Enterprise feature",
                "cannot use CONSUL_PARTITION with Consul",
                false,
                false,
            ),
            (400, "Failed to parse body: json: unknown field \"Partition\"", "CONSUL_PARTITION", false, false),
            (400, "Client sent an HTTP request to an HTTPS server.", "CONSUL_HTTP_SSL=true", false, false),
            (
                413,
                "Request body(800044 bytes) too large, max size: 524288 bytes.",
                "allows: Request body",
                false,
                false,
            ),
            (429, "Your IP is issuing too many concurrent connections", "http_max_conns_per_client", true, false),
            (
                503,
                "rate limit exceeded for operation that can only be performed by the leader",
                "refuses further requests",
                true,
                false,
            ),
            (500, "No path to datacenter", "No path to datacenter; check CONSUL_DATACENTER", false, false),
            (500, "No cluster leader", "no leader at the moment", true, true),
            (500, "rpc error making call: node is not the leader", "no leader at the moment", true, true),
            (
                500,
                "leadership lost while committing log",
                "cannot read \"f/k\": Consul at http://consul:8500 answered 500",
                true,
                true,
            ),
            (500, "Missing node registration", "Missing node registration", true, true),
            (503, "upstream connect error", "answered 503", true, true),
            (301, "Moved", "not followed", false, false),
            (405, "method PUT not allowed", "answered 405", false, false),
        ] {
            let error = meaning(code, text);
            assert!(error.to_string().contains(needle), "{error}");
            assert_eq!((error.is_passing(), error.may_have_happened()), (passing, happened), "{error}");
        }
    }

    #[test]
    fn a_denial_says_whether_a_token_was_sent() {
        let mut error = meaning(403, "Permission denied");
        if let Error::Denied { token, .. } = &mut error {
            *token = false;
        }
        assert!(error.to_string().contains("no token was given (CONSUL_HTTP_TOKEN)"), "{error}");
    }
}
