//! The proxies that the environment names.
//!
//! `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, or their names in lower case, mean what they mean to Go's
//! `http.ProxyFromEnvironment`, which Nomad's and Consul's own clients use: connections to this machine never go through a proxy,
//! and an entry of `NO_PROXY` can end with a port.

use std::{fmt, net::IpAddr};

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use super::Fault;

/// The proxy settings of the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Proxies {
    http: Option<Given>,
    https: Option<Given>,
    except: String,
}

#[derive(Clone, PartialEq, Eq)]
struct Given {
    variable: &'static str,
    /// Can hold a password.
    value: String,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = |given: &Option<Given>| given.as_ref().map(|given| given.variable);
        f.debug_struct("Proxies")
            .field("http", &variables(&self.http))
            .field("https", &variables(&self.https))
            .field("except", &self.except)
            .finish()
    }
}

/// The proxy of one server.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) variable: &'static str,
    /// Its address without user and password.
    pub(crate) label: String,
    /// With user and password.
    url: Url,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {} ({})", self.label, self.variable)
    }
}

impl Proxies {
    /// The settings of this process.
    ///
    /// # Errors
    /// One of them is not a proxy address.
    pub(crate) fn from_environment() -> Result<Self, Fault> {
        Proxies::new(|name| std::env::var(name).ok())
    }

    pub(super) fn new(variable: impl Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        // As in Go, an empty variable counts as unset.
        let first = |names: [&'static str; 2]| {
            let found =
                names.into_iter().find_map(|name| Some((name, variable(name).filter(|text| !text.is_empty())?)));
            found.map(|(variable, value)| Given { variable, value })
        };
        let except = first(["NO_PROXY", "no_proxy"]).map(|given| given.value).unwrap_or_default();
        let proxies =
            Proxies { http: first(["HTTP_PROXY", "http_proxy"]), https: first(["HTTPS_PROXY", "https_proxy"]), except };
        for given in proxies.http.iter().chain(&proxies.https) {
            given.proxy().ok_or_else(|| Fault::Setting {
                variable: given.variable,
                reason: "it is not a proxy address; write http://PROXY:3128, https://… or socks5://…".to_owned(),
            })?;
        }
        Ok(proxies)
    }

    /// The proxy for `url`; `None` for a direct connection.
    pub(crate) fn of(&self, url: &Url) -> Option<Proxy> {
        let given = if url.scheme() == "https" { &self.https } else { &self.http }.as_ref()?;
        let host = url.host_str()?;
        let excepted = is_this_machine(host) || self.excepts(host, url.port_or_known_default());
        if excepted { None } else { given.proxy() }
    }

    /// Whether an entry of `NO_PROXY` covers the host. The library matches domains and networks.
    fn excepts(&self, host: &str, port: Option<u16>) -> bool {
        let entries = self.except.split([',', ' ']).map(str::trim).filter_map(|entry| for_port(entry, port));
        let matcher = Matcher::builder().all("http://proxy.invalid").no(entries.collect::<Vec<_>>().join(",")).build();
        let Ok(uri) = format!("http://{host}/").to_ascii_lowercase().parse() else { return false };
        matcher.intercept(&uri).is_none()
    }
}

/// The entry without its port; `None` if it is empty or names another port.
fn for_port(entry: &str, port: Option<u16>) -> Option<String> {
    let entry = entry.to_ascii_lowercase();
    // `*.example.com` means what `.example.com` does.
    let entry = if entry.len() > 1 { entry.trim_start_matches('*') } else { &entry };
    let bare = |text: &str| text.trim_matches(['[', ']']).to_owned();
    if entry.is_empty() {
        return None;
    }
    match entry.rsplit_once(':') {
        // The colons of a bare IPv6 address do not begin a port.
        Some((host, digits)) if !host.contains(':') || host.ends_with(']') => {
            (digits.parse().ok() == port).then(|| bare(host))
        }
        _ => Some(bare(entry)),
    }
}

