//! What can go wrong, and what to do about it. No message carries a secret.

use std::{path::PathBuf, time::Duration};

use super::{lines::LongLine, topic::Permission};
use crate::{
    http::{Fault, UNASKED},
    throttle::{Class, Classified},
};

/// Why a request to Nomad failed. Each text says what failed, why, and what to do, where somebody can do something.
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
    #[error("cannot connect to Nomad at {address}: {reason}; check that the agent runs there (NOMAD_ADDR)")]
    Connect {
        /// Label of the address.
        address: String,
        /// The cause.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("cannot set up TLS with Nomad at {address}: {reason}; {fix}")]
    Tls {
        /// Label of the address.
        address: String,
        /// The cause.
        reason: String,
        /// What to set.
        fix: String,
    },
    /// Nomad did not answer within the deadline.
    #[error("cannot read {what}: Nomad at {address} did not answer within {after:?}; check the agent and its servers")]
    Timeout {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// The deadline.
        after: Duration,
    },
    /// The stream sent nothing, not even a heartbeat.
    #[error(
        "cannot read the event stream of {address}: no heartbeat arrived within {after:?}; check the network, and that no proxy buffers the stream (nginx: proxy_buffering off)"
    )]
    Silent {
        /// Label of the address.
        address: String,
        /// How long.
        after: Duration,
    },
    /// The agent accepts no further connection from this machine.
    #[error(
        "cannot read {what}: Nomad at {address} refuses further connections from this machine: {text}; \
         raise http_max_conns_per_client (100 by default) in the limits of the agent, or find out what else connects to it"
    )]
    Busy {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// The agent's words.
        text: String,
    },
    /// The agent knows no server of the region.
    #[error("cannot read {what} from Nomad at {address}: {text}; {fix}")]
    NoRegion {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// The agent's words.
        text: String,
        /// What to do, with the regions that the agent knows.
        fix: String,
    },
    /// A line of the event stream is longer than the longest one that is held.
    #[error("cannot read a line of the event stream of {address}: it is too long, with {} bytes", line.bytes)]
    LongLine {
        /// Label of the address.
        address: String,
        /// Its length, its start and its end.
        line: Box<LongLine>,
    },
    /// The connection broke in the middle of an answer.
    #[error("cannot read {what}: the connection to Nomad at {address} broke: {reason}")]
    Broken {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// The cause.
        reason: String,
    },
    /// The token may not read this.
    #[error("cannot read {what}: permission denied; {} needs {needs}", if *.token { "the token" } else { "no token was given (NOMAD_TOKEN), and the anonymous policy" })]
    Denied {
        /// What was asked.
        what: String,
        /// The missing rule of the policy, or "a management token".
        needs: String,
        /// Whether a token was sent at all.
        token: bool,
    },
    /// The cluster does not know the token.
    #[error("Nomad at {address} does not accept the token: {text}; set a valid one in NOMAD_TOKEN or NOMAD_TOKEN_FILE")]
    BadToken {
        /// Label of the address.
        address: String,
        /// The server's words.
        text: String,
    },
    /// The namespace does not exist.
    #[error("there is no namespace {namespace:?} in this cluster; check NOMAD_NAMESPACE")]
    NoNamespace {
        /// Its name.
        namespace: String,
    },
    /// This cluster has no event stream.
    #[error("{reason}")]
    NoStream {
        /// Label of the address.
        address: String,
        /// The whole sentence: the address is wrong, the event broker is off, or Nomad is older than 1.0.
        reason: String,
    },
    /// Nomad answers other requests, and nothing of the stream arrives.
    #[error(
        "Nomad at {address} answers, but nothing of its event stream arrived within {after:?}: a proxy probably buffers it; turn that off for /v1/event/stream (nginx: proxy_buffering off)"
    )]
    HeldBack {
        /// Label of the address.
        address: String,
        /// How long the client waited.
        after: Duration,
    },
    /// Nomad closed the stream at once, and no later request shows why.
    #[error("Nomad at {address} closed the event stream at once and gave no reason; {reason}")]
    Refused {
        /// Label of the address.
        address: String,
        /// What the cause can be, and what to check.
        reason: String,
        /// Whether it is certain that no permission is missing.
        permitted: bool,
    },
    /// A write failed as a read can.
    #[error("{}", .0.to_string().replacen("cannot read ", "cannot write ", 1))]
    Write(Box<Error>),
    /// This Nomad does not know the endpoint.
    #[error("cannot read {what}: Nomad at {address} does not offer it: {text}")]
    Unsupported {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// The server's words.
        text: String,
    },
    /// Any other status than success.
    #[error("cannot read {what}: Nomad at {address} answered {code}: {text}")]
    Status {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// The HTTP status.
        code: u16,
        /// The start of the server's words.
        text: String,
    },
    /// The answer does not follow the protocol.
    #[error("cannot read {what}: unexpected answer from Nomad at {address}: {text}")]
    Garbage {
        /// Label of the address.
        address: String,
        /// What was asked.
        what: String,
        /// What is wrong with it, or the text itself.
        text: String,
    },
}

