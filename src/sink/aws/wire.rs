//! Sends the SDK's requests with the same client as all other requests, and so with the same certificates, proxies and error
//! messages.

use std::{
    collections::HashSet,
    error::Error,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_smithy_runtime_api::client::{
    http::{
        HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
        http_client_fn,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use reqwest::{Method, StatusCode, Url};

use super::fault::Fault;
use crate::{
    http::{self, Proxies},
    identity,
    tls::{self, Asked, Tls, Variables, Words},
};

/// How long connecting may take, TLS included.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// The largest answer that is read. The answer to 500 records, each with an error, is far smaller.
const MOST: usize = 16 << 20;

static VARIABLES: Variables = Variables {
    role: "sink",
    // The variable of AWS's other SDKs and of its command line.
    ca_cert: "AWS_CA_BUNDLE",
    ca_path: "",
    client_cert: "",
    client_key: "",
    server_name: "",
    usual_name: "",
};

/// A client for the SDK. Reads the environment, and the certificates it names.
pub(in crate::sink) fn client() -> Result<SharedHttpClient, Fault> {
    let refused = |error: http::Fault| Fault::Refused(error.to_string());
    let ca_cert = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(Into::into);
    let settings = Tls { ca_cert, ..Tls::default() };
    let config = tls::client(&settings, &VARIABLES, None, Asked::default()).map_err(|bad| refused(bad.into()))?;
    let proxies = Proxies::from_environment().map_err(refused)?;
    let chosen = proxies.clone();
    let proxy = reqwest::Proxy::custom(move |url| chosen.of(url).map(|proxy| proxy.url().clone()));
    let client = http::client(CONNECT).proxy(proxy).tls_backend_preconfigured(config).build();
    let client = client.map_err(|error| Fault::Refused(http::reason(&error)))?;
    let wire = Wire { client, proxies, named: Arc::default(), deadline: None };
    Ok(http_client_fn(move |settings, _| {
        SharedHttpConnector::new(Wire { deadline: deadline(settings), ..wire.clone() })
    }))
}

/// A request for the machine's own credentials sets both timeouts, and short ones: the metadata service may be absent.
/// All other requests have the SDK's deadlines.
fn deadline(settings: &HttpConnectorSettings) -> Option<Duration> {
    Some(settings.connect_timeout()? + settings.read_timeout()?)
}

#[derive(Clone, Debug)]
struct Wire {
    client: reqwest::Client,
    proxies: Proxies,
    /// The servers whose proxy the log has named.
    named: Arc<Mutex<HashSet<String>>>,
    deadline: Option<Duration>,
}

/// Why there is no answer, in words for people.
#[derive(Debug)]
struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failed {}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wire = self.clone();
        HttpConnectorFuture::new(async move { wire.exchange(request).await })
    }
}

impl Wire {
    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let wrong = |what: &str| ConnectorError::user(Box::new(Failed(what.to_owned())));
        let url: Url = request.uri().parse().map_err(|_| wrong("the endpoint's address cannot be read"))?;
        self.name_proxy(&url);
        let method: Method = request.method().parse().map_err(|_| wrong("there is no such method"))?;
        let body = request.body().bytes().ok_or_else(|| wrong("the request streams its body"))?.to_vec();
        let mut builder = self.client.request(method, url.clone()).body(body);
        for (name, value) in request.headers() {
            // The SDK names itself alone, and the program only as its own application. This header is not signed.
            let named = (name == "user-agent").then(|| format!("{} {value}", identity::PRODUCT));
            builder = builder.header(name, named.as_deref().unwrap_or(value));
        }
        if let Some(deadline) = self.deadline {
            builder = builder.timeout(deadline);
        }
        let answer = builder.send().await.map_err(|error| self.failure(&url, error))?;
        if let Some(proxy) =
            self.proxies.of(&url).filter(|_| answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED)
        {
            return Err(ConnectorError::io(Box::new(Failed(proxy.refused()))));
        }
        let status = answer.status().as_u16().try_into().map_err(|_| wrong("the answer has no valid status"))?;
        let headers = answer.headers().clone();
        let body = http::body(answer, MOST).await.map_err(|cut| {
            let reason = match cut {
                http::Cut::TooLarge => format!("the answer has more than {MOST} bytes"),
                http::Cut::Broken(reason) => format!("the connection broke: {reason}"),
            };
            ConnectorError::io(Box::new(Failed(reason)))
        })?;
        let mut response = HttpResponse::new(status, SdkBody::from(body));
        for (name, value) in &headers {
            // The SDK needs no header that is not text.
            let Ok(value) = value.to_str() else { continue };
            response.headers_mut().append(name.as_str().to_owned(), value.to_owned());
        }
        Ok(response)
    }

    /// Logs the proxy, once for each server.
    fn name_proxy(&self, url: &Url) {
        let Some(proxy) = self.proxies.of(url) else { return };
        let server = url.origin().ascii_serialization();
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if !named.contains(&server) {
            tracing::info!(%server, proxy = %proxy.label, variable = proxy.variable, "using proxy");
            named.insert(server);
        }
    }

    fn failure(&self, url: &Url, error: reqwest::Error) -> ConnectorError {
        let mut server = url.origin().ascii_serialization();
        if let Some(proxy) = self.proxies.of(url) {
            server = format!("{server} through {proxy}");
        }
        if let Some(tls) = tls::cause(&error) {
            let Words { why, fix } = tls::words(tls, &VARIABLES);
            return ConnectorError::io(Box::new(Failed(format!("TLS with {server} failed: {why}; {fix}"))));
        }
        let (is_timeout, is_connect) = (error.is_timeout(), error.is_connect());
        let reason = http::reason(&error.without_url());
        let reason = match self.proxies.of(url) {
            Some(proxy) if is_connect => {
                format!("{} cannot be reached: {}", url.origin().ascii_serialization(), proxy.unreached(&reason))
            }
            _ => format!("{server}: {reason}"),
        };
        let failed = Box::new(Failed(reason));
        if is_timeout { ConnectorError::timeout(failed) } else { ConnectorError::io(failed) }
    }
}
