//! Sends requests: credentials, deadlines, fail-over, and the meaning of a refusal.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, LOCATION},
};
use tokio::time::timeout;

use super::{
    config::{Config, NAMES},
    credible::Credible,
    error::Error,
    lines::MAX_LINE,
};
use crate::{
    http::{self, Cut, Fault, Proxies, Reach, Server, Token},
    throttle::{Class, Throttle},
};

/// The path of the list of regions.
const REGIONS: &str = "/v1/regions";

/// The path of the event stream.
pub(super) const STREAM: &str = "/v1/event/stream";

/// How many bytes of the list of regions are read.
const MAX_REGIONS: usize = 64 << 10;

/// The deadlines and bounds that are not settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// To open a connection, including TLS.
    pub(super) connect: Duration,
    /// Until a stream's first line. Nomad sends it at once, and closes a refused stream after about two seconds.
    pub(super) open: Duration,
    /// Between two signs of life of a stream. Nomad sends a heartbeat every 30 s.
    pub(super) stream_idle: Duration,
    /// Between two pieces of a list.
    pub(super) page_idle: Duration,
    /// The longest line of a stream that is held, in bytes.
    pub(super) line: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(5),
            open: Duration::from_secs(10),
            stream_idle: Duration::from_secs(40),
            page_idle: Duration::from_secs(30),
            line: MAX_LINE,
        }
    }
}

/// A client of one cluster. Clones share the connections and the current address.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    servers: Vec<Server>,
    /// Which server is asked first.
    current: AtomicUsize,
    region: Option<String>,
    token: Token,
    timeout: Duration,
    limits: Limits,
    log: Mutex<Throttle>,
    credible: Credible,
}

/// One request, and its words for error messages.
#[derive(Debug)]
pub(super) struct Call {
    /// What the request reads, as a noun: "the list of nodes".
    pub(super) what: String,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    /// The rule that the policy of the token needs for it.
    pub(super) needs: String,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<_> = self.inner.servers.iter().map(|server| &server.label).collect();
        f.debug_struct("Client")
            .field("servers", &labels)
            .field("current", &self.current().label)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Builds the client and reads its certificates. Opens no connection yet.
    ///
    /// # Errors
    /// No address, or a certificate or key that cannot be used. The error names the variable, the path and the fix.
    pub fn new(config: Config) -> Result<Self, Error> {
        Client::with_limits(config, Limits::default())
    }

    pub(super) fn with_limits(config: Config, limits: Limits) -> Result<Self, Error> {
        let proxies = Proxies::from_environment()?;
        let (tls, basic_auth) = (&config.tls, config.basic_auth.as_ref());
        let reach = Reach { tls, basic_auth, connect: limits.connect, names: &NAMES, proxies: &proxies };
        let servers = http::servers(&config.addresses, &reach)?;
        let Config { region, token, timeout, .. } = config;
        let token = Token::new(token, &NAMES);
        let current = AtomicUsize::new(0);
        let (log, credible) = (Mutex::default(), Credible::default());
        Ok(Client { inner: Arc::new(Inner { servers, current, region, token, timeout, limits, log, credible }) })
    }

    /// Switches to the next address, if `from` (the label of an address) is still the current one. So several callers that
    /// saw the same failure switch once.
    pub fn fail_over(&self, from: &str) {
        let at = self.inner.current.load(Ordering::Relaxed);
        if self.inner.servers[at].label == from {
            self.switch_from(at);
        }
    }

    /// The label of the current address.
    pub fn address(&self) -> &str {
        &self.current().label
    }

    /// `NOMAD_REGION`.
    pub fn region(&self) -> Option<&str> {
        self.inner.region.as_deref()
    }

    pub(super) fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// The deadline of an ordinary call.
    pub(super) fn deadline(&self) -> Duration {
        self.inner.timeout
    }

    pub(super) fn credible(&self) -> &Credible {
        &self.inner.credible
    }

    pub(super) fn has_token(&self) -> bool {
        self.inner.token.is_some()
    }

    /// The server with this label.
    pub(super) fn server(&self, label: &str) -> Option<&Server> {
        self.inner.servers.iter().find(|server| server.label == label)
    }

    fn current(&self) -> &Server {
        &self.inner.servers[self.inner.current.load(Ordering::Relaxed)]
    }

