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
use bytes::Bytes;
use reqwest::{
    Method, StatusCode, Url,
    header::{self, HeaderMap, HeaderName},
};

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
    let wire = Wire::from_environment()?;
    Ok(http_client_fn(move |settings, _| {
        SharedHttpConnector::new(Wire { deadline: deadline(settings), ..wire.clone() })
    }))
}

/// A request for the machine's own credentials sets both timeouts, and short ones: the metadata service may be absent.
/// All other requests have the SDK's deadlines.
fn deadline(settings: &HttpConnectorSettings) -> Option<Duration> {
    Some(settings.connect_timeout()? + settings.read_timeout()?)
}

/// The client of all requests.
#[derive(Clone, Debug)]
pub(in crate::sink) struct Wire {
    client: reqwest::Client,
    proxies: Proxies,
    /// The servers whose proxy the log has named.
    named: Arc<Mutex<HashSet<String>>>,
    deadline: Option<Duration>,
}

/// A whole answer.
#[derive(Debug)]
pub(in crate::sink) struct Answer {
    pub(in crate::sink) status: StatusCode,
    pub(in crate::sink) headers: HeaderMap,
    pub(in crate::sink) body: Bytes,
}

/// Why there is no answer, in words for people.
#[derive(Clone, Debug)]
pub(in crate::sink) struct Lost {
    pub(in crate::sink) is_timeout: bool,
    pub(in crate::sink) reason: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for Lost {}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let wire = self.clone();
        HttpConnectorFuture::new(async move { wire.exchange(request).await })
    }
}

impl Wire {
    /// Reads the environment, and the certificates it names.
    pub(in crate::sink) fn from_environment() -> Result<Self, Fault> {
        let refused = |error: http::Fault| Fault::Refused(error.to_string());
        let ca_cert = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()).map(Into::into);
        let settings = Tls { ca_cert, ..Tls::default() };
        let config = tls::client(&settings, &VARIABLES, None, Asked::default()).map_err(|bad| refused(bad.into()))?;
        let proxies = Proxies::from_environment().map_err(refused)?;
        let chosen = proxies.clone();
        let proxy = reqwest::Proxy::custom(move |url| chosen.of(url).map(|proxy| proxy.url().clone()));
        let client = http::client(CONNECT).proxy(proxy).tls_backend_preconfigured(config).build();
        let client = client.map_err(|error| Fault::Refused(http::reason(&error)))?;
        Ok(Wire { client, proxies, named: Arc::default(), deadline: None })
    }

    /// Sends one request, and reads the whole answer.
    pub(in crate::sink) async fn ask(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Lost> {
        self.name_proxy(&url);
        let mut builder = self.client.request(method, url.clone()).headers(headers).body(body);
        if let Some(deadline) = self.deadline {
            builder = builder.timeout(deadline);
        }
        let answer = builder.send().await.map_err(|error| self.failure(&url, error))?;
        let lost = |reason: String| Lost { is_timeout: false, reason };
        if let Some(proxy) =
            self.proxies.of(&url).filter(|_| answer.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED)
        {
            return Err(lost(proxy.refused()));
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = http::body(answer, MOST).await.map_err(|cut| {
            lost(match cut {
                http::Cut::TooLarge => format!("the answer has more than {MOST} bytes"),
                http::Cut::Broken(reason) => format!("the connection broke: {reason}"),
            })
        })?;
        Ok(Answer { status, headers, body })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let wrong = |what: &str| ConnectorError::user(Box::new(Lost { is_timeout: false, reason: what.to_owned() }));
        let url: Url = request.uri().parse().map_err(|_| wrong("the endpoint's address cannot be read"))?;
        let method: Method = request.method().parse().map_err(|_| wrong("there is no such method"))?;
        let body = request.body().bytes().ok_or_else(|| wrong("the request streams its body"))?;
        let body = Bytes::copy_from_slice(body);
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers() {
            let name: HeaderName = name.parse().map_err(|_| wrong("a header has no valid name"))?;
            // The SDK names itself alone, and the program only as its own application. This header is not signed.
            let named = (name == header::USER_AGENT).then(|| format!("{} {value}", identity::PRODUCT));
            let value = named.as_deref().unwrap_or(value).parse();
            headers.append(name, value.map_err(|_| wrong("a header has no valid value"))?);
        }
        let answer = self.ask(method, url, headers, body).await.map_err(|lost| {
            let is_timeout = lost.is_timeout;
            if is_timeout { ConnectorError::timeout(Box::new(lost)) } else { ConnectorError::io(Box::new(lost)) }
        })?;
        let status = answer.status.as_u16().try_into().map_err(|_| wrong("the answer has no valid status"))?;
        let mut response = HttpResponse::new(status, SdkBody::from(answer.body));
        for (name, value) in &answer.headers {
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

    fn failure(&self, url: &Url, error: reqwest::Error) -> Lost {
        let mut server = url.origin().ascii_serialization();
        if let Some(proxy) = self.proxies.of(url) {
            server = format!("{server} through {proxy}");
        }
        if let Some(tls) = tls::cause(&error) {
            let Words { why, fix } = tls::words(tls, &VARIABLES);
            return Lost { is_timeout: false, reason: format!("TLS with {server} failed: {why}; {fix}") };
        }
        let (is_timeout, is_connect) = (error.is_timeout(), error.is_connect());
        let reason = http::reason(&error.without_url());
        let reason = match self.proxies.of(url) {
            Some(proxy) if is_connect => {
                format!("{} cannot be reached: {}", url.origin().ascii_serialization(), proxy.unreached(&reason))
            }
            _ => format!("{server}: {reason}"),
        };
        Lost { is_timeout, reason }
    }
}
