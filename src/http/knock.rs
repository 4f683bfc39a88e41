//! Opens a connection and closes it again: names, sockets, TLS and certificates, and not one byte of a request.

use std::{io, net::SocketAddr, sync::Arc};

use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Fault, Names, Proxies, Tls};
use crate::tls::{self, Asked, Words};

/// Connects to the server of `url` as a request would, and says how far that got: to the server, or to the proxy on the way.
pub(crate) async fn knock(
    url: &Url,
    settings: &Tls,
    names: &'static Names,
    proxies: &Proxies,
) -> Result<String, Fault> {
    let label = url.origin().ascii_serialization();
    let proxy = proxies.of(url);
    let target = proxy.as_ref().map_or(url, |proxy| proxy.url());
    let host = target.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = target.port_or_known_default().unwrap_or(1080);
    let connected = connect(&host, port).await.map_err(|error| {
        let reason = match &proxy {
            Some(proxy) => proxy.unreached(&error.to_string()),
            None => error.to_string(),
        };
        Fault::Connect { address: label.clone(), reason }
    })?;
    if let Some(proxy) = &proxy {
        return Ok(format!("the proxy {} takes connections; the way from there is not checked", proxy.label));
    }
    if url.scheme() != "https" {
        return Ok(format!("{label} takes connections"));
    }
    let expected = settings.server_name.clone().unwrap_or(host);
    let wrong = |_| Fault::Setting {
        variable: names.tls.server_name,
        reason: "is not a host name; set it to one of the certificate".to_owned(),
    };
    let name = ServerName::try_from(expected).map_err(wrong)?;
    let config = tls::client(settings, &names.tls, None, Asked::default())?;
    match TlsConnector::from(Arc::new(config)).connect(name, connected).await {
        Ok(_) => Ok(format!("{label} takes connections, and its certificate is trusted")),
        Err(error) => Err(match tls::cause(&error) {
            Some(cause) => {
                let Words { why, fix } = tls::words(cause, &names.tls);
                Fault::Tls { address: label, reason: why, fix }
            }
            None => Fault::Connect { address: label, reason: format!("the TLS handshake broke: {error}") },
        }),
    }
}

/// Connects to the first address of `host` that accepts.
async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    }
    TcpStream::connect(&found[..]).await
}
