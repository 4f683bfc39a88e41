//! Why a call failed, and what to fix.

use std::error::Error;

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::{
    redact::shown,
    sink::{ErrorClass, Outcome},
};

/// How many bytes of an answer are shown.
const SHOWN: usize = 300;

/// How messages name a service and its settings, and which of its error codes mean what.
#[derive(Debug)]
pub(in crate::sink) struct Service {
    /// `Kinesis`.
    pub(in crate::sink) name: &'static str,
    /// What records are written to: `stream`.
    pub(in crate::sink) target: &'static str,
    /// The variable that names the target.
    pub(in crate::sink) variable: &'static str,
    /// The right to write, as policies name it.
    pub(in crate::sink) action: &'static str,
    /// The codes for a target that does not exist.
    pub(in crate::sink) missing: &'static [&'static str],
    /// The codes for a call whose data are not acceptable.
    pub(in crate::sink) data: &'static [&'static str],
    /// Whether the words of such an answer are about the name of the target. No record is guilty of that.
    pub(in crate::sink) names_target: fn(&str) -> bool,
}

/// Where a call was sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::sink) struct Target<'a> {
    pub(in crate::sink) service: &'static Service,
    pub(in crate::sink) name: &'a str,
    pub(in crate::sink) region: &'a str,
}

/// Why none of a call's records is known to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) enum Fault {
    /// The target does not exist.
    Missing(String),
    /// The credentials lack the right, or a setting is missing or wrong, such as the credentials or the region.
    Refused(String),
    /// The credentials have expired: the same chain can give new ones.
    Expired(String),
    /// The service refuses something in the call as data.
    Data(String),
    /// Too much at a time, an outage, no answer.
    Passing(ErrorClass, String),
}

impl Fault {
    /// What an error of the client means.
    pub(in crate::sink) fn of<E>(error: &SdkError<E, HttpResponse>, target: Target<'_>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let Target { service: Service { name, .. }, region, .. } = target;
        match error {
            SdkError::ServiceError(answer) => {
                let code = answer.err().code().unwrap_or_default();
                let said = first_line(answer.err().message().unwrap_or_default());
                Fault::of_answer(answer.raw().status().as_u16(), code, &said, target)
            }
            SdkError::TimeoutError(_) => {
                Fault::Passing(ErrorClass::Timeout, format!("no answer from {name} in {region} in time"))
            }
            other => {
                let words = chain(other);
                if words.contains("credential") {
                    return Fault::Refused(format!(
                        "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of \
                         the machine, the container or the web identity ({words})"
                    ));
                }
                Fault::Passing(ErrorClass::Connection, format!("no answer from {name} in {region}: {words}"))
            }
        }
    }

    /// The fault of an answer that is not a success. `said` is its message, without echoes of the request.
    pub(in crate::sink) fn of_answer(status: u16, code: &str, said: &str, target: Target<'_>) -> Self {
        let Target { service, name, region } = target;
        let Service { target, variable, .. } = service;
        let answer = if code.is_empty() { format!("status {status}") } else { code.to_owned() };
        let answer = if said.is_empty() { answer } else { format!("{answer}: {said}") };
        match code {
            code if service.missing.contains(&code) => Fault::Missing(format!(
                "the {target} {name} does not exist in {region}; create it, or correct {variable} or AWS_REGION ({answer})"
            )),
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
                Fault::Expired(format!("the credentials have expired ({answer})"))
            }
            code if service.data.contains(&code) && !(service.names_target)(said) => Fault::Data(answer),
            code if service.data.contains(&code) => {
                Fault::Refused(format!("the {target} is not named as it should be; correct {variable} ({answer})"))
            }
            code if is_of_key(code) => Fault::Refused(format!(
                "the key that encrypts the {target} cannot be used; fix it or the right to it ({answer})"
            )),
            _ if is_refusal(status, code) => Fault::Refused(format!(
                "access to the {target} {name} in {region} is refused; correct the credentials, or allow {} ({answer})",
                service.action
            )),
            _ if status == 413 => Fault::Data(answer),
            _ => Fault::Passing(class_of(code), format!("{} in {region} answered {answer}", service.name)),
        }
    }

    /// Whether only people can fix it.
    pub(in crate::sink) fn needs_people(&self) -> bool {
        matches!(self, Fault::Missing(_) | Fault::Refused(_))
    }

    /// Whether other credentials could help. The chain may have new ones by now.
    pub(in crate::sink) fn wants_other_credentials(&self) -> bool {
        matches!(self, Fault::Refused(_) | Fault::Expired(_))
    }

    /// The outcome of each record that it is about.
    pub(in crate::sink) fn outcome(&self) -> Outcome {
        let class = match self {
            Fault::Missing(_) | Fault::Refused(_) | Fault::Expired(_) => ErrorClass::Refused,
            Fault::Data(_) => ErrorClass::Rejected,
            Fault::Passing(class, _) => *class,
        };
        Outcome::failed(class, self.reason())
    }

    pub(in crate::sink) fn reason(&self) -> &str {
        let (Fault::Missing(reason)
        | Fault::Refused(reason)
        | Fault::Expired(reason)
        | Fault::Data(reason)
        | Fault::Passing(_, reason)) = self;
        reason
    }
}

