//! What an answer that is not 2xx means.

use std::time::{Duration, SystemTime};

use reqwest::{
    Response, StatusCode, Url,
    header::{HeaderMap, LOCATION},
};
use tokio::time::Instant;

use super::NAMES;
use crate::{
    http,
    redact::shown,
    sink::{ErrorClass, Outcome},
};

/// How many bytes of the server's own words go into a reason. They can quote the record, which can carry secrets.
const QUOTED: usize = 200;

/// The result of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Answered with 2xx.
    Delivered,
    /// To be sent again, not before `after`; the rest as in [`Outcome::Retry`].
    Retry { reason: String, after: Option<Duration>, refusal: Option<String>, class: ErrorClass },
    /// Refused as data; only for its size if `too_large`.
    Reject { reason: String, too_large: bool },
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Delivered => Outcome::Delivered,
            Answer::Retry { reason, after, refusal, class } => Outcome::Retry { reason, after, refusal, class },
            Answer::Reject { reason, .. } => Outcome::Reject { reason },
        }
    }
}

/// The source of the credentials, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    None,
    /// Those of one variable.
    Of(&'static str),
}

impl Credentials {
    /// What a 401 means.
    fn unknown(self) -> String {
        match self {
            Credentials::None => {
                "; no credentials are set: see SINK_HTTP_AUTH, SINK_HTTP_TOKEN and SINK_HTTP_TOKEN_FILE".to_owned()
            }
            Credentials::Of(variable) => format!("; {variable} is not accepted: set it to valid credentials"),
        }
    }

    /// What a 403 means.
    fn refused(self) -> String {
        match self {
            Credentials::None => "; no credentials are set, and the server, a proxy or a web firewall refuses the \
                request: allow it there, or set SINK_HTTP_AUTH or SINK_HTTP_TOKEN"
                .to_owned(),
            Credentials::Of(variable) => {
                format!("; {variable} is not allowed to send there, or a web firewall refuses the request")
            }
        }
    }
}

/// Reads the server's answer, until `deadline` at the latest, and judges it.
pub(super) async fn read(response: Response, deadline: Instant, label: &str, credentials: Credentials) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    let text = http::text(response, deadline.saturating_duration_since(Instant::now())).await;
    let text = shown(text, QUOTED);
    Said { status, headers: &headers, label, credentials, text: &text }.judge(SystemTime::now())
}

/// An answer that is not 2xx.
struct Said<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
    label: &'a str,
    credentials: Credentials,
    /// The server's own words, ready to be shown.
    text: &'a str,
}

impl Said<'_> {
    fn judge(self, now: SystemTime) -> Answer {
        let Said { status, headers, label, credentials, text } = self;
        let said = if text.is_empty() { String::new() } else { format!(": {text}") };
        let class = ErrorClass::of_status(status.as_u16());
        let retry = |fix: &str| Answer::Retry {
            class,
            reason: format!("{label} answered {status}{fix}{said}"),
            after: None,
            refusal: can_be_about_the_record(status).then(|| format!("{label} answered {status}{said}")),
        };
        if let Some(fix) = http::refused_connection(status, text.as_bytes(), &NAMES) {
            // A text can quote a record that has the same words: what is refused while others are accepted is the record.
            let refusal = Some(format!("{label} answered {status}{said}"));
            let reason = format!("{label} answered {status}; {fix}{said}");
            return Answer::Retry { reason, after: None, refusal, class: ErrorClass::Tls };
        }
        match status.as_u16() {
            400 | 413 | 415 | 422 => Answer::Reject {
                reason: format!("{label} answered {status}{said}"),
                too_large: status == StatusCode::PAYLOAD_TOO_LARGE,
            },
            429 | 503 => Answer::Retry {
                class,
                reason: format!("{label} answered {status}{said}"),
                after: http::retry_after(headers, now),
                refusal: None,
            },
            300..400 => {
                let to = headers.get(LOCATION).map_or_else(|| "nowhere".to_owned(), |to| bare(to.as_bytes()));
                retry(&format!(
                    ", a redirect to {to}, which is not followed: set SINK_HTTP_ADDRESS to where it should go"
                ))
            }
            401 => retry(&credentials.unknown()),
            403 => retry(&credentials.refused()),
            404 => retry("; nothing is there: see the path in SINK_HTTP_ADDRESS"),
            405 => retry("; see SINK_HTTP_METHOD"),
            _ => retry(""),
        }
    }
}

/// Whether this status can be about the record, from the server or from a web firewall in front of it. The other statuses are
/// about a proxy, load, time or another address: 407, 408, 409, 421, 425, 429, 503 and 504 among them.
fn can_be_about_the_record(status: StatusCode) -> bool {
    match status.as_u16() {
        503 | 504 => false,
        401 | 403..=406 | 410 | 451 | 500..600 => true,
        _ => false,
    }
}

