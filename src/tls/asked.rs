//! Remembers whether the server asked for our certificate, for failures that carry no reason.
//!
//! With TLS 1.3, the server refuses our certificate, or a missing one, after our side of the handshake is done. The refusal races with
//! the first request: if the connection ends first, nothing in the error says why.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use super::Variables;

const NEVER: u8 = 0;
/// The server asked, and there was no certificate to present.
const UNMET: u8 = 1;
/// The server asked, and got a certificate.
const MET: u8 = 2;
/// The server asked, and has answered a request since: it takes what it got.
const CONTENT: u8 = 3;

/// Whether the server of a connection asked for our certificate, and answered a request since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Arc<AtomicU8>);

impl Asked {
    /// The server asks, and a certificate is presented or not.
    pub(super) fn now(&self, is_presented: bool) {
        let state = if is_presented { MET } else { UNMET };
        self.change(|now| (now != CONTENT).then_some(state));
    }

    /// The server has answered a request.
    pub(crate) fn answered(&self) {
        self.change(|now| (now != NEVER).then_some(CONTENT));
    }

    /// The likely cause of a connection that ended before there was an answer, and what to set.
    pub(crate) fn hint(&self, variables: &Variables) -> Option<(&'static str, String)> {
        let Variables { client_cert, client_key, .. } = variables;
        let why = match self.0.load(Ordering::Relaxed) {
            UNMET => "the server asked for a client certificate, and none is set",
            MET => "the server asked for a client certificate, and seems to refuse ours",
            _ => return None,
        };
        let fix = match *client_cert {
            "" => "there is no setting for a client certificate here".to_owned(),
            _ => format!("set {client_cert} and {client_key} to a pair that the server trusts"),
        };
        Some((why, fix))
    }

    fn change(&self, next: impl Fn(u8) -> Option<u8>) {
        // If there is no next state, it stays as it is.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok();
    }
}
