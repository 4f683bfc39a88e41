//! One HTTP client for each address: certificates, server names, sockets.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Certificate, ClientBuilder, Identity, Method, RequestBuilder, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{ACCEPT_ENCODING, HOST, HeaderMap, HeaderValue},
    redirect,
};

use super::{Address, Fault, Names, Secret, Tls, address::Place, reason};
use crate::redact;

/// How the addresses of one client are reached.
#[derive(Debug)]
pub(crate) struct Reach<'a> {
    /// For `https` addresses.
    pub(crate) tls: &'a Tls,
    /// User and password of basic authentication. Comes before one in an address.
    pub(crate) basic_auth: Option<&'a (String, Secret)>,
    /// Until a connection stands, TLS included.
    pub(crate) connect: Duration,
    pub(crate) names: &'static Names,
}

/// Where one agent is, and how to talk to it.
#[derive(Debug)]
pub(crate) struct Server {
    /// Its address as it may be shown.
    pub(crate) label: String,
    /// What request paths are put behind, its own path included.
    base: Url,
    /// The `Host` header, where the URL names the server by its certificate instead.
    host: Option<HeaderValue>,
    /// User and password of basic authentication.
    auth: Option<(String, Secret)>,
    http: reqwest::Client,
}

impl Server {
    /// A request with what the address and the settings say about every one of them. `path` is percent-encoded.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_with(method, path, None)
    }

    /// The same with a query, percent-encoded as well.
    pub(crate) fn request_with(&self, method: Method, path: &str, query: Option<&str>) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        let mut request = self.http.request(method, url);
        if let Some((user, password)) = &self.auth {
            request = request.basic_auth(user, Some(password.expose()));
        }
        if let Some(host) = &self.host {
            request = request.header(HOST, host.clone());
        }
        request
    }
}

/// Builds the servers at `addresses`, in their order. Connects to nothing yet.
pub(crate) fn servers(addresses: &[Address], reach: &Reach<'_>) -> Result<Vec<Server>, Fault> {
    if addresses.is_empty() {
        let variable = reach.names.address;
        return Err(Fault::Setting { variable, reason: "give at least one address".to_owned() });
    }
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Refused only where another thread was first, which serves as well.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    let tls = addresses.iter().any(Address::is_tls);
    let files = if tls { Some(Files::read(reach.tls, reach.names)?) } else { None };
    addresses.iter().map(|address| server(address, reach, files.as_ref())).collect()
}

fn server(address: &Address, reach: &Reach<'_>, files: Option<&Files>) -> Result<Server, Fault> {
    let label = address.to_string();
    let (tls, names) = (reach.tls, reach.names);
    // Credentials go to the address given and to no other, so no redirect is followed; proxies are never used unasked.
    let builder = reqwest::Client::builder()
        .user_agent(concat!("nomad-firehose/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .http1_only()
        // Compression is never asked for; a proxy that compresses all the same is understood.
        .gzip(true)
        .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]))
        .tcp_nodelay(true)
        .connect_timeout(reach.connect);
    let mut host = None;
    let (builder, base) = match (&address.place, files) {
        (Place::Unix(path), _) => {
            let base = Url::parse("http://127.0.0.1").expect("a constant URL");
            (builder.tls_certs_only([]).unix_socket(path.clone()), base)
        }
        (Place::Tcp(url), Some(files)) if address.is_tls() => {
            let mut base = url.clone();
            let mut builder = files.apply(builder, tls);
            if let Some(name) = &tls.server_name {
                host = HeaderValue::from_str(&authority(url)).ok();
                builder = builder.dns_resolver(Fixed::rename(&mut base, name, names)?);
            }
            (builder, base)
        }
        // Without TLS no root is needed; looking for the system's would only fail where there are none.
        (Place::Tcp(url), _) => (builder.tls_certs_only([]), url.clone()),
    };
    let http = builder.build().map_err(|error| match &tls.client_key {
        Some(path) if address.is_tls() => {
            bad_file(names.client_key, path, format!("{}; is it the key of {}?", reason(&error), names.client_cert))
        }
        _ => Fault::Tls {
            address: label.clone(),
            reason: reason(&error),
            mend: format!("set {}, or install the system's certificates (ca-certificates)", names.ca_cert),
        },
    })?;
    let auth = reach.basic_auth.cloned().or_else(|| address.auth.clone());
    if let Some((user, password)) = &auth {
        redact::basic(user, password.expose());
    }
    Ok(Server { label, base, host, auth, http })
}

