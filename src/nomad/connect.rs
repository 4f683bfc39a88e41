//! One HTTP client for each address: certificates, server names, sockets.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{
    Certificate, ClientBuilder, Identity, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::HeaderValue,
    redirect,
};

use super::{
    address::{Address, Place},
    config::{Config, Secret, Tls},
    error::{Error, reason},
};

/// Where one agent is, and how to talk to it.
#[derive(Debug)]
pub(super) struct Server {
    /// Its address as it may be shown.
    pub(super) label: String,
    /// What request paths are put behind.
    pub(super) base: Url,
    /// The `Host` header, where the URL names the server by its certificate instead.
    pub(super) host: Option<HeaderValue>,
    /// User and password of basic authentication.
    pub(super) auth: Option<(String, Secret)>,
    pub(super) http: reqwest::Client,
}

/// Builds the servers of `config`, in its order.
pub(super) fn servers(config: &Config, connect: Duration) -> Result<Vec<Server>, Error> {
    if config.addresses.is_empty() {
        return Err(Error::Setting { variable: "NOMAD_ADDR", reason: "give at least one address".to_owned() });
    }
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Refused only where another thread was first, which serves as well.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    let files = if config.addresses.iter().any(Address::is_tls) { Some(Files::read(&config.tls)?) } else { None };
    config.addresses.iter().map(|address| server(address, config, files.as_ref(), connect)).collect()
}

fn server(address: &Address, config: &Config, files: Option<&Files>, connect: Duration) -> Result<Server, Error> {
    let label = address.to_string();
    // Credentials go to the address given and to no other, so no redirect is followed; proxies are never used unasked.
    let builder = reqwest::Client::builder()
        .user_agent(concat!("nomad-firehose/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(connect);
    let mut host = None;
    let (builder, base) = match (&address.place, files) {
        (Place::Unix(path), _) => {
            let base = Url::parse("http://127.0.0.1").expect("a constant URL");
            (builder.tls_certs_only([]).unix_socket(path.clone()), base)
        }
        (Place::Tcp(url), Some(files)) if address.is_tls() => {
            let mut base = url.clone();
            let mut builder = files.apply(builder, &config.tls)?;
            if let Some(name) = &config.tls.server_name {
                host = HeaderValue::from_str(&authority(url)).ok();
                builder = builder.dns_resolver(Fixed::rename(&mut base, name)?);
            }
            (builder, base)
        }
        // Without TLS no root is needed; looking for the system's would only fail where there are none.
        (Place::Tcp(url), _) => (builder.tls_certs_only([]), url.clone()),
    };
    let http = builder.build().map_err(|error| match &config.tls.client_key {
        Some(path) if address.is_tls() => Error::File {
            variable: "NOMAD_CLIENT_KEY",
            path: path.clone(),
            reason: format!("{}; is it the key of NOMAD_CLIENT_CERT?", reason(&error)),
        },
        _ => Error::Tls {
            address: label.clone(),
            reason: reason(&error),
            mend: "set NOMAD_CACERT, or install the system's certificates (ca-certificates)",
        },
    })?;
    let auth = config.basic_auth.clone().or_else(|| address.auth.clone());
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
    fn read(tls: &Tls) -> Result<Self, Error> {
        let roots = match (&tls.ca_cert, &tls.ca_path) {
            (Some(path), _) => Some(certificates("NOMAD_CACERT", path)?),
            (None, Some(directory)) => Some(directory_of("NOMAD_CAPATH", directory)?),
            (None, None) => None,
        };
        Ok(Files { roots, identity: identity(tls)? })
    }

    fn apply(&self, mut builder: ClientBuilder, tls: &Tls) -> Result<ClientBuilder, Error> {
        if let Some(roots) = &self.roots {
            builder = builder.tls_certs_only(roots.iter().cloned());
        }
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        Ok(builder.tls_danger_accept_invalid_certs(tls.skip_verify))
    }
}

fn bad_file(variable: &'static str, path: &Path, reason: impl Into<String>) -> Error {
    Error::File { variable, path: path.to_owned(), reason: reason.into() }
}

fn read(variable: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| bad_file(variable, path, format!("{error}; give a PEM file this program may read")))
}

fn certificates(variable: &'static str, path: &Path) -> Result<Vec<Certificate>, Error> {
    match Certificate::from_pem_bundle(&read(variable, path)?) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(bad_file(variable, path, "holds no certificate; give one in PEM")),
        Err(error) => Err(bad_file(variable, path, format!("is no PEM certificate: {}", reason(&error)))),
    }
}

/// Every certificate of every file below `root`; files that hold none are passed over.
fn directory_of(variable: &'static str, root: &Path) -> Result<Vec<Certificate>, Error> {
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

fn identity(tls: &Tls) -> Result<Option<Identity>, Error> {
    let both = |present: &PathBuf, variable, missing: &str| {
        bad_file(variable, present, format!("is given without {missing}; give both or neither"))
    };
    let (certificate, key) = match (&tls.client_cert, &tls.client_key) {
        (None, None) => return Ok(None),
        (Some(path), None) => return Err(both(path, "NOMAD_CLIENT_CERT", "NOMAD_CLIENT_KEY")),
        (None, Some(path)) => return Err(both(path, "NOMAD_CLIENT_KEY", "NOMAD_CLIENT_CERT")),
        (Some(certificate), Some(key)) => (certificate, key),
    };
    certificates("NOMAD_CLIENT_CERT", certificate)?;
    let mut pem = read("NOMAD_CLIENT_KEY", key)?;
    pem.push(b'\n');
    pem.extend(read("NOMAD_CLIENT_CERT", certificate)?);
    Identity::from_pem(&pem)
        .map(Some)
        .map_err(|error| bad_file("NOMAD_CLIENT_KEY", key, format!("holds no usable private key: {}", reason(&error))))
}

/// Resolves every name to the address's own host: the URL then can carry the certificate's name, which TLS asks for and
/// verifies.
#[derive(Debug)]
struct Fixed(String);

impl Fixed {
    /// Puts `name` in the place of the URL's host, and gives the resolver that still finds the host.
    fn rename(url: &mut Url, name: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::Setting { variable: "NOMAD_TLS_SERVER_NAME", reason: reason.to_owned() };
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
