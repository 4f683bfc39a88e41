//! Answers that are not an agent's own: what a proxy makes of them, or puts in their place.

use reqwest::{
    Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName},
};

use super::Names;

/// Why the body of `response` is none of the agent's, and what to do about it; `None` where it can be read.
///
/// A page for people counts where the status would be taken for the agent's word: a success, or that something is not
/// there. With another status it is shown as it is.
pub(crate) fn foreign(response: &Response, names: &Names) -> Option<String> {
    let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    let status = response.status();
    let is_page =
        header(CONTENT_TYPE).is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"));
    if is_page && (status.is_success() || status == StatusCode::NOT_FOUND) {
        let address = names.address;
        return Some(format!(
            "an HTML page with status {}; is a login page or another service in its place? See {address}",
            status.as_u16()
        ));
    }
    // What can be decoded is, and has lost the header.
    let encoding = header(CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity"))?;
    Some(format!(
        "Content-Encoding: {encoding}, which was not asked for; switch compression off in the proxy before it"
    ))
}
