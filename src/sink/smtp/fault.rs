//! What a failure means for the mail.

use std::{error::Error as _, time::Duration};

use lettre::transport::smtp::{Error, response::Code};

use super::wire::Step;
use crate::{
    redact::shown,
    sink::{ErrorClass, Outcome},
    tls::{self, Variables},
};

/// How many bytes of the server's own words go into a reason.
const QUOTED: usize = 300;

static VARIABLES: Variables = Variables {
    role: "sink",
    ca_cert: "SINK_SMTP_CACERT",
    ca_path: "",
    client_cert: "",
    client_key: "",
    server_name: "",
    usual_name: "",
};

/// The server's answer, or what happened to the connection.
pub(super) fn judge(error: &Error, step: Step, server: &str) -> Outcome {
    if let Some(cause) = tls::cause(error) {
        let words = tls::words(cause, &VARIABLES);
        return Outcome::failed(ErrorClass::Tls, format!("TLS with {server} failed: {}; {}", words.why, words.fix));
    }
    let text = shown(causes(error), QUOTED);
    match error.status() {
        Some(code) if error.is_permanent() => refused(code, step, &format!("{server} answered {text}")),
        Some(_) => Outcome::failed(ErrorClass::Server, format!("{server} answered {text}")),
        None => Outcome::failed(ErrorClass::Connection, format!("{} {server}: {text}{}", doing(step), fix(step))),
    }
}

/// No answer came in time.
pub(super) fn late(timeout: Duration, step: Step, server: &str) -> Outcome {
    let fate = if step == Step::Body { "; the mail may have arrived" } else { "" };
    Outcome::failed(
        ErrorClass::Timeout,
        format!("{} {server}: no answer within {timeout:?} (SINK_SMTP_TIMEOUT){fate}", doing(step)),
    )
}

/// A refusal for good is about the mail only if it comes after the addresses.
fn refused(code: Code, step: Step, answer: &str) -> Outcome {
    // 530: the server wants a login. 534, 535 and 538: it does not take this one.
    let is_login = matches!(code.to_string().as_str(), "530" | "534" | "535" | "538");
    let fix = match step {
        Step::Data | Step::Body if !is_login => return Outcome::Reject { reason: answer.to_owned() },
        _ if is_login || step == Step::Login => {
            "set SINK_SMTP_USERNAME and SINK_SMTP_PASSWORD to a login that the server accepts"
        }
        Step::Sender => "set SINK_SMTP_FROM to a sender that the server accepts",
        Step::Recipient => "set SINK_SMTP_TO to recipients that the server accepts",
        Step::Starttls => "see SINK_SMTP_TLS",
        _ => "see SINK_SMTP_HOST and SINK_SMTP_PORT",
    };
    Outcome::failed(ErrorClass::Refused, format!("{answer}; {fix}"))
}

const fn doing(step: Step) -> &'static str {
    match step {
        Step::Connect => "connect to",
        Step::Starttls => "change to TLS with",
        Step::Login => "log in at",
        Step::Sender | Step::Recipient | Step::Data | Step::Body => "send to",
    }
}

const fn fix(step: Step) -> &'static str {
    match step {
        Step::Connect => "; see SINK_SMTP_HOST, SINK_SMTP_PORT and SINK_SMTP_TLS",
        Step::Starttls => "; see SINK_SMTP_TLS",
        Step::Login => "; see SINK_SMTP_USERNAME",
        Step::Body => "; the mail may have arrived",
        Step::Sender | Step::Recipient | Step::Data => "",
    }
}

/// The error with its causes, each once.
fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use lettre::transport::smtp::response::{Category, Detail, Severity};

    use super::*;

    fn judged(code: [u8; 2], step: Step) -> Outcome {
        let category = if code[0] == 3 { Category::Unspecified3 } else { Category::MailSystem };
        let details = [Detail::Zero, Detail::One, Detail::Two, Detail::Three, Detail::Four, Detail::Five];
        let code = Code::new(Severity::PermanentNegativeCompletion, category, details[usize::from(code[1])]);
        refused(code, step, "smtp.example.com:25 answered no")
    }

    #[test]
    fn only_the_mail_itself_is_rejected() {
        for (code, step, part) in [
            ([5, 4], Step::Connect, "SINK_SMTP_HOST"),
            ([5, 4], Step::Starttls, "SINK_SMTP_TLS"),
            ([3, 5], Step::Login, "SINK_SMTP_USERNAME"),
            ([3, 0], Step::Sender, "SINK_SMTP_USERNAME"),
            ([5, 0], Step::Sender, "SINK_SMTP_FROM"),
            ([5, 0], Step::Recipient, "SINK_SMTP_TO"),
            ([3, 0], Step::Data, "SINK_SMTP_USERNAME"),
        ] {
            let Outcome::Retry { reason, refusal: None, .. } = judged(code, step) else { panic!("{step:?}") };
            assert!(reason.starts_with("smtp.example.com:25 answered no; ") && reason.contains(part), "{reason}");
        }
        for step in [Step::Data, Step::Body] {
            assert!(matches!(judged([5, 2], step), Outcome::Reject { reason } if reason.contains("answered no")));
        }
    }

    #[test]
    fn a_mail_that_may_have_arrived_is_said_to() {
        for (step, may) in [(Step::Connect, false), (Step::Data, false), (Step::Body, true)] {
            let Outcome::Retry { reason, .. } = late(Duration::from_secs(3), step, "a:25") else { panic!("{step:?}") };
            assert!(
                reason.contains("3s (SINK_SMTP_TIMEOUT)") && reason.contains("may have arrived") == may,
                "{reason}"
            );
        }
    }
}
