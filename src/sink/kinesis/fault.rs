//! What the answers of Kinesis mean.

use crate::sink::aws::Service;
pub(super) use crate::sink::aws::{Fault, class_of, first_line};

pub(super) static SERVICE: Service = Service {
    name: "Kinesis",
    target: "stream",
    variable: "SINK_KINESIS_STREAM_NAME",
    action: "kinesis:PutRecords",
    missing: &["ResourceNotFoundException"],
    data: &["ValidationException", "InvalidArgumentException", "SerializationException"],
    names_target: names_stream,
};

/// Whether Kinesis refuses the name of the stream.
fn names_stream(said: &str) -> bool {
    let said = said.to_ascii_lowercase().replace(' ', "");
    said.contains("streamname") || said.contains("streamarn") || said.contains("streamid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{ErrorClass, aws::Target};

    fn of(status: u16, code: &str, said: &str) -> Fault {
        Fault::of_answer(status, code, said, Target { service: &SERVICE, name: "nomad", region: "eu-west-1" })
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
}