    fn switch_from(&self, at: usize) {
        let next = (at + 1) % self.inner.servers.len();
        // If another caller has switched meanwhile, its choice stays.
        let moved = self.inner.current.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if moved && next != at {
            let (from, to) = (&self.inner.servers[at].label, &self.inner.servers[next].label);
            let mut log = self.inner.log.lock().unwrap_or_else(PoisonError::into_inner);
            // While no address answers, each call tries all of them.
            let Some(times) = log.due(Class::from("to").with(to)) else { return };
            tracing::warn!(%from, %to, times, "switched to another Nomad address");
        }
    }

    /// Sends the request to the current server. If the connection fails, it tries the others in turn. Returns the head of the
    /// answer, whatever its status.
    pub(super) async fn send(&self, call: &Call, deadline: Duration) -> Result<(Response, &Server), Error> {
        self.send_as(&Method::GET, call, None, deadline).await
    }

    /// The same with another method than GET, and with a body. A request that may have arrived is not sent again.
    pub(super) async fn send_as(
        &self,
        method: &Method,
        call: &Call,
        body: Option<&Bytes>,
        deadline: Duration,
    ) -> Result<(Response, &Server), Error> {
        let token = self.token().await?;
        let start = self.inner.current.load(Ordering::Relaxed);
        let count = self.inner.servers.len();
        let mut last = None;
        for at in (0..count).map(|step| (start + step) % count) {
            let server = &self.inner.servers[at];
            match self.send_once(server, (method, call, body), token.clone(), deadline).await {
                Ok(response) => return Ok((response, server)),
                Err(error @ (Error::Connect { .. } | Error::Tls { .. })) => {
                    self.switch_from(at);
                    // The first failure is that of the current address, so it is the one to report.
                    last.get_or_insert(error);
                }
                Err(error) => {
                    self.switch_from(at);
                    return Err(error);
                }
            }
        }
        Err(last.expect("there is at least one address"))
    }

    /// Sends the request to `server` alone.
    pub(super) async fn send_to(&self, server: &Server, call: &Call) -> Result<Response, Error> {
        let token = self.token().await?;
        self.send_once(server, (&Method::GET, call, None), token, self.inner.timeout).await
    }

    async fn send_once(
        &self,
        server: &Server,
        (method, call, body): (&Method, &Call, Option<&Bytes>),
        token: Option<HeaderValue>,
        deadline: Duration,
    ) -> Result<Response, Error> {
        let mut request = server.request(method.clone(), &call.path).query(&call.query);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        if let Some(region) = &self.inner.region
            && call.path != REGIONS
        {
            request = request.query(&[("region", region)]);
        }
        if let Some(token) = token {
            request = request.header("X-Nomad-Token", token);
        }
        let response = match timeout(deadline, server.send(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(Fault::transport(&NAMES, server, &call.what, &error).into()),
            Err(_) => return Err(self.timeout_error(server, call, deadline)),
        };
        if let Some(fault) = http::of_proxy(server, &response) {
            return Err(fault.into());
        }
        match http::foreign(&response, &NAMES) {
            Some(text) => Err(Error::Garbage { address: server.label.clone(), what: call.what.clone(), text }),
            None => Ok(response),
        }
    }

    /// Makes an attempt. If the server refuses the token and the token file has a new one, it makes another attempt at once.
    pub(super) async fn with_renewed_token<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let followed = self.inner.token.follows_file();
        match attempt().await {
            Err(Error::BadToken { .. }) if self.inner.token.renew(followed).await => attempt().await,
            outcome => outcome,
        }
    }

    /// As [`Client::send`], and turns every status except success into an error.
    pub(super) async fn get(&self, call: &Call, deadline: Duration) -> Result<(Response, &Server), Error> {
        self.with_renewed_token(|| self.get_once(call, deadline)).await
    }

    async fn get_once(&self, call: &Call, deadline: Duration) -> Result<(Response, &Server), Error> {
        let (response, server) = self.send(call, deadline).await?;
        if response.status().is_success() {
            return Ok((response, server));
        }
        Err(self.failure(server, call, response).await)
    }

    /// The deadline of a whole call, including the tries of other servers, is over: blames the current address.
    pub(super) fn timed_out(&self, call: &Call, after: Duration) -> Error {
        let address = self.address().to_owned();
        self.fail_over(&address);
        Error::Timeout { address, what: call.what.clone(), after }
    }

