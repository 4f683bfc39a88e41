//! Builds one HTTP client for each address: certificates, server names, sockets, proxies.

use std::{net::SocketAddr, time::Duration};

use reqwest::{
    Method, RequestBuilder, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT_ENCODING, HOST, HeaderMap, HeaderValue},
    redirect,
};
use rustls::{ClientConfig, pki_types::ServerName};

use super::{
    Address, BasicAuth, Fault, Names, Tls,
    address::Place,
    proxy::{Proxies, Proxy},
    reason,
};
use crate::{identity, redact, sys, tls};

/// How one client connects to its addresses.
#[derive(Debug)]
pub(crate) struct Reach<'a> {
    /// For `https` addresses.
    pub(crate) tls: &'a Tls,
    /// User and password of basic authentication. They take precedence over those in an address.
    pub(crate) basic_auth: Option<&'a BasicAuth>,
    /// The deadline for a connection, TLS included.
    pub(crate) connect: Duration,
    pub(crate) names: &'static Names,
    pub(crate) proxies: &'a Proxies,
}

/// One agent, and the client that talks to it.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its address, safe to show.
    pub(crate) label: String,
    /// The URL to which request paths are appended, with its own path.
    base: Url,
    /// The `Host` header, if the host of the URL is the certificate's name instead.
    host: Option<HeaderValue>,
    /// User and password of basic authentication.
    auth: Option<BasicAuth>,
    /// The proxy on the way, if there is one.
    pub(crate) proxy: Option<Proxy>,
    http: reqwest::Client,
    /// Whether it asks for our certificate.
    pub(super) asked: tls::Asked,
}

impl Server {
    /// Its address, and the proxy on the way, for messages.
    pub(crate) fn route(&self) -> String {
        self.proxy.as_ref().map_or_else(|| self.label.clone(), |proxy| format!("{} through {proxy}", self.label))
    }

    /// A request with everything that the address and the settings add to each request. `path` is percent-encoded.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_with(method, path, None)
    }

    /// The same with a query, percent-encoded as well.
    pub(crate) fn request_with(&self, method: Method, path: &str, query: Option<&str>) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        let mut request = self.http.request(method, url);
        if let Some(BasicAuth { user, password }) = &self.auth {
            request = request.basic_auth(user, Some(password.expose()));
        }
        if let Some(host) = &self.host {
            request = request.header(HOST, host.clone());
        }
        request
    }

    /// Sends a request that is for this server.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, reqwest::Error> {
        let response = request.send().await?;
        self.asked.answered();
        Ok(response)
    }
}

/// How long a connection of HTTP/2 may be without a sign of the server, at least, before the client asks for one.
#[cfg(feature = "otlp")]
const QUIET: Duration = Duration::from_secs(1);

/// Builds the server at `address` for a client that speaks HTTP/2 alone, as gRPC does. Without TLS it begins with it at once. The server
/// has `answer` to show that it is alive while a request is under way.
#[cfg(feature = "otlp")]
pub(crate) fn http2_server(address: &Address, reach: &Reach<'_>, answer: Duration) -> Result<Server, Fault> {
    let server = server(address, reach, |builder, tls| {
        // Servers of gRPC end a handshake that does not name it.
        tls.alpn_protocols = vec![b"h2".to_vec()];
        builder
            .http2_prior_knowledge()
            // What the server has not handled is for the caller to send again.
            .retry(reqwest::retry::never())
            // Requests share a connection, and giving one up does not close it. So a dead one has to be found out.
            .http2_keep_alive_interval((answer / 2).max(QUIET))
            .http2_keep_alive_timeout((answer / 2).max(QUIET))
    })?;
    match &server.proxy {
        Some(proxy) if !address.is_tls() && !proxy.is_socks() => Err(Fault::Setting {
            variable: proxy.variable,
            reason: format!(
                "names a proxy, and such a proxy passes on no HTTP/2 without TLS; use https for {}, or add it to NO_PROXY",
                server.label
            ),
        }),
        // The name that is expected in the certificate is in the URL, and the URL is what counts.
        _ => Ok(Server { host: None, ..server }),
    }
}

