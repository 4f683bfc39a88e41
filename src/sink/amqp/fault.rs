//! Why a connection or a channel cannot be used, and what to fix.

use lapin::{
    ErrorKind,
    protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError},
};

use super::{Settings, tls::VARIABLES};
use crate::{
    redact::{WORDS, shown},
    sink::{ErrorClass, Outcome},
    tls::{self, Words},
};

/// Why records were not confirmed. Only [`Fault::TooLarge`] is the fault of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no connection, or it broke.
    Connection(String),
    /// The exchange does not exist.
    Missing(String),
    /// The broker refuses this user, or refuses the user this operation.
    Refused(String),
    /// The broker takes no messages for now.
    Blocked(String),
    /// The broker closed the channel over a message of more than `limit` bytes.
    TooLarge { limit: usize, reason: String },
    /// The channel cannot be used for another reason.
    Channel(String),
    /// The broker did not answer in time.
    Silent(String),
}

impl Fault {
    /// What an error of the client means.
    pub(super) fn of(error: &lapin::Error, settings: &Settings) -> Self {
        let broker = &settings.shown;
        let ErrorKind::ProtocolError(protocol) = error.kind() else {
            return match error.kind() {
                ErrorKind::InvalidChannelState(..) => Fault::Channel(format!("the channel to {broker} is closed")),
                _ => Fault::Connection(match tls::cause(error) {
                    Some(error) => {
                        let Words { why, fix } = tls::words(error, &VARIABLES);
                        format!("TLS with {broker} failed: {why}; {fix}")
                    }
                    None => format!("connection to {broker}: {}", shown(error.to_string(), WORDS)),
                }),
            };
        };
        let words = shown(protocol.get_message().as_str(), WORDS);
        match protocol.kind() {
            AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => Fault::Missing(format!(
                "the exchange does not exist; declare it, or correct SINK_AMQP_EXCHANGE ({broker} says: {words})"
            )),
            AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => Fault::Refused(format!(
                "access refused; correct user and password in SINK_AMQP_CONNECTION, or the user's permissions ({broker} \
                 says: {words})"
            )),
            AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => Fault::Refused(format!(
                "not allowed; correct the virtual host in SINK_AMQP_CONNECTION, or the user's permissions ({broker} says: \
                 {words})"
            )),
            AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => match limit(&words) {
                Some(limit) => Fault::TooLarge { limit, reason: format!("too large for {broker}: {words}") },
                None => Fault::Channel(format!("{broker} closed the channel: {words}")),
            },
            AMQPErrorKind::Soft(_) => Fault::Channel(format!("{broker} closed the channel: {words}")),
            AMQPErrorKind::Hard(_) => Fault::Connection(format!("{broker} closed the connection: {words}")),
        }
    }

    /// Whether the channel alone is lost.
    pub(super) fn spares_connection(&self) -> bool {
        matches!(self, Fault::Missing(_) | Fault::TooLarge { .. } | Fault::Channel(_))
            || matches!(self, Fault::Refused(words) if words.starts_with("access refused"))
    }

    /// Whether another fault of the same cause says more.
    pub(super) fn is_vague(&self) -> bool {
        matches!(self, Fault::Channel(_) | Fault::Connection(_) | Fault::Silent(_))
    }

    /// The outcome of each record that it is about.
    pub(super) fn outcome(&self) -> Outcome {
        let class = match self {
            Fault::Connection(reason) if reason.starts_with("TLS ") => ErrorClass::Tls,
            Fault::Connection(_) => ErrorClass::Connection,
            Fault::Missing(_) | Fault::Refused(_) => ErrorClass::Refused,
            Fault::Blocked(_) => ErrorClass::Throttled,
            // The records that are too large are dead letters; these are the others.
            Fault::TooLarge { .. } => ErrorClass::Unsent,
            Fault::Channel(_) => ErrorClass::Server,
            Fault::Silent(_) => ErrorClass::Timeout,
        };
        Outcome::failed(class, self.reason())
    }

    pub(super) fn reason(&self) -> &str {
        match self {
            Fault::Connection(reason)
            | Fault::Missing(reason)
            | Fault::Refused(reason)
            | Fault::Blocked(reason)
            | Fault::TooLarge { reason, .. }
            | Fault::Channel(reason)
            | Fault::Silent(reason) => reason,
        }
    }
}

/// The most bytes of a message, which RabbitMQ names when it closes a channel over a larger one
/// (`rabbit_channel:check_msg_size`): `message size 20 is larger than configured max size 10`.
fn limit(words: &str) -> Option<usize> {
    if !words.contains("message size") {
        return None;
    }
    let (_, rest) = words.rsplit_once("max size ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_read_from_the_brokers_words() {
        for (words, expected) in [
            ("PRECONDITION_FAILED - message size 20 is larger than configured max size 10", Some(10)),
            ("PRECONDITION_FAILED - message size 20 larger than max size 10", Some(10)),
            ("PRECONDITION_FAILED - message size 20 is larger than configured max size ", None),
            ("PRECONDITION_FAILED - unknown delivery tag 7", None),
        ] {
            assert_eq!(limit(words), expected, "{words}");
        }
    }
}
