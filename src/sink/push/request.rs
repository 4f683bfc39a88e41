//! One request, and what its answer means for the records in it.

use std::{
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use tokio::time::{Instant, timeout, timeout_at};

#[cfg(feature = "otlp")]
use super::grpc;
use super::{Codec, Push, Said, Scheme, Sent, Target, Verdict, answer::Answer};
use crate::{
    http::{self, Fault},
    lease::LeaseState,
    record::Record,
    sink::{
        ErrorClass,
        http::{Compression, compressed},
        lease,
    },
};

/// How a failure can be worded: `google.rpc.Status`.
const PROTOBUF: &[u8] = b"application/x-protobuf";

/// The most bytes of such a message.
const MESSAGE: usize = 64 << 10;

/// How long reading the words of a failure may take: they are only shown.
const WORDS: Duration = Duration::from_millis(250);

impl Target {
    /// A request with credentials, which are read again each time because a token file can be renewed.
    async fn request(&self, body: Bytes) -> Result<RequestBuilder, Fault> {
        let request = self.server.request_with(Method::POST, &self.path, self.query.as_deref());
        let request = request.headers(self.headers.clone()).body(body);
        Ok(match self.token.header().await? {
            Some(token) => {
                let scheme: &[u8] = match self.scheme {
                    Scheme::Bearer => b"Bearer ",
                    Scheme::ApiKey => b"ApiKey ",
                };
                let bytes = [scheme, token.as_bytes()].concat();
                let mut value = HeaderValue::from_bytes(&bytes).expect("it was a header's value before");
                value.set_sensitive(true);
                request.header(AUTHORIZATION, value)
            }
            None => request,
        })
    }
}

impl<C: Codec> Push<C> {
    /// Sends `records`, at least one, as one request, unless the lease of one of them has ended meanwhile.
    pub(super) async fn exchange(&self, records: &[Record], sent: Sent) -> Verdict {
        let body = match compressed(self.compression, self.codec.encode(records, sent)).await {
            Ok(body) => body,
            Err(error) => return Verdict::retry(ErrorClass::Local, format!("compress the body: {error}")),
        };
        let body = self.framed(body, self.compression != Compression::None);
        let followed = self.to.token.follows_file();
        let request = match self.to.request(body).await {
            Ok(request) => request,
            Err(fault) => return Verdict::retry(ErrorClass::Local, fault.to_string()),
        };
        // As late as possible: from here on, the request may reach the server.
        if records.iter().any(|record| record.ack.lease_state() != LeaseState::Held) {
            return Verdict::retry(ErrorClass::Unsent, "not sent: the lease is not held at the moment");
        }
        let answer = tokio::select! {
            biased;
            answer = self.answer(request, records.len()) => answer,
            () = lease::until_unheld(records) => {
                let reason = "given up: the lease is not held any more; the records may have arrived";
                return Verdict::retry(ErrorClass::Unsent, reason);
            }
        };
        match answer {
            Ok(answer) => {
                if answer.status == StatusCode::UNAUTHORIZED {
                    // The records are sent again, with the new token if there is one.
                    self.to.token.renew(followed).await;
                }
                self.codec.judge(&self.said(&answer, &self.to.server.route()), records)
            }
            Err(verdict) => verdict,
        }
    }

    /// Sends a request that changes nothing, and passes what the server said about it to `read`.
    pub(super) async fn probe<T>(&self, read: impl FnOnce(&Said<'_>) -> T) -> Result<T, String> {
        let request =
            self.to.request(self.framed(self.codec.empty(), false)).await.map_err(|fault| fault.to_string())?;
        let answer = self.answer(request, 0).await.map_err(|verdict| match verdict {
            Verdict::Retry { reason, .. } => reason,
            _ => "there is no answer".to_owned(),
        })?;
        Ok(read(&self.said(&answer, &self.to.server.route())))
    }

    /// The body as it is sent.
    #[cfg(feature = "otlp")]
    fn framed(&self, body: Bytes, is_compressed: bool) -> Bytes {
        if self.codec.is_grpc() { grpc::framed(&body, is_compressed) } else { body }
    }

    #[cfg(not(feature = "otlp"))]
    fn framed(&self, body: Bytes, _is_compressed: bool) -> Bytes {
        body
    }

    fn said<'a>(&self, answer: &'a Answer, server: &'a str) -> Said<'a> {
        Said {
            status: answer.status,
            headers: &answer.headers,
            body: &answer.body,
            server,
            variables: self.codec.variables(),
            credentials: self.to.credentials,
            now: SystemTime::now(),
            grpc: answer.grpc,
            after: answer.after,
        }
    }

    /// The server's answer, or what its absence means.
    async fn answer(&self, request: RequestBuilder, records: usize) -> Result<Answer, Verdict> {
        let deadline = Instant::now() + self.timeout;
        let server = &self.to.server;
        let variables = self.codec.variables();
        match timeout_at(deadline, server.send(request)).await {
            Ok(Ok(response)) => {
                self.has_answered.store(true, Ordering::Relaxed);
                match http::of_proxy(server, &response) {
                    Some(fault) => Err(Verdict::retry(ErrorClass::Connection, fault.to_string())),
                    None => self.read(response, deadline, records).await,
                }
            }
            Ok(Err(error)) => {
                let (is_connect, class) = (error.is_connect(), ErrorClass::of_transport(&error));
                let fault = Fault::transport(&variables.connection, server, "send", &error.without_url());
                let fate = if is_connect { "" } else { "; the records may have arrived" };
                let is_new = !is_connect && !self.has_answered.load(Ordering::Relaxed);
                let hint = if is_new { self.codec.hint() } else { "" };
                Err(Verdict::retry(class, format!("{fault}{hint}{fate}")))
            }
            Err(_) => Err(self.late()),
        }
    }

    async fn read(&self, response: Response, deadline: Instant, records: usize) -> Result<Answer, Verdict> {
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            let left = deadline.saturating_duration_since(Instant::now()).min(WORDS);
            let is_text = headers.get(CONTENT_TYPE).is_none_or(|kind| !kind.as_bytes().starts_with(PROTOBUF));
            let body = if is_text {
                http::text(response, left).await.into()
            } else {
                // Only its words are shown, and a codec takes them out.
                let read = timeout(left, http::body(response, MESSAGE)).await;
                read.ok().and_then(Result::ok).unwrap_or_default()
            };
            return Ok(Answer { status, headers, body, grpc: None, after: None });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = self.codec.answer_bytes(records);
        let read = async {
            #[cfg(feature = "otlp")]
            if self.codec.is_grpc() {
                let (body, trailers) = http::body_with_trailers(response, limit).await?;
                return Ok(grpc::opened(headers, trailers, body));
            }
            let body = http::body(response, limit).await?;
            Ok(Answer { status, headers, body, grpc: None, after: None })
        };
        match timeout(left, read).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(cut)) => {
                let why = match cut {
                    http::Cut::TooLarge => "it is too long".to_owned(),
                    http::Cut::Broken(reason) => reason,
                };
                let server = self.to.server.route();
                let reason = format!("the answer of {server} cannot be read: {why}; the records may have arrived");
                Err(Verdict::retry(ErrorClass::Connection, reason))
            }
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> Verdict {
        let (label, variable) = (self.to.server.route(), self.codec.variables().timeout);
        let waited = format!("{label} did not answer within {:?} ({variable})", self.timeout);
        Verdict::retry(ErrorClass::Timeout, format!("{waited}; the records may have arrived"))
    }
}
