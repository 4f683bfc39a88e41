//! One request, and what its answer means for the records in it.

use std::{sync::atomic::Ordering, time::Duration};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use reqwest::{
    StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use tokio::time::{Instant, timeout_at};
use xxhash_rust::xxh3::Xxh3;

use super::{Compression, Config, Error, Format, Http, NAMES, body, cloud_events, fault};
use crate::{
    http::{self, Fault},
    kind::Kind,
    lease::LeaseState,
    record::Record,
    sink::ErrorClass,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KIND: HeaderName = HeaderName::from_static("x-nomad-firehose-kind");
const CLUSTER: HeaderName = HeaderName::from_static("x-nomad-firehose-cluster");

/// The characters that a header's value cannot carry, and the escape character itself.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// How much of a good answer is read, so that the connection can be used again.
const DRAINED: usize = 64 << 10;

/// How long reading the body of an answer may take. After a 2xx, a new connection costs less than a record that waits. After any
/// other status, the body is only shown.
const DRAIN: Duration = Duration::from_millis(250);

/// The headers of every request.
pub(super) fn headers(config: &Config, cluster: Option<&str>) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let content_type = match config.format {
        // As the original writes it.
        Format::Single => "application/json; charset=utf-8",
        Format::Array => "application/json",
        Format::Ndjson => "application/x-ndjson",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    match config.compression {
        Compression::None => {}
        Compression::Gzip => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"))),
        Compression::Zstd => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"))),
    }
    if let Some(cluster) = cluster {
        headers.insert(CLUSTER, escaped(cluster));
    }
    let mut given = HeaderMap::new();
    for (name, value) in &config.headers {
        let wrong = |what: &str| Error(format!("SINK_HTTP_HEADERS: {what}"));
        let name: HeaderName = name.parse().map_err(|_| wrong("a name is no name of a header"))?;
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| wrong(&format!("the value of {name} holds characters no header can carry")))?;
        value.set_sensitive(true);
        given.append(name, value);
    }
    for name in given.keys() {
        headers.remove(name);
    }
    headers.extend(given);
    Ok(headers)
}

/// A value with everything that no header can carry written as `%XX`.
fn escaped(text: &str) -> HeaderValue {
    let text = utf8_percent_encode(text, ESCAPED).to_string();
    HeaderValue::from_str(&text).expect("what is left is visible ASCII and spaces")
}

/// A key that is the same for the same records in the same order, and for no others.
fn idempotency_key(records: &[Record]) -> HeaderValue {
    if let [only] = records {
        return escaped(&only.id);
    }
    let mut hash = Xxh3::new();
    for record in records {
        hash.update(&record.id.len().to_le_bytes());
        hash.update(record.id.as_bytes());
    }
    escaped(&format!("{:032x}-{}", hash.digest128(), records.len()))
}

/// The kinds among the records, in their usual order.
fn kinds(records: &[Record]) -> HeaderValue {
    let found = Kind::ALL.into_iter().filter(|kind| records.iter().any(|record| record.kind == *kind));
    escaped(&found.map(Kind::name).collect::<Vec<_>>().join(","))
}

impl Http {
    /// The credentials, read again each time because a token file can be renewed.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let token = self.token.header().await.map_err(|fault| fault.to_string())?;
        Ok(token.map(|token| {
            let bytes = [b"Bearer ", token.as_bytes()].concat();
            let mut value = HeaderValue::from_bytes(&bytes).expect("it was a header's value before");
            value.set_sensitive(true);
            value
        }))
    }

    /// Sends `records`, at least one, as one request, unless the lease of one of them has ended meanwhile.
    pub(super) async fn exchange(&self, records: &[Record]) -> fault::Answer {
        let retry = |class, reason: String| fault::Answer::Retry { reason, after: None, refusal: None, class };
        let mut envelope = match cloud_events::headers(self.format, records) {
            Ok(headers) => headers,
            Err(reason) => return fault::Answer::Reject { reason, too_large: false },
        };
        // Only values that the settings give are marked as sensitive, and these come first.
        if self.to.headers.get(CONTENT_TYPE).is_some_and(HeaderValue::is_sensitive) {
            envelope.remove(CONTENT_TYPE);
        }
        let body = body::joined(self.format, records);
        let body = match body::compressed(self.compression, body).await {
            Ok(body) => body,
            Err(error) => return retry(ErrorClass::Local, format!("compress the body: {error}")),
        };
        let followed = self.token.follows_file();
        let authorization = match self.authorization().await {
            Ok(authorization) => authorization,
            Err(reason) => return retry(ErrorClass::Local, reason),
        };
        let request = self.to.start(authorization).headers(envelope);
        let request = request.header(IDEMPOTENCY_KEY, idempotency_key(records)).header(KIND, kinds(records)).body(body);
        // As late as possible: from here on, the request may reach the server.
        if records.iter().any(|record| record.ack.lease_state() != LeaseState::Held) {
            return retry(ErrorClass::Unsent, "not sent: the lease is not held at the moment".to_owned());
        }
        let deadline = Instant::now() + self.timeout;
        let label = &self.to.server.label;
        let answer = timeout_at(deadline, self.to.server.send(request)).await;
        if matches!(&answer, Ok(Ok(response)) if response.status() == StatusCode::UNAUTHORIZED) {
            // The records are sent again, with the new token if there is one.
            self.token.renew(followed).await;
        }
        match answer {
            Ok(Ok(response)) if response.status().is_success() => {
                // The status is the answer. Reading the rest only frees the connection.
                let read = timeout_at(deadline.min(Instant::now() + DRAIN), http::body(response, DRAINED)).await;
                if !matches!(read, Ok(Ok(_))) && !self.endless.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        server = %label,
                        effect = "each request needs a new connection",
                        "server does not end its answer"
                    );
                }
                fault::Answer::Delivered
            }
            Ok(Ok(response)) => match http::of_proxy(&self.to.server, &response) {
                Some(fault) => retry(ErrorClass::Connection, fault.to_string()),
                None => {
                    let until = deadline.min(Instant::now() + DRAIN);
                    fault::read(response, until, &self.to.server.route(), self.credentials).await
                }
            },
            Ok(Err(error)) => {
                let (is_connect, class) = (error.is_connect(), ErrorClass::of_transport(&error));
                let fault = Fault::transport(&NAMES, &self.to.server, "send", &error.without_url());
                let fate = if is_connect { "" } else { "; the records may have arrived" };
                retry(class, format!("{fault}{fate}"))
            }
            Err(_) => {
                let waited = format!("{label} did not answer within {:?} (SINK_HTTP_TIMEOUT)", self.timeout);
                retry(ErrorClass::Timeout, format!("{waited}; the records may have arrived"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::Book;

    #[test]
    fn a_batch_has_its_own_key() {
        let book = Book::new();
        let records = book.records(&["a", "b", "c"]);
        assert_eq!(idempotency_key(&records[..1]), "a/1");
        let key = idempotency_key(&records);
        assert!(key.to_str().expect("ASCII").ends_with("-3"), "{key:?}");
        assert_eq!(key, idempotency_key(&records));
        assert_ne!(key, idempotency_key(&records[1..]));
        assert_eq!(kinds(&records), "jobs");
    }

    proptest::proptest! {
        #[test]
        fn any_text_becomes_a_value_of_its_own(a in "\\PC{0,12}|[%\\r\\n\\x00a]{0,6}", b in "\\PC{0,12}|[%\\r\\n0DA]{0,6}") {
            proptest::prop_assert_eq!(escaped(&a) == escaped(&b), a == b);
        }
    }
}
