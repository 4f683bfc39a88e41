//! Answers that do not come from the agent: a proxy changed them, or answered in its place.

use reqwest::{
    Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName},
};

use super::Names;

/// What servers and proxies say with status 400 of a connection rather than of the request: nginx in the titles of its pages
/// (`ngx_http_special_response.c`), Go's and Apache's servers in texts of their own. Each with whether they want TLS at all.
const OF_CONNECTION: [(&str, bool); 5] = [
    ("400 The SSL certificate error", false),
    ("400 No required SSL certificate was sent", false),
    ("400 The plain HTTP request was sent to HTTPS port", true),
    ("Client sent an HTTP request to an HTTPS server", true),
    ("speaking plain HTTP to an SSL-enabled server port", true),
];

/// What to do about an answer that refuses the connection, whatever was sent over it; `None` if it is no such answer.
pub(crate) fn refused_connection(status: StatusCode, text: &[u8], names: &Names) -> Option<String> {
    if status != StatusCode::BAD_REQUEST {
        return None;
    }
    let is_said = |words: &str| memchr::memmem::find(text, words.as_bytes()).is_some();
    let (_, wants_tls) = OF_CONNECTION.into_iter().find(|(words, _)| is_said(words))?;
    let (address, tls) = (names.address, &names.tls);
    Some(if wants_tls {
        format!("the server wants TLS: write https:// in {address}")
    } else if tls.client_cert.is_empty() {
        format!("the server wants a client certificate, and this sink has none: see {address}")
    } else {
        format!(
            "the server wants a client certificate of an authority that it trusts: see {} and {}",
            tls.client_cert, tls.client_key
        )
    })
}

/// Why the body of `response` is not the agent's, and what to do about it; `None` if it is.
///
/// No agent answers with an HTML page, whatever the status. Proxies do, for a login and for their own errors.
pub(crate) fn foreign(response: &Response, names: &Names) -> Option<String> {
    let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = response.status();
    let is_page =
        header(CONTENT_TYPE).is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"));
    if is_page {
        return Some(of_page(status, names.address));
    }
    // The client decodes what it can, and removes the header then.
    let encoding = header(CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))?;
    Some(format!("Content-Encoding: {encoding}, which was not requested; switch off compression in the proxy"))
}

/// What an HTML page with this status most likely is.
fn of_page(status: StatusCode, address: &str) -> String {
    let code = status.as_u16();
    match code {
        502..=504 => format!(
            "an HTML page with status {code}: the error page of a proxy that gets no answer from the agent; \
             check the agent, the proxy and {address}"
        ),
        _ => format!(
            "an HTML page with status {code}: a login page, a proxy or another service answers in the agent's place; \
             check {address}"
        ),
    }
}