/// Whether the host is loopback or link-local. Clouds serve the metadata of a machine at link-local addresses.
fn is_this_machine(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

impl Given {
    /// `None` if the value is not a proxy address.
    fn proxy(&self) -> Option<Proxy> {
        let text = if self.value.contains("://") { self.value.clone() } else { format!("http://{}", self.value) };
        let url: Url = text.parse().ok()?;
        if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") || url.host_str().unwrap_or("").is_empty() {
            return None;
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let label = format!("{}://{}{port}", url.scheme(), url.host_str()?);
        Some(Proxy { variable: self.variable, label, url })
    }
}

impl Proxy {
    /// Whether the connection to the proxy itself uses TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether it passes on bytes, whatever they are.
    #[cfg(feature = "otlp")]
    pub(super) fn is_socks(&self) -> bool {
        self.url.scheme().starts_with("socks")
    }

    /// Why the server cannot be reached through the proxy, and what to do about it. `reason` is the library's text.
    pub(crate) fn unreached(&self, reason: &str) -> String {
        let variable = self.variable;
        // The proxy's answer to CONNECT. The library does not pass on its status or its text.
        if reason.contains("proxy authorization required") {
            return self.refused();
        }
        if reason.contains("tunnel error: unsuccessful") {
            return format!("{self} refuses to connect to it; allow it in the proxy, or list the server in NO_PROXY");
        }
        format!("{self} cannot be reached: {reason}; set {variable} to a running proxy, or list the server in NO_PROXY")
    }

    /// Explains a 407 of the proxy.
    pub(crate) fn refused(&self) -> String {
        let variable = self.variable;
        format!(
            "{self} does not accept our user and password (407); set {variable} with user and password, as \
             http://USER:PASSWORD@HOST:PORT"
        )
    }

    pub(super) fn unusable(&self) -> Fault {
        Fault::Setting { variable: self.variable, reason: "is not usable as a proxy; check its address".to_owned() }
    }

    /// Its address with user and password, for the library.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, Fault> {
        Proxies::new(|name| {
            let found = variables.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn label(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let proxies = proxies(variables).expect("good addresses");
        proxies.of(&url.parse().expect("a URL")).map(|proxy| proxy.label)
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let both = [("HTTP_PROXY", "http://a:1"), ("HTTPS_PROXY", "http://b:2")];
        assert_eq!(label(&both, "http://x.example/").as_deref(), Some("http://a:1"));
        assert_eq!(label(&both, "https://x.example/").as_deref(), Some("http://b:2"));
        let lower = [("https_proxy", "b:2"), ("HTTPS_PROXY", "")];
        assert_eq!(label(&lower, "https://x.example/").as_deref(), Some("http://b:2"));
        assert_eq!(label(&lower, "http://x.example/"), None);
    }

    #[test]
    fn exceptions_are_those_of_go() {
        for (except, url, direct) in [
            ("", "http://x.example/", false),
            ("", "http://localhost:1/", true),
            ("", "http://127.8.9.1/", true),
            ("", "http://[::1]/", true),
            ("", "http://169.254.169.254/", true),
            ("*", "http://x.example/", true),
            ("x.example", "http://x.example/", true),
            ("X.Example", "http://x.example/", true),
            ("x.example", "http://a.x.example/", true),
            (".x.example", "http://a.x.example/", true),
            ("*.x.example", "http://a.x.example/", true),
            ("x.example", "http://notx.example/", false),
            ("x.example:80", "http://x.example/", true),
            ("x.example:81", "http://x.example/", false),
            ("a, x.example:81 ,b", "http://x.example:81/", true),
            ("10.0.0.0/8", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("10.1.2.3:8080", "http://10.1.2.3:8080/", true),
            ("fd00::/8", "http://[fd00::1]/", true),
            ("[fd00::1]:80", "http://[fd00::1]/", true),
            ("fd00::1", "http://[fd00::1]:9/", true),
        ] {
            let given = [("HTTP_PROXY", "http://a:1"), ("NO_PROXY", except)];
            assert_eq!(label(&given, url).is_none(), direct, "{except} {url}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        for address in ["http://me:hush@a:1", "socks5h://me:hush@a:1"] {
            let proxies = proxies(&[("HTTPS_PROXY", address)]).expect("a good address");
            let proxy = proxies.of(&"https://x.example/".parse().expect("a URL")).expect("a proxy");
            let shown = format!("{proxies:?} {proxy:?} {proxy}");
            assert!(!shown.contains("hush") && shown.contains("a:1"), "{shown}");
        }
        let error = proxies(&[("HTTPS_PROXY", "ftp://me:hush@a:1")]).expect_err("no proxy").to_string();
        assert!(error.starts_with("HTTPS_PROXY: ") && !error.contains("hush"), "{error}");
    }
}
