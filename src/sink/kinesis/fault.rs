//! Why a call failed, and what to fix.

use std::error::Error;

use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

use crate::{
    redact::shown,
    sink::{ErrorClass, Outcome},
};

/// How many bytes of an answer are shown.
const SHOWN: usize = 300;

/// Why none of a call's records is known to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The stream does not exist.
    Missing(String),
    /// The credentials lack the right, or a setting is missing or wrong, such as the credentials or the region.
    Refused(String),
    /// The credentials have expired: the same chain can give new ones.
    Expired(String),
    /// Kinesis refuses something in the call as data.
    Data(String),
    /// Too much at a time, an outage, no answer.
    Passing(ErrorClass, String),
}

impl Fault {
    /// What an error of the client means. `region` is where it was sent.
    pub(super) fn of<E>(error: &SdkError<E>, stream: &str, region: &str) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                let code = answer.err().code().unwrap_or_default();
                let said = first_line(answer.err().message().unwrap_or_default());
                Fault::of_answer(answer.raw().status().as_u16(), code, &said, stream, region)
            }
            SdkError::TimeoutError(_) => {
                Fault::Passing(ErrorClass::Timeout, format!("no answer from Kinesis in {region} in time"))
            }
            other => {
                let words = chain(other);
                if words.contains("credential") {
                    return Fault::Refused(format!(
                        "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of \
                         the machine, the container or the web identity ({words})"
                    ));
                }
                Fault::Passing(ErrorClass::Connection, format!("no answer from Kinesis in {region}: {words}"))
            }
        }
    }

    /// The fault of an answer that is not a success. `said` is its message, without echoes of the request.
    fn of_answer(status: u16, code: &str, said: &str, stream: &str, region: &str) -> Self {
        let name = if code.is_empty() { format!("status {status}") } else { code.to_owned() };
        let answer = if said.is_empty() { name } else { format!("{name}: {said}") };
        match code {
            "ResourceNotFoundException" => Fault::Missing(format!(
                "the stream {stream} does not exist in {region}; create it, or correct SINK_KINESIS_STREAM_NAME or \
                 AWS_REGION ({answer})"
            )),
            "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
                Fault::Expired(format!("the credentials have expired ({answer})"))
            }
            "ValidationException" | "InvalidArgumentException" | "SerializationException" if !names_stream(said) => {
                Fault::Data(answer)
            }
            "ValidationException" | "InvalidArgumentException" => Fault::Refused(format!(
                "the stream is not named as it should be; correct SINK_KINESIS_STREAM_NAME ({answer})"
            )),
            code if code.starts_with("KMS") && code != "KMSThrottlingException" => Fault::Refused(format!(
                "the key that encrypts the stream cannot be used; fix it or the right to it ({answer})"
            )),
            _ if is_refusal(status, code) => Fault::Refused(format!(
                "access to the stream {stream} in {region} is refused; correct the credentials, or allow \
                 kinesis:PutRecords ({answer})"
            )),
            _ if status == 413 => Fault::Data(answer),
            _ => Fault::Passing(class_of(code), format!("Kinesis in {region} answered {answer}")),
        }
    }

    /// Whether only people can fix it.
    pub(super) fn needs_people(&self) -> bool {
        matches!(self, Fault::Missing(_) | Fault::Refused(_))
    }

    /// Whether other credentials could help. The chain may have new ones by now.
    pub(super) fn wants_other_credentials(&self) -> bool {
        matches!(self, Fault::Refused(_) | Fault::Expired(_))
    }

    /// The outcome of each record that it is about.
    pub(super) fn outcome(&self) -> Outcome {
        let class = match self {
            Fault::Missing(_) | Fault::Refused(_) | Fault::Expired(_) => ErrorClass::Refused,
            Fault::Data(_) => ErrorClass::Rejected,
            Fault::Passing(class, _) => *class,
        };
        Outcome::failed(class, self.reason())
    }

    pub(super) fn reason(&self) -> &str {
        let (Fault::Missing(reason)
        | Fault::Refused(reason)
        | Fault::Expired(reason)
        | Fault::Data(reason)
        | Fault::Passing(_, reason)) = self;
        reason
    }
}