impl Error {
    /// What an ACL policy must say so that a token may read `topic` in `namespace`: a rule of the policy, or "a
    /// management token". Nomad wants a management token for unknown topics.
    pub fn needs(topic: &str, namespace: &str) -> String {
        Permission::of(topic).rule(namespace)
    }

    /// Whether the same call can succeed later, or at another address, without a change of a policy or a setting.
    ///
    /// A caller keeps trying either way, because policies do get changed. The difference is how soon, and how loudly.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Connect { .. }
            | Error::Timeout { .. }
            | Error::Silent { .. }
            | Error::Broken { .. }
            | Error::Refused { .. }
            | Error::HeldBack { .. }
            | Error::Busy { .. }
            // All servers of a region can be unreachable for a while.
            | Error::NoRegion { .. }
            | Error::LongLine { .. }
            | Error::Garbage { .. } => true,
            Error::Status { code, .. } => *code >= 500 || matches!(code, 408 | 425 | 429),
            Error::Write(error) => error.is_retryable(),
            Error::File { .. }
            | Error::Setting { .. }
            | Error::Tls { .. }
            | Error::Denied { .. }
            | Error::BadToken { .. }
            | Error::NoNamespace { .. }
            | Error::NoStream { .. }
            | Error::Unsupported { .. } => false,
        }
    }

    /// The event broker of the server at `address` is off.
    pub(super) fn no_broker(address: String) -> Self {
        let reason = format!(
            "Nomad at {address} has no event stream: its event broker is disabled; set enable_event_broker = true on the \
             servers, or read lists (NOMAD_FIREHOSE_SOURCE)"
        );
        Error::NoStream { address, reason }
    }

    /// What the failed call asked for, if it is known.
    fn what(&self) -> Option<&str> {
        match self {
            Error::Timeout { what, .. }
            | Error::Busy { what, .. }
            | Error::NoRegion { what, .. }
            | Error::Broken { what, .. }
            | Error::Denied { what, .. }
            | Error::Unsupported { what, .. }
            | Error::Status { what, .. }
            | Error::Garbage { what, .. } => Some(what),
            Error::Write(error) => error.what(),
            _ => None,
        }
    }

    /// Whether another address can help: the fault is in this agent, or on the way to it.
    pub fn is_of_address(&self) -> bool {
        self.is_retryable() || matches!(self, Error::Tls { .. })
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

impl Classified for Error {
    fn asked(&self) -> Option<&str> {
        self.what()
    }

    fn class(&self) -> Class {
        match self {
            Error::File { variable, .. } => Class::from("file").with(variable),
            Error::Setting { variable, .. } => Class::from("setting").with(variable),
            Error::Connect { .. } => "connect".into(),
            Error::Tls { .. } => "tls".into(),
            Error::Timeout { .. } => "timeout".into(),
            Error::Silent { .. } => "silent".into(),
            Error::Broken { .. } => "broken".into(),
            Error::Busy { .. } => "busy".into(),
            Error::NoRegion { .. } => "region".into(),
            // Each missing rule is a class of its own, and there are few.
            Error::Denied { needs, .. } => Class::from("denied").with(needs),
            Error::BadToken { .. } => "token".into(),
            Error::NoNamespace { .. } => "namespace".into(),
            Error::NoStream { .. } => "no stream".into(),
            Error::Refused { .. } => "refused".into(),
            Error::HeldBack { .. } => "held back".into(),
            Error::Unsupported { .. } => "unsupported".into(),
            Error::Write(error) => error.class().with("write"),
            Error::Status { code, .. } => Class::from("status").with(code),
            Error::LongLine { .. } => "long line".into(),
            Error::Garbage { .. } => "garbage".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_names_the_rule_of_the_policy() {
        assert_eq!(Error::needs("Allocation", "x"), r#"namespace "x" { capabilities = ["read-job"] }"#);
        assert_eq!(Error::needs("Node", "x"), r#"node { policy = "read" }"#);
        assert_eq!(Error::needs("Operator", "x"), r#"operator { policy = "read" }"#);
        assert_eq!(Error::needs("ACLToken", "x"), "a management token");
    }

    #[test]
    fn a_denial_says_whether_a_token_was_sent() {
        let mut error =
            Error::Denied { what: "the list of nodes".to_owned(), needs: Error::needs("Node", ""), token: true };
        assert_eq!(
            error.to_string(),
            "cannot read the list of nodes: permission denied; the token needs node { policy = \"read\" }"
        );
        if let Error::Denied { token, .. } = &mut error {
            *token = false;
        }
        assert!(error.to_string().contains("NOMAD_TOKEN"));
    }
}
