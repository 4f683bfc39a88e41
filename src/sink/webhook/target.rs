//! One URL, and a request to it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::{
    Method, Response,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::time::{Instant, timeout_at};

use super::{
    Service,
    config::Config,
    fault::{Answer, Said},
};
use crate::{
    http::{self, Address, BadAddress, BasicAuth, Fault, Names, Proxies, Reach, Server},
    redact,
    sink::{ErrorClass, Unusable, http::Link},
};

/// How long connecting may take, TLS included. Never longer than the deadline of the request.
const CONNECT: Duration = Duration::from_secs(5);

/// How long reading the body of an answer may take.
const READ: Duration = Duration::from_secs(2);

/// One URL.
pub(super) struct Target {
    server: Server,
    path: String,
    query: Option<String>,
}

impl Target {
    pub(super) fn new(
        (link, user): &(Link, Option<BasicAuth>),
        config: &Config,
        names: &'static Names,
    ) -> Result<Self, Unusable> {
        let url = link.url();
        redact::keep(url.as_str());
        redact::keep(&format!("{}{}", url.path(), url.query().map(|query| format!("?{query}")).unwrap_or_default()));
        crate::sink::http::hide(url);
        // Path and query hold the secret: they go with each request, and never into the label.
        let mut server = url.clone();
        server.set_path("");
        server.set_query(None);
        let wrong = |error: BadAddress| Unusable::new(format!("{}: {error}", names.address));
        let address: Address = server.as_str().parse().map_err(wrong)?;
        let proxies = Proxies::from_environment().map_err(Unusable::new)?;
        let connect = CONNECT.min(config.timeout);
        let reach = Reach { tls: &config.tls, basic_auth: user.as_ref(), connect, names, proxies: &proxies };
        let server = http::servers(&[address], &reach).map_err(Unusable::new)?.pop();
        let server = server.ok_or_else(|| Unusable::new(format!("{} names no server", names.address)))?;
        Ok(Target { server, path: url.path().to_owned(), query: url.query().map(str::to_owned) })
    }

    /// The server, safe to show.
    pub(super) fn label(&self) -> &str {
        &self.server.label
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Asks for `path`, without the query of the URL.
    pub(super) async fn get(&self, method: Method, path: &str) -> Result<Response, reqwest::Error> {
        self.server.send(self.server.request_with(method, path, None)).await
    }

    /// Posts `body` once, and judges the answer.
    pub(super) async fn post(&self, service: &impl Service, body: Bytes, timeout: Duration) -> Answer {
        let variables = service.variables();
        let names = &variables.connection;
        let request = self.server.request_with(Method::POST, &self.path, self.query.as_deref());
        let request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body);
        let deadline = Instant::now() + timeout;
        let response = match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                let (is_connect, class) = (error.is_connect(), ErrorClass::of_transport(&error));
                let fault = Fault::transport(names, &self.server, "send", &error.without_url()).to_string();
                let fate = if is_connect { "" } else { "; the message may have arrived" };
                return Answer::retry(class, format!("{fault}{fate}"));
            }
            Err(_) => {
                let (label, variable) = (self.label(), variables.timeout);
                return Answer::retry(
                    ErrorClass::Timeout,
                    format!("{label} did not answer within {timeout:?} ({variable}); the message may have arrived"),
                );
            }
        };
        match http::of_proxy(&self.server, &response) {
            Some(fault) => Answer::retry(ErrorClass::Connection, fault.to_string()),
            None => self.judged(service, response, deadline).await,
        }
    }

    async fn judged(&self, service: &impl Service, response: Response, deadline: Instant) -> Answer {
        let (status, headers) = (response.status(), response.headers().clone());
        let until = deadline.min(Instant::now() + READ);
        let text = http::text(response, until.saturating_duration_since(Instant::now())).await;
        let route = self.server.route();
        let names = &service.variables().connection;
        let (setting, now) = (names.address, SystemTime::now());
        service.judge(&Said { status, headers: &headers, server: &route, setting, names, text: &text, now })
    }
}
