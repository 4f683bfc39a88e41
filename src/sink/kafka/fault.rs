//! Which failure is which outcome, in words that say what to fix.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;

use crate::{
    redact::{WORDS, shown},
    sink::{ErrorClass, Outcome},
};

/// Why records are not acknowledged. None of this is the fault of a record: see [`blames_record`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    class: ErrorClass,
    reason: String,
}

impl Fault {
    pub(super) fn new(class: ErrorClass, reason: impl Into<String>) -> Self {
        Fault { class, reason: reason.into() }
    }

    /// What the client says about a broker, or about itself. `words` are its own.
    pub(super) fn of_client(code: Code, words: &str) -> Self {
        // How long it took differs each time.
        let words = words.split(" (after ").next().unwrap_or_default();
        let words = shown(words, WORDS);
        let is_about = |what: &str| words.contains(what);
        match code {
            Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => Fault::new(
                ErrorClass::Refused,
                format!(
                    "the brokers refuse the login; correct SINK_KAFKA_USER, SINK_KAFKA_PASSWORD or \
                     SINK_KAFKA_SASL_MECHANISM (the client says: {words})"
                ),
            ),
            Code::SSL => Fault::new(
                ErrorClass::Tls,
                format!(
                    "TLS failed; correct SINK_KAFKA_CA_CERT_PATH, SINK_KAFKA_CLIENT_CERT or the brokers' certificates (the \
                     client says: {words})"
                ),
            ),
            Code::Fatal if is_about("AUTHORIZATION") || is_about("uthorization failed") => Fault::new(
                ErrorClass::Refused,
                format!(
                    "the user may not write; allow it Write on the topic, or IdempotentWrite on the cluster (the client \
                     says: {words})"
                ),
            ),
            Code::Fatal => Fault::new(
                ErrorClass::Server,
                format!("the brokers cannot tell repeats from new records any more; another producer begins ({words})"),
            ),
            // A broker that speaks TLS, or wants a login, closes the connection over what it does not understand.
            _ if is_about("security.protocol") => Fault::new(
                ErrorClass::Connection,
                format!(
                    "the brokers close the connection; check SINK_KAFKA_TLS and SINK_KAFKA_USER (the client says: {words})"
                ),
            ),
            Code::OperationTimedOut => Fault::new(ErrorClass::Timeout, format!("no answer in time: {words}")),
            _ => Fault::new(ErrorClass::Connection, format!("no connection: {words}")),
        }
    }

    /// What an error for a record in this topic means.
    pub(super) fn of_record(code: Code, topic: &str, timeout: Duration) -> Self {
        match code {
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => Fault::new(
                ErrorClass::Refused,
                format!("the topic {topic} does not exist; create it, or correct SINK_KAFKA_TOPIC"),
            ),
            Code::InvalidTopic => Fault::new(
                ErrorClass::Refused,
                format!("the brokers take no topic of the name {topic}; correct SINK_KAFKA_TOPIC"),
            ),
            Code::TopicAuthorizationFailed => Fault::new(
                ErrorClass::Refused,
                format!(
                    "the user may not write to the topic {topic}; allow it Write, or correct SINK_KAFKA_USER or \
                     SINK_KAFKA_TOPIC"
                ),
            ),
            Code::ClusterAuthorizationFailed => Fault::new(
                ErrorClass::Refused,
                "the user may not write; allow it Write on the topic, or IdempotentWrite on the cluster",
            ),
            Code::PolicyViolation => Fault::new(
                ErrorClass::Refused,
                format!(
                    "a policy of the brokers forbids writes to the topic {topic}; correct the policy, or SINK_KAFKA_TOPIC"
                ),
            ),
            Code::UnsupportedCompressionType => Fault::new(
                ErrorClass::Refused,
                format!("the topic {topic} does not take this compression; correct SINK_KAFKA_COMPRESSION"),
            ),
            Code::InvalidTimestamp => Fault::new(
                ErrorClass::Refused,
                format!(
                    "the topic {topic} does not take the time of this machine; set its clock, or the topic's limits"
                ),
            ),
            Code::MessageTimedOut | Code::TimedOutQueue | Code::RequestTimedOut => Fault::new(
                ErrorClass::Timeout,
                format!(
                    "no acknowledgement for the topic {topic} within {timeout:?}; check that its partitions have a leader and \
                     enough replicas in sync (min.insync.replicas)"
                ),
            ),
            Code::ThrottlingQuotaExceeded => {
                Fault::new(ErrorClass::Throttled, "the brokers ask for less: a quota is used up".to_owned())
            }
            Code::QueueFull => Fault::new(ErrorClass::Unsent, "not sent: the client's queue is full"),
            Code::PurgeQueue | Code::PurgeInflight | Code::BrokerDestroy => {
                Fault::new(ErrorClass::Unsent, "not sent: the connections were closed")
            }
            Code::InvalidDifferentRecord => {
                Fault::new(ErrorClass::Unsent, "not stored: the topic refused a record beside it")
            }
            Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
                Fault::new(ErrorClass::Unsent, format!("the topic {topic} does not take so much at once; less is sent"))
            }
            Code::InvalidRecord => {
                Fault::new(ErrorClass::Unsent, format!("the topic {topic} refuses a record among these; less is sent"))
            }
            code => Fault::new(ErrorClass::Server, format!("the brokers answered for the topic {topic}: {code}")),
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome::failed(self.class, &*self.reason)
    }

    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// Whether another fault of the same cause says more.
    pub(super) fn is_vague(&self) -> bool {
        matches!(self.class, ErrorClass::Connection | ErrorClass::Timeout)
    }