/// A location without user and query, which can hold tokens.
fn bare(location: &[u8]) -> String {
    let text = String::from_utf8_lossy(location);
    if let Ok(mut url) = Url::parse(&text) {
        url.set_query(None);
        url.set_fragment(None);
        // This fails only for a URL without a host, which has no user.
        url.set_username("").ok();
        url.set_password(None).ok();
        return shown(url.as_str(), QUOTED);
    }
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let start = text[..end].rfind('@').map_or(0, |at| at + 1);
    shown(&text[start..end], QUOTED)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::RETRY_AFTER;

    use super::*;

    fn judged(status: u16, headers: &[(reqwest::header::HeaderName, &str)]) -> Answer {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a value"))).collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let status = StatusCode::from_u16(status).expect("a status");
        let (label, credentials, text) = ("http://a", Credentials::None, "why");
        Said { status, headers: &headers, label, credentials, text }.judge(now)
    }

    /// Every record would get these answers of nginx and of Go: none of them is to blame.
    #[test]
    fn a_refused_connection_is_no_reject() {
        let nginx = "<html> <head><title>400 No required SSL certificate was sent</title></head>";
        let go = "Client sent an HTTP request to an HTTPS server.";
        for (text, fix) in
            [(nginx, "SINK_HTTP_CLIENT_CERT and SINK_HTTP_CLIENT_KEY"), (go, "https:// in SINK_HTTP_ADDRESS")]
        {
            let (status, headers) = (StatusCode::BAD_REQUEST, HeaderMap::new());
            let (label, credentials) = ("http://a", Credentials::None);
            let said = Said { status, headers: &headers, label, credentials, text };
            let answer = said.judge(SystemTime::UNIX_EPOCH);
            let Answer::Retry { reason, refusal: Some(refusal), class: ErrorClass::Tls, .. } = answer else {
                panic!("{answer:?}")
            };
            assert!(reason.contains(fix) && reason.contains(text) && !refusal.contains("SINK_HTTP"), "{reason}");
        }
    }

    #[test]
    fn data_is_rejected_and_the_rest_is_tried_again() {
        for status in [400, 413, 415, 422] {
            assert!(
                matches!(judged(status, &[]), Answer::Reject { reason, too_large } if reason.contains("why") && too_large == (status == 413)),
                "{status}"
            );
        }
        for (status, word) in [
            (401, "SINK_HTTP_TOKEN"),
            (403, "SINK_HTTP_AUTH"),
            (404, "SINK_HTTP_ADDRESS"),
            (405, "SINK_HTTP_METHOD"),
            (407, "407"),
            (409, "409"),
            (500, "Internal Server Error: why"),
            (304, "nowhere"),
            (599, "599"),
        ] {
            let answer = judged(status, &[]);
            assert!(
                matches!(&answer, Answer::Retry { reason, after: None, .. } if reason.contains(word)),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn what_can_be_about_the_record_is_a_refusal_without_the_hint() {
        for status in [401, 403, 404, 405, 406, 410, 451, 500, 501, 502, 520] {
            let Answer::Retry { refusal: Some(refusal), .. } = judged(status, &[]) else { panic!("{status}") };
            assert!(refusal.contains(&status.to_string()) && refusal.ends_with("why"), "{refusal}");
            assert!(!refusal.contains("SINK_HTTP"), "{refusal}");
        }
        for status in [302, 307, 402, 407, 408, 409, 421, 425, 429, 431, 503, 504, 600, 999] {
            assert!(matches!(judged(status, &[]), Answer::Retry { refusal: None, .. }), "{status}");
        }
    }

    #[test]
    fn what_is_asked_for_is_waited() {
        for (text, seconds) in [
            ("7", Some(7)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            for status in [429, 503] {
                let Answer::Retry { after, .. } = judged(status, &[(RETRY_AFTER, text)]) else { panic!("{text}") };
                assert_eq!(after, seconds.map(Duration::from_secs), "{text}");
            }
        }
        assert!(matches!(judged(500, &[(RETRY_AFTER, "7")]), Answer::Retry { after: None, .. }));
    }

    #[test]
    fn a_redirect_is_named_without_what_it_carries() {
        for (to, part) in [
            ("https://me:hush@b/x?token=hush#hush", "https://b/x"),
            ("//me:hush@b/x?token=hush", "b/x"),
            ("/login?hush", "/login"),
        ] {
            let Answer::Retry { reason, .. } = judged(307, &[(LOCATION, to)]) else { panic!("{to}") };
            assert!(reason.contains(part) && !reason.contains("hush"), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_judged(status in 300_u16..1000, value in "[ -~]{0,40}") {
            let answer = judged(status, &[(RETRY_AFTER, &value), (LOCATION, &value)]);
            prop_assert!(answer != Answer::Delivered);
        }
    }
}
