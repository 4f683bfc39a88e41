//! The classes of a sink's failures: the label `class` of `nomad_firehose_sink_errors_total`.

/// What kind of failure it is. There are few of them, whatever a far side answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorClass {
    /// There is no connection, or it broke.
    Connection,
    /// No answer came in time.
    Timeout,
    /// No secure connection could be made.
    Tls,
    /// The far side asks for less.
    Throttled,
    /// The far side does not accept the credentials or the target: people have to fix that.
    Refused,
    /// The far side fails.
    Server,
    /// The far side will never take the record.
    Rejected,
    /// The failure is on this machine: a file, a full disk.
    Local,
    /// Anything else.
    #[default]
    Other,
    /// The record was not sent: the sink did not fail, or has failed with an earlier record.
    Unsent,
}

impl ErrorClass {
    /// All classes of failures.
    pub const ALL: [ErrorClass; 9] = [
        ErrorClass::Connection,
        ErrorClass::Timeout,
        ErrorClass::Tls,
        ErrorClass::Throttled,
        ErrorClass::Refused,
        ErrorClass::Server,
        ErrorClass::Rejected,
        ErrorClass::Local,
        ErrorClass::Other,
    ];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorClass::Connection => "connection",
            ErrorClass::Timeout => "timeout",
            ErrorClass::Tls => "tls",
            ErrorClass::Throttled => "throttled",
            ErrorClass::Refused => "refused",
            ErrorClass::Server => "server",
            ErrorClass::Rejected => "rejected",
            ErrorClass::Local => "local",
            ErrorClass::Other => "other",
            ErrorClass::Unsent => "unsent",
        }
    }

    /// What an HTTP status that is not 2xx says.
    pub(super) const fn of_status(status: u16) -> Self {
        match status {
            408 | 504 => ErrorClass::Timeout,
            429 => ErrorClass::Throttled,
            500..600 => ErrorClass::Server,
            300..500 => ErrorClass::Refused,
            _ => ErrorClass::Other,
        }
    }

    /// Why a request had no answer.
    pub(super) fn of_transport(error: &reqwest::Error) -> Self {
        if crate::tls::cause(error).is_some() {
            ErrorClass::Tls
        } else if error.is_timeout() {
            ErrorClass::Timeout
        } else {
            ErrorClass::Connection
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_of_the_few_classes() {
        for (status, class) in [
            (301, "refused"),
            (401, "refused"),
            (403, "refused"),
            (404, "refused"),
            (408, "timeout"),
            (429, "throttled"),
            (500, "server"),
            (503, "server"),
            (504, "timeout"),
            (999, "other"),
        ] {
            assert_eq!(ErrorClass::of_status(status).name(), class, "{status}");
        }
        for status in 0..=u16::MAX {
            assert!(ErrorClass::ALL.contains(&ErrorClass::of_status(status)));
        }
    }
}
