//! The page for people: one document that needs nothing else, and may load, run and send nothing else.

use std::sync::LazyLock;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::Html,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 as WITH_SHA256;

const PAGE: &str = include_str!("page.html");

/// Only the script and the styles of the page itself run, known by their hashes, and no text ever becomes markup.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (script, style) = (hash(within("script")), hash(within("style")));
    format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
});

pub(super) fn answer() -> ([(HeaderName, HeaderValue); 1], Html<&'static str>) {
    let policy = HeaderValue::from_str(&POLICY).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"));
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(PAGE))
}

/// The text of the one element of this name.
fn within(element: &str) -> &'static str {
    let rest = PAGE.split_once(&format!("<{element}>")).map_or("", |(_, rest)| rest);
    rest.split_once(&format!("</{element}>")).map_or("", |(text, _)| text)
}

/// The source expression of the policy for this text.
fn hash(text: &str) -> String {
    let digest = WITH_SHA256.tls13().map(|suite| suite.common.hash_provider.hash(text.as_bytes()));
    format!("sha256-{}", BASE64.encode(digest.as_ref().map_or(&[][..], AsRef::as_ref)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_knows_the_page() {
        assert_eq!(hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
        for element in ["script", "style"] {
            assert!(within(element).len() > 100, "{element}");
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1, "there is one {element}");
        }
    }

    #[test]
    fn nothing_is_loaded_and_no_text_becomes_markup() {
        for forbidden in [
            "http://",
            "https://",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "style=",
            "onclick",
            "onload",
            "javascript:",
        ] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
    }
}