    /// Whether only people can fix it.
    pub(super) fn needs_people(&self) -> bool {
        self.class == ErrorClass::Refused
    }
}

/// Why a record that was alone in its request will never be taken; `None` if the error does not say that.
pub(super) fn blames_record(code: Code, topic: &str, bytes: usize) -> Option<String> {
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => Some(format!(
            "too large for the topic {topic} with {bytes} bytes; its max.message.bytes is the most that it takes"
        )),
        Code::InvalidRecord => Some(format!(
            "the topic {topic} refuses it as invalid; a compacted topic needs a key, and some brokers validate schemas"
        )),
        _ => None,
    }
}

/// Whether the producer keeps it in mind, so that another one has to find out whether it still holds.
pub(super) fn lasts(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::Fatal
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_a_record_has_its_class_and_what_to_fix() {
        for (code, class, part) in [
            (Code::UnknownTopic, ErrorClass::Refused, "create it"),
            (Code::UnknownTopicOrPartition, ErrorClass::Refused, "create it"),
            (Code::InvalidTopic, ErrorClass::Refused, "SINK_KAFKA_TOPIC"),
            (Code::TopicAuthorizationFailed, ErrorClass::Refused, "allow it Write"),
            (Code::ClusterAuthorizationFailed, ErrorClass::Refused, "IdempotentWrite"),
            (Code::PolicyViolation, ErrorClass::Refused, "policy"),
            (Code::UnsupportedCompressionType, ErrorClass::Refused, "SINK_KAFKA_COMPRESSION"),
            (Code::InvalidTimestamp, ErrorClass::Refused, "clock"),
            (Code::MessageTimedOut, ErrorClass::Timeout, "within 30s; check"),
            (Code::ThrottlingQuotaExceeded, ErrorClass::Throttled, "quota"),
            (Code::QueueFull, ErrorClass::Unsent, "queue is full"),
            (Code::PurgeInflight, ErrorClass::Unsent, "closed"),
            (Code::InvalidDifferentRecord, ErrorClass::Unsent, "beside it"),
            (Code::MessageSizeTooLarge, ErrorClass::Unsent, "less is sent"),
            (Code::NotEnoughReplicas, ErrorClass::Server, "the brokers answered"),
            (Code::OutOfOrderSequenceNumber, ErrorClass::Server, "the brokers answered"),
        ] {
            let fault = Fault::of_record(code, "nomad", Duration::from_secs(30));
            assert_eq!(fault.class, class, "{code:?}");
            assert!(fault.reason.contains(part), "{code:?}: {}", fault.reason);
        }
    }

    #[test]
    fn only_what_is_wrong_with_a_record_blames_it() {
        for code in [Code::MessageSizeTooLarge, Code::MessageBatchTooLarge, Code::InvalidRecord] {
            assert!(blames_record(code, "nomad", 7).is_some(), "{code:?}");
        }
        for code in
            [Code::UnknownTopic, Code::TopicAuthorizationFailed, Code::MessageTimedOut, Code::InvalidDifferentRecord]
        {
            assert_eq!(blames_record(code, "nomad", 7), None, "{code:?}");
        }
    }

    #[test]
    fn what_the_client_says_names_what_to_fix() {
        for (code, words, class, part) in [
            (Code::Authentication, "k:1: SASL failed", ErrorClass::Refused, "SINK_KAFKA_PASSWORD"),
            (Code::SSL, "k:1: certificate verify failed", ErrorClass::Tls, "SINK_KAFKA_CA_CERT_PATH"),
            (Code::Fatal, "CLUSTER_AUTHORIZATION_FAILED", ErrorClass::Refused, "IdempotentWrite"),
            (Code::Fatal, "sequence number desynchronization", ErrorClass::Server, "another producer begins"),
            (Code::BrokerTransportFailure, "check security.protocol", ErrorClass::Connection, "SINK_KAFKA_TLS"),
            (Code::BrokerTransportFailure, "refused (after 2ms in state CONNECT)", ErrorClass::Connection, ": refused"),
            (Code::Resolve, "no such host", ErrorClass::Connection, "no such host"),
        ] {
            let fault = Fault::of_client(code, words);
            assert_eq!(fault.class, class, "{words}");
            assert!(fault.reason.contains(part) && !fault.reason.contains("2ms"), "{}", fault.reason);
        }
    }
}
