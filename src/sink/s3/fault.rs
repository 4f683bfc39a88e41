//! What a failure of an object store means, in words that say what to fix. Every one is a retry: no record is ever at fault.

use std::error::Error;

use super::{
    config::{Place, Service},
    credentials::NoCredentials,
};
use crate::{
    redact::{LINE, shown},
    sink::{ErrorClass, Outcome, aws::Lost},
};

/// Why an object is not known to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) class: ErrorClass,
    pub(super) reason: String,
    /// Other credentials, or the next ones of the chain, could help.
    pub(super) wants_other_client: bool,
}

/// An answer that is not a success, as the library passes it on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    status: u16,
    code: String,
    said: String,
}

impl Fault {
    /// A setting, a credential or a right is missing: only people can fix it.
    pub(super) fn refused(reason: &str) -> Self {
        Fault { class: ErrorClass::Refused, reason: reason.to_owned(), wants_other_client: true }
    }

    pub(super) fn timeout(reason: String) -> Self {
        Fault { class: ErrorClass::Timeout, reason, wants_other_client: false }
    }

    /// The bucket does not exist.
    pub(super) fn missing(place: &Place, said: &str) -> Self {
        let label = place.label();
        Fault::refused(&format!("{label} does not exist; create it, or correct SINK_S3_URL ({said})"))
    }

    /// What an error of the library means.
    pub(super) fn of(error: &object_store::Error, place: &Place) -> Self {
        let name = place.service.name();
        if let Some(none) = cause::<NoCredentials>(error) {
            return Fault::refused(&format!(
                "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of the machine, \
                 the container or the web identity ({none})"
            ));
        }
        if let Some(Lost { is_timeout, reason }) = cause::<Lost>(error) {
            let class = match (is_timeout, reason.starts_with("TLS ")) {
                (true, _) => ErrorClass::Timeout,
                (_, true) => ErrorClass::Tls,
                _ => ErrorClass::Connection,
            };
            return Fault { class, reason: format!("no answer from {name}: {reason}"), wants_other_client: false };
        }
        let words = chain(error);
        let Some(answer) = Answer::of(&words) else {
            if let Service::Local(_) = place.service {
                let reason = format!(
                    "cannot write to {}: {}; free space, or let this user write there",
                    place.label(),
                    line(&words)
                );
                return Fault { class: ErrorClass::Local, reason, wants_other_client: true };
            }
            if words.contains("without LOCATION") {
                return Fault::refused(&format!("{} is in another region; correct SINK_S3_REGION", place.label()));
            }
            return Fault {
                class: ErrorClass::Other,
                reason: format!("{name}: {}", line(&words)),
                wants_other_client: true,
            };
        };
        Fault::of_answer(&answer, place)
    }

    fn of_answer(answer: &Answer, place: &Place) -> Self {
        let Answer { status, code, said } = answer;
        let (name, label) = (place.service.name(), place.label());
        let shown = match (code.is_empty(), said.is_empty()) {
            (true, _) => format!("status {status}"),
            (false, true) => code.clone(),
            (false, false) => format!("{code}: {said}"),
        };
        let passing = |class| Fault { class, reason: format!("{name} answered {shown}"), wants_other_client: false };
        match (*status, code.as_str()) {
            (_, "ExpiredToken" | "TokenRefreshRequired") => {
                Fault::refused(&format!("the credentials have expired ({shown})"))
            }
            (_, "RequestTimeTooSkewed") => {
                Fault::refused(&format!("the clock of this machine is wrong; set it ({shown})"))
            }
            (404, _) => Fault::missing(place, &shown),
            (301 | 307, _) | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                Fault::refused(&format!("{label} is in another region; correct SINK_S3_REGION ({shown})"))
            }
            (401 | 403, _) => Fault::refused(&format!(
                "access to {label} is refused; correct the credentials, or allow {} ({shown})",
                right(&place.service)
            )),
            (429, _) | (503, "SlowDown" | "Throttling") => passing(ErrorClass::Throttled),
            (408 | 504, _) => passing(ErrorClass::Timeout),
            (500.., _) => passing(ErrorClass::Server),
            _ => passing(ErrorClass::Refused),
        }
    }

    /// Whether only people can fix it.
    pub(super) fn needs_people(&self) -> bool {
        self.class == ErrorClass::Refused
    }

    /// The outcome of each record of the object.
    pub(super) fn outcome(&self) -> Outcome {
        Outcome::failed(self.class, self.reason.clone())
    }
}