/// Builds the servers at `addresses`, in their order. Connects to nothing yet.
pub(crate) fn servers(addresses: &[Address], reach: &Reach<'_>) -> Result<Vec<Server>, Fault> {
    if addresses.is_empty() {
        let variable = reach.names.address;
        return Err(Fault::Setting { variable, reason: "is empty; set it to at least one address".to_owned() });
    }
    addresses.iter().map(|address| server(address, reach, |builder, _| builder)).collect()
}

/// `adapt` has the last word on the client.
fn server(
    address: &Address,
    reach: &Reach<'_>,
    adapt: impl FnOnce(reqwest::ClientBuilder, &mut ClientConfig) -> reqwest::ClientBuilder,
) -> Result<Server, Fault> {
    let label = address.to_string();
    let mut builder = client(reach.connect);
    let mut host = None;
    let (mut base, proxy) = match &address.place {
        // A socket is on this machine, so no proxy applies.
        Place::Unix(path) => {
            builder = sys::sockets::through(builder, path);
            (Url::parse("http://127.0.0.1").expect("a constant URL"), None)
        }
        Place::Tcp(url) => (url.clone(), reach.proxies.of(url)),
    };
    let mut expected = None;
    if let (Some(name), Place::Tcp(url), true) = (&reach.tls.server_name, &address.place, address.is_tls()) {
        let (renamed, fixed) = Fixed::rename(url, name, reach.names)?;
        if proxy.is_some() {
            // The proxy resolves the host of the URL, so that it has to stay the address's own.
            expected = ServerName::try_from(name.clone()).ok();
        } else {
            host = HeaderValue::from_str(&authority(url)).ok();
            builder = builder.dns_resolver(fixed);
            base = renamed;
        }
    }
    if let Some(proxy) = &proxy {
        tracing::info!(server = %label, proxy = %proxy.label, variable = proxy.variable, "using proxy");
        builder = builder.proxy(reqwest::Proxy::all(proxy.url().clone()).map_err(|_| proxy.unusable())?);
    }
    let asked = tls::Asked::default();
    let mut config = if address.is_tls() || proxy.as_ref().is_some_and(Proxy::is_tls) {
        tls::client(reach.tls, &reach.names.tls, expected, asked.clone())?
    } else {
        tls::unused()
    };
    let builder = adapt(builder, &mut config);
    let http = builder.tls_backend_preconfigured(config).build();
    let http = http.map_err(|error| Fault::Connect { address: label.clone(), reason: reason(&error) })?;
    let auth = reach.basic_auth.cloned().or_else(|| address.auth.clone());
    if let Some(BasicAuth { user, password }) = &auth {
        redact::basic(user, password.expose());
    }
    Ok(Server { label, base, host, auth, proxy, http, asked })
}

/// What all clients have in common. They follow no redirect, so that credentials go to the given address alone. This module, and not
/// the library, decides which proxy is used.
pub(crate) fn client(connect: Duration) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(identity::PRODUCT)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .http1_only()
        // The client never asks for compression, but reads the answer of a proxy that compresses anyway.
        .gzip(true)
        .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]))
        .tcp_nodelay(true)
        .connect_timeout(connect)
}

/// Host and port as in the `Host` header.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Resolves every name to the address's own host. The URL can then carry the certificate's name, which TLS sends and verifies.
#[derive(Debug)]
struct Fixed(String);

impl Fixed {
    /// The URL with `name` in place of its host, and the resolver that still finds the host.
    fn rename(url: &Url, name: &str, names: &Names) -> Result<(Url, Self), Fault> {
        let wrong = |reason: &str| Fault::Setting { variable: names.tls.server_name, reason: reason.to_owned() };
        if name.parse::<std::net::IpAddr>().is_ok() {
            return Err(wrong("an IP address is not supported here; set it to a host name of the certificate"));
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let mut url = url.clone();
        url.set_host(Some(name)).map_err(|_| wrong("is not a host name; set it to one of the certificate"))?;
        Ok((url, Fixed(host)))
    }
}

impl Resolve for Fixed {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.0.clone();
        Box::pin(async move {
            // Port 0 leaves the port to the URL.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host, 0)).await?.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