/// Host and port as the `Host` header has them.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The PEM files, read and parsed.
struct Files {
    /// The only roots to trust; `None` trusts the system's.
    roots: Option<Vec<Certificate>>,
    identity: Option<Identity>,
}

impl Files {
    fn read(tls: &Tls, names: &Names) -> Result<Self, Fault> {
        let roots = match (&tls.ca_cert, &tls.ca_path) {
            (Some(path), _) => Some(certificates(names.ca_cert, path)?),
            (None, Some(directory)) => Some(directory_of(names.ca_path, directory)?),
            (None, None) => None,
        };
        Ok(Files { roots, identity: identity(tls, names)? })
    }

    fn apply(&self, mut builder: ClientBuilder, tls: &Tls) -> ClientBuilder {
        if let Some(roots) = &self.roots {
            builder = builder.tls_certs_only(roots.iter().cloned());
        }
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        builder.tls_danger_accept_invalid_certs(tls.skip_verify)
    }
}

fn bad_file(variable: &'static str, path: &Path, reason: impl Into<String>) -> Fault {
    Fault::File { variable, path: path.to_owned(), reason: reason.into() }
}

fn read(variable: &'static str, path: &Path) -> Result<Vec<u8>, Fault> {
    fs::read(path).map_err(|error| bad_file(variable, path, format!("{error}; give a PEM file this program may read")))
}

fn certificates(variable: &'static str, path: &Path) -> Result<Vec<Certificate>, Fault> {
    match Certificate::from_pem_bundle(&read(variable, path)?) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(bad_file(variable, path, "holds no certificate; give one in PEM")),
        Err(error) => Err(bad_file(variable, path, format!("is no PEM certificate: {}", reason(&error)))),
    }
}

/// Every certificate of every file below `root`; files that hold none are passed over.
fn directory_of(variable: &'static str, root: &Path) -> Result<Vec<Certificate>, Fault> {
    let unreadable = |path: &Path, error: std::io::Error| {
        bad_file(variable, path, format!("{error}; give a directory of PEM files"))
    };
    let mut found = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).map_err(|error| unreadable(&directory, error))? {
            let entry = entry.map_err(|error| unreadable(&directory, error))?;
            let path = entry.path();
            // A link to a directory is not followed: it can lead back here.
            if entry.file_type().map_err(|error| unreadable(&path, error))?.is_dir() {
                directories.push(path);
            } else if path.is_file() {
                found.extend(Certificate::from_pem_bundle(&read(variable, &path)?).unwrap_or_default());
            }
        }
    }
    if found.is_empty() {
        return Err(bad_file(variable, root, "no file in this directory holds a certificate; give one with PEM files"));
    }
    Ok(found)
}

fn identity(tls: &Tls, names: &Names) -> Result<Option<Identity>, Fault> {
    let both = |present: &PathBuf, variable, missing: &str| {
        bad_file(variable, present, format!("is given without {missing}; give both or neither"))
    };
    let (certificate, key) = match (&tls.client_cert, &tls.client_key) {
        (None, None) => return Ok(None),
        (Some(path), None) => return Err(both(path, names.client_cert, names.client_key)),
        (None, Some(path)) => return Err(both(path, names.client_key, names.client_cert)),
        (Some(certificate), Some(key)) => (certificate, key),
    };
    certificates(names.client_cert, certificate)?;
    let mut pem = read(names.client_key, key)?;
    pem.push(b'\n');
    pem.extend(read(names.client_cert, certificate)?);
    Identity::from_pem(&pem)
        .map(Some)
        .map_err(|error| bad_file(names.client_key, key, format!("holds no usable private key: {}", reason(&error))))
}

/// Resolves every name to the address's own host: the URL then can carry the certificate's name, which TLS asks for and
/// verifies.
#[derive(Debug)]
struct Fixed(String);

impl Fixed {
    /// Puts `name` in the place of the URL's host, and gives the resolver that still finds the host.
    fn rename(url: &mut Url, name: &str, names: &Names) -> Result<Self, Fault> {
        let wrong = |reason: &str| Fault::Setting { variable: names.server_name, reason: reason.to_owned() };
        if name.parse::<std::net::IpAddr>().is_ok() {
            return Err(wrong("an IP address is not supported here; give a host name the certificate holds"));
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        url.set_host(Some(name)).map_err(|_| wrong("is no host name"))?;
        Ok(Fixed(host))
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
