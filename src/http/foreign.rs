//! Answers that do not come from the agent: a proxy changed them, or answered in its place.

use reqwest::{
    Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName},
};

use super::Names;

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
