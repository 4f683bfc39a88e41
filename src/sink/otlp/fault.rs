//! What an answer of OTLP means.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;
use reqwest::header::CONTENT_TYPE;

use crate::sink::{
    ErrorClass, Outcome,
    push::{Said, Verdict, usual},
};

/// `google.rpc.Status`, the body of a failure.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

pub(super) fn judge(said: &Said<'_>, records: usize) -> Verdict {
    match said.status.as_u16() {
        200 => {}
        // So say Go and Rust: there is no code of its own for it.
        404 if said.grpc.is_some() && ["Decompressor", "compressed"].iter().any(|words| said.has(words)) => {
            return said.later("it does not take this compression: change SINK_OTLP_COMPRESSION");
        }
        404 if said.grpc.is_some() => {
            return said.later("it takes no logs over gRPC: see SINK_OTLP_ADDRESS and SINK_OTLP_PROTOCOL");
        }
        502 if said.grpc.is_some() => {
            return said.later("that is no answer of OTLP: see SINK_OTLP_ADDRESS and SINK_OTLP_PROTOCOL");
        }
        _ => return with_words(said),
    }
    let Ok(answer) = ExportLogsServiceResponse::decode(said.body) else {
        let address = said.variables.connection.address;
        let reason = said.words_of("", &format!("that is no answer of OTLP: see {address}"));
        return Verdict::retry(ErrorClass::Refused, reason);
    };
    let Some(partial) = answer.partial_success else { return Verdict::Delivered };
    let rejected = usize::try_from(partial.rejected_log_records).unwrap_or_default();
    if rejected == 0 {
        // The server took everything, and has a word to say about it.
        return Verdict::Delivered;
    }
    let reason = said.words_of(&partial.error_message, "it rejected log records");
    if rejected >= records {
        let each = || Outcome::Reject { reason: reason.clone() };
        return Verdict::Each((0..records).map(|_| each()).collect());
    }
    // It does not say which.
    Verdict::Refused { reason, too_large: false }
}

/// A failure, whose words are in a message of their own.
fn with_words(said: &Said<'_>) -> Verdict {
    let is_message =
        said.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-protobuf"));
    match Status::decode(said.body) {
        Ok(Status { message }) if is_message => usual(&Said { body: message.as_bytes(), ..*said }),
        _ => usual(said),
    }
}