/// What kind of failure a code names that passes by itself.
pub(super) fn class_of(code: &str) -> ErrorClass {
    match code {
        "LimitExceededException" => ErrorClass::Throttled,
        code if code.contains("Throttling") || code.contains("ThroughputExceeded") => ErrorClass::Throttled,
        _ => ErrorClass::Server,
    }
}

/// The codes of AWS's common errors for a request with unknown credentials, or without the right.
fn is_refusal(status: u16, code: &str) -> bool {
    const CODES: [&str; 12] = [
        "AccessDenied",
        "AccessDeniedException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ];
    CODES.contains(&code) || matches!(status, 401 | 403)
}

/// Whether Kinesis refuses the name of the stream. No record is guilty of that.
fn names_stream(said: &str) -> bool {
    let said = said.to_ascii_lowercase().replace(' ', "");
    said.contains("streamname") || said.contains("streamarn") || said.contains("streamid")
}

/// The first line only: the error of a refused signature quotes the request's headers, a session's token among them,
/// from the second line on.
pub(super) fn first_line(said: &str) -> String {
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

    fn of(status: u16, code: &str, said: &str) -> Fault {
        Fault::of_answer(status, code, said, "nomad", "eu-west-1")
    }

    #[test]
    fn every_answer_has_its_class() {
        type Is = fn(&Fault) -> bool;
        let (missing, refused, expired, data, passing): (Is, Is, Is, Is, Is) = (
            |fault| matches!(fault, Fault::Missing(_)),
            |fault| matches!(fault, Fault::Refused(_)),
            |fault| matches!(fault, Fault::Expired(_)),
            |fault| matches!(fault, Fault::Data(_)),
            |fault| matches!(fault, Fault::Passing(..)),
        );
        for (status, code, said, is) in [
            (400, "ResourceNotFoundException", "Stream nomad under account 1 not found.", missing),
            (400, "AccessDeniedException", "User is not authorized", refused),
            (400, "UnrecognizedClientException", "The security token included in the request is invalid.", refused),
            (403, "", "", refused),
            (400, "KMSDisabledException", "", refused),
            (400, "KMSThrottlingException", "", passing),
            (400, "ExpiredTokenException", "The security token included in the request is expired", expired),
            (400, "ValidationException", "Value at 'records.7.member.partitionKey' failed", data),
            (400, "ValidationException", "Value 'a b' at 'streamName' failed to satisfy", refused),
            (400, "InvalidArgumentException", "Stream ARN does not match", refused),
            (400, "SerializationException", "", data),
            (413, "", "", data),
            (400, "ProvisionedThroughputExceededException", "Rate exceeded", passing),
            (400, "LimitExceededException", "", passing),
            (400, "ThrottlingException", "", passing),
            (500, "InternalFailure", "", passing),
            (503, "", "", passing),
        ] {
            let fault = of(status, code, said);
            assert!(is(&fault), "{status} {code} {said}: {fault:?}");
            assert!(fault.reason().contains(said), "{fault:?}");
        }
    }

    #[test]
    fn what_passes_by_itself_is_throttling_or_a_fault_of_the_server() {
        for (code, class) in [
            ("ProvisionedThroughputExceededException", "throttled"),
            ("ThrottlingException", "throttled"),
            ("KMSThrottlingException", "throttled"),
            ("LimitExceededException", "throttled"),
            ("InternalFailure", "server"),
            ("", "server"),
        ] {
            assert_eq!(class_of(code).name(), class, "{code}");
        }
        let refused = of(403, "AccessDeniedException", "").outcome().class();
        assert_eq!(refused, Some(ErrorClass::Refused));
    }

    #[test]
    fn a_secret_in_an_answer_is_not_shown() {
        crate::redact::keep("kinesis-hush-7c1");
        let said = "the key kinesis-hush-7c1 is not known";
        assert_eq!(first_line(said), "the key [redacted] is not known");
        let error = std::io::Error::other(std::io::Error::other(said));
        assert!(!chain(&error).contains("hush"), "{}", chain(&error));
        let answer = of(403, "AccessDeniedException", &first_line(said));
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
