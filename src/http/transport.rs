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
            None => Fault::Broken { address, what, reason },
        }
    }
}

/// The failure behind an answer of the proxy instead of the server. Only 407 is certain to be the proxy's.
pub(crate) fn of_proxy(server: &Server, response: &Response) -> Option<Fault> {
    let proxy = server.proxy.as_ref().filter(|_| response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED)?;
    Some(Fault::Connect { address: server.label.clone(), reason: proxy.refused() })
}