    pub(super) fn timeout_error(&self, server: &Server, call: &Call, after: Duration) -> Error {
        Error::Timeout { address: server.label.clone(), what: call.what.clone(), after }
    }

    /// The error for an answer without success.
    pub(super) async fn failure(&self, server: &Server, call: &Call, response: Response) -> Error {
        let code = response.status();
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let text = self.text(response).await;
        let (address, what) = (server.label.clone(), call.what.clone());
        if is_token_error(&text) {
            return Error::BadToken { address, text };
        }
        if code == StatusCode::FORBIDDEN {
            // Nomad answers with the same two words for an unknown token and for a missing permission.
            return match self.unknown_token(server).await {
                Some(text) => Error::BadToken { address, text },
                None => Error::Denied { what, needs: call.needs.clone(), token: self.has_token() },
            };
        }
        let text = match location {
            Some(to) if code.is_redirection() => format!("a redirect to {to}, which is not followed (NOMAD_ADDR)"),
            _ => text,
        };
        self.status(server, call, code, text).await
    }

    /// The error for a status without success, in the server's words.
    pub(super) async fn status(&self, server: &Server, call: &Call, code: StatusCode, text: String) -> Error {
        let (address, what) = (server.label.clone(), call.what.clone());
        if code == StatusCode::TOO_MANY_REQUESTS {
            return Error::Busy { address, what, text };
        }
        if text.contains("No path to region") {
            let fix = self.region_fix(server).await;
            return Error::NoRegion { address, what, text, fix };
        }
        // These are Go's own words for a path that nothing serves. For the stream it can be an old Nomad, too.
        let text = match &*text {
            "404 page not found" if code == StatusCode::NOT_FOUND && call.path != STREAM => {
                format!("{text}; there is no Nomad API at this path: check the path in NOMAD_ADDR")
            }
            _ => text,
        };
        Error::Status { address, what, code: code.as_u16(), text }
    }

    /// What to do about a region that cannot be reached. Nomad lists its regions without any permission.
    async fn region_fix(&self, server: &Server) -> String {
        let call = Call {
            what: "the list of regions".to_owned(),
            path: REGIONS.to_owned(),
            query: Vec::new(),
            needs: String::new(),
        };
        let asked = async {
            let response = self.send_to(server, &call).await?;
            self.body(server, &call, response, MAX_REGIONS).await
        };
        let body = timeout(self.inner.timeout, asked).await.ok().and_then(Result::ok).unwrap_or_default();
        let known: Vec<String> = serde_json::from_slice(&body).unwrap_or_default();
        let given = self.inner.region.as_ref();
        match given {
            Some(region) if known.contains(region) => format!("check the servers of the region {region:?}"),
            given => {
                let given = given.map(|region| format!(", which is {region:?},")).unwrap_or_default();
                let known: Vec<_> = known.iter().map(|region| format!("{region:?}")).collect();
                let known = if known.is_empty() { String::new() } else { format!(": {}", known.join(", ")) };
                format!("set NOMAD_REGION{given} to a region that the agent knows{known}")
            }
        }
    }

    /// The start of a body, for a message. It never fails: what cannot be read is left out.
    pub(super) async fn text(&self, response: Response) -> String {
        http::text(response, self.inner.timeout).await
    }

    /// A whole body of at most `limit` bytes, without a deadline of its own.
    pub(super) async fn body(
        &self,
        server: &Server,
        call: &Call,
        response: Response,
        limit: usize,
    ) -> Result<Bytes, Error> {
        let (address, what) = (server.label.clone(), call.what.clone());
        http::body(response, limit).await.map_err(|cut| match cut {
            Cut::TooLarge => Error::Garbage { address, what, text: format!("more than {limit} bytes") },
            Cut::Broken(reason) => Error::Broken { address, what, reason },
        })
    }

    async fn token(&self) -> Result<Option<HeaderValue>, Error> {
        Ok(self.inner.token.header().await?)
    }
}

/// Whether these are Nomad's words for a token that it does not accept (`structs/errors.go`).
pub(super) fn is_token_error(text: &str) -> bool {
    ["ACL token not found", "ACL token expired", "ACL token is invalid"].iter().any(|words| text.ends_with(words))
}