/// Whether a code says that the key of AWS KMS cannot be used. Throttling passes by itself.
fn is_of_key(code: &str) -> bool {
    code.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("KMS")) && class_of(code) != ErrorClass::Throttled
}

/// What kind of failure a code names that passes by itself.
pub(in crate::sink) fn class_of(code: &str) -> ErrorClass {
    match code {
        "LimitExceededException" => ErrorClass::Throttled,
        code if code.contains("Throttl") || code.contains("ThroughputExceeded") => ErrorClass::Throttled,
        _ => ErrorClass::Server,
    }
}

/// The codes of AWS's common errors for a request with unknown credentials, or without the right.
fn is_refusal(status: u16, code: &str) -> bool {
    const CODES: [&str; 13] = [
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ];
    CODES.contains(&code) || code.starts_with("NotAuthorized") || matches!(status, 401 | 403)
}

/// The first line only: the error of a refused signature quotes the request's headers, a session's token among them,
/// from the second line on.
pub(in crate::sink) fn first_line(said: &str) -> String {
    shown(said.lines().next().unwrap_or_default(), SHOWN)
}

/// The error and its causes, from the outside in: the outermost error alone only says where.
fn chain(error: &dyn Error) -> String {
    let mut words = first_line(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        let said = first_line(&said);
        if !words.contains(&said) {
            words = format!("{words}: {said}");
        }
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    static SERVICE: Service = Service {
        name: "Service",
        target: "target",
        variable: "SINK_TARGET",
        action: "service:Write",
        missing: &[],
        data: &[],
        names_target: |_| false,
    };

    #[test]
    fn a_code_of_the_key_is_for_people_unless_it_is_throttling() {
        for (code, is) in [
            ("KMSDisabledException", true),
            ("KmsNotFound", true),
            ("KmsThrottled", false),
            ("KMSThrottlingException", false),
            ("Other", false),
            ("", false),
        ] {
            assert_eq!(is_of_key(code), is, "{code}");
        }
    }

    #[test]
    fn a_secret_in_an_answer_is_not_shown() {
        crate::redact::keep("kinesis-hush-7c1");
        let said = "the key kinesis-hush-7c1 is not known";
        assert_eq!(first_line(said), "the key [redacted] is not known");
        let error = std::io::Error::other(std::io::Error::other(said));
        assert!(!chain(&error).contains("hush"), "{}", chain(&error));
        let target = Target { service: &SERVICE, name: "t", region: "r" };
        let answer = Fault::of_answer(403, "AccessDeniedException", &first_line(said), target);
        assert!(answer.reason().contains("[redacted]") && !answer.reason().contains("hush"), "{answer:?}");
    }

    #[test]
    fn what_an_answer_echoes_of_the_request_is_left_out() {
        let said = "The signature does not match.\n\nThe Canonical String should have been\nx-amz-security-token:hush";
        assert_eq!(first_line(said), "The signature does not match.");
        assert!(first_line(&"ü".repeat(400)).len() <= SHOWN);
        assert_eq!(first_line(""), "");
    }
}