impl Answer {
    /// Reads the words of the library: `Server returned non-2xx status code: 403 Forbidden: <?xml …`.
    fn of(words: &str) -> Option<Self> {
        let (_, rest) = words.split_once("status code: ")?;
        let status = rest.get(..3)?.parse().ok()?;
        let element = |name: &str| {
            let (_, rest) = rest.split_once(&format!("<{name}>"))?;
            let (text, _) = rest.split_once("</")?;
            Some(line(text))
        };
        Some(Answer { status, code: element("Code").unwrap_or_default(), said: element("Message").unwrap_or_default() })
    }
}

fn right(service: &Service) -> &'static str {
    match service {
        Service::S3 => "s3:PutObject",
        Service::Gcs => "storage.objects.create and storage.objects.delete",
        Service::Azure => "the role Storage Blob Data Contributor",
        Service::Local(_) => "this user to write there",
    }
}

/// The first line only: what follows can quote the request's headers.
fn line(text: &str) -> String {
    shown(text.lines().next().unwrap_or_default(), LINE)
}

/// The cause of this type.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The error and its causes, each once.
fn chain(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let said = error.to_string();
        if !words.contains(&said) {
            words = format!("{words}: {said}");
        }
        next = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place { service: Service::S3, bucket: "nomad".to_owned(), prefix: String::new() }
    }

    fn of(words: &str) -> Fault {
        let source = std::io::Error::other(words.to_owned());
        Fault::of(&object_store::Error::Generic { store: "S3", source: Box::new(source) }, &place())
    }

    fn answer(status: &str, code: &str) -> Fault {
        of(&format!(
            "Server returned non-2xx status code: {status}: <?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Told so</Message></Error>"
        ))
    }

    #[test]
    fn each_answer_says_what_to_fix() {
        for (fault, class, part) in [
            (
                answer("404 Not Found", "NoSuchBucket"),
                ErrorClass::Refused,
                "the bucket nomad does not exist; create it, or correct SINK_S3_URL (NoSuchBucket: Told so)",
            ),
            (
                answer("403 Forbidden", "AccessDenied"),
                ErrorClass::Refused,
                "or allow s3:PutObject (AccessDenied: Told so)",
            ),
            (answer("400 Bad Request", "ExpiredToken"), ErrorClass::Refused, "the credentials have expired"),
            (
                answer("403 Forbidden", "RequestTimeTooSkewed"),
                ErrorClass::Refused,
                "the clock of this machine is wrong",
            ),
            (answer("301 Moved Permanently", "PermanentRedirect"), ErrorClass::Refused, "correct SINK_S3_REGION"),
            (of("Received redirect without LOCATION, this"), ErrorClass::Refused, "correct SINK_S3_REGION"),
            (answer("503 Service Unavailable", "SlowDown"), ErrorClass::Throttled, "S3 answered SlowDown: Told so"),
            (answer("500 Internal Server Error", "InternalError"), ErrorClass::Server, "S3 answered InternalError"),
            (
                of("Server returned non-2xx status code: 502 Bad Gateway: "),
                ErrorClass::Server,
                "S3 answered status 502",
            ),
            (answer("400 Bad Request", "InvalidArgument"), ErrorClass::Refused, "S3 answered InvalidArgument"),
            (of("something else"), ErrorClass::Other, "something else"),
        ] {
            assert!(fault.class == class && fault.reason.contains(part), "{fault:?}");
        }
        let lost = Lost { is_timeout: true, reason: "http://h: it took too long".to_owned() };
        let lost = object_store::Error::Generic { store: "S3", source: Box::new(lost) };
        let fault = Fault::of(&lost, &place());
        assert_eq!(
            (fault.class, fault.reason.as_str()),
            (ErrorClass::Timeout, "no answer from S3: http://h: it took too long")
        );
    }

    #[test]
    fn what_an_answer_echoes_of_the_request_is_left_out() {
        crate::redact::keep("s3-hush-4f1");
        let fault = of(
            "Server returned non-2xx status code: 403: <Error><Code>SignatureDoesNotMatch</Code><Message>the key s3-hush-4f1\nx-amz-security-token:hush</Message>",
        );
        assert!(!fault.reason.contains("hush") && fault.reason.contains("[redacted]"), "{fault:?}");
    }
}
