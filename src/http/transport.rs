//! Explains a failure on the way to a server.

use reqwest::{Response, StatusCode};

use super::{
    Names,
    connect::Server,
    fault::{EARLY, Fault, reason},
};
use crate::tls::{self, Words};

impl Fault {
    /// A failure to connect to `server`, or to send.
    pub(crate) fn transport(names: &Names, server: &Server, what: &str, error: &reqwest::Error) -> Self {
        let address = server.route();
        let (what, reason) = (what.to_owned(), reason(error));
        match tls::cause(error) {
            Some(tls) => {
                let Words { why, fix } = tls::words(tls, &names.tls);
                Fault::Tls { address, reason: why, fix }
            }
            None if reason.contains(EARLY) => Fault::Crowded { address, what },
            None if error.is_connect() => {
                let reason = server.proxy.as_ref().map_or_else(|| reason.clone(), |proxy| proxy.unreached(&reason));
                Fault::Connect { address: server.label.clone(), reason }
            }
            None => match (server.asked.hint(&names.tls), is_unsent(error)) {
                (Some((why, fix)), true) => {
                    Fault::Tls { address, reason: format!("{why}; it closed the connection"), fix }
                }
                (Some((why, fix)), false) => Fault::Broken { address, what, reason: format!("{reason}; {why}: {fix}") },
                (None, true) => {
                    let reason = "the server closed the new connection at once".to_owned();
                    Fault::Connect { address: server.label.clone(), reason }
                }
                (None, false) => Fault::Broken { address, what, reason },
            },
        }
    }
}

/// Whether the connection ended before anything of the request was written to it.
fn is_unsent(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        next = cause.source();
    }
    false
}

/// The failure behind an answer of the proxy instead of the server. Only 407 is certain to be the proxy's.
pub(crate) fn of_proxy(server: &Server, response: &Response) -> Option<Fault> {
    let proxy = server.proxy.as_ref().filter(|_| response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED)?;
    Some(Fault::Connect { address: server.label.clone(), reason: proxy.refused() })
}
