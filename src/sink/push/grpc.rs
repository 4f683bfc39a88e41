//! Calls of gRPC with one message there and one back, over HTTP/2
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
//!
//! That is a POST whose body is the message with five bytes before it. The answer's status is in its trailers, or in its headers if it has
//! nothing else.

use std::time::Duration;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{BufMut as _, Bytes, BytesMut};
use percent_encoding::percent_decode;
use prost::Message;
use reqwest::{StatusCode, header::HeaderMap};

use super::answer::Answer;

/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The statuses by their numbers: what gRPC calls them, and the status of HTTP that says the same to [`usual`](super::usual). None of
/// those that OTLP calls retryable is a refusal there
/// (<https://opentelemetry.io/docs/specs/otlp/#failures>).
const STATUSES: [(&str, StatusCode); 17] = [
    ("OK", StatusCode::OK),
    ("CANCELLED", StatusCode::SERVICE_UNAVAILABLE),
    ("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR),
    ("INVALID_ARGUMENT", StatusCode::BAD_REQUEST),
    ("DEADLINE_EXCEEDED", StatusCode::GATEWAY_TIMEOUT),
    ("NOT_FOUND", StatusCode::NOT_FOUND),
    ("ALREADY_EXISTS", StatusCode::CONFLICT),
    ("PERMISSION_DENIED", StatusCode::FORBIDDEN),
    ("RESOURCE_EXHAUSTED", StatusCode::TOO_MANY_REQUESTS),
    ("FAILED_PRECONDITION", StatusCode::INTERNAL_SERVER_ERROR),
    ("ABORTED", StatusCode::SERVICE_UNAVAILABLE),
    ("OUT_OF_RANGE", StatusCode::SERVICE_UNAVAILABLE),
    ("UNIMPLEMENTED", StatusCode::NOT_FOUND),
    ("INTERNAL", StatusCode::INTERNAL_SERVER_ERROR),
    ("UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE),
    ("DATA_LOSS", StatusCode::SERVICE_UNAVAILABLE),
    ("UNAUTHENTICATED", StatusCode::UNAUTHORIZED),
];

/// What the libraries of Go and C++, Java, .NET and Rust say of a message that is larger than the server's limit. The last of them says so
/// with `OUT_OF_RANGE`, the others with `RESOURCE_EXHAUSTED`, which servers say of a quota too.
const TOO_LARGE: [&str; 4] =
    ["larger than max", "exceeds maximum size", "exceeds the maximum configured", "message length too large"];

/// Some libraries end what is in Base64 with padding, others without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `google.rpc.Status`, as far as it is read.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The body of a call with this message.
pub(super) fn framed(message: &Bytes, is_compressed: bool) -> Bytes {
    let mut body = BytesMut::with_capacity(PREFIX + message.len());
    body.put_u8(is_compressed.into());
    body.put_u32(u32::try_from(message.len()).expect("a batch is far smaller than 4 GiB"));
    body.put_slice(message);
    body.freeze()
}

/// The answer to a call. Its body is the message if the status is good, and otherwise the server's words.
pub(super) fn opened(headers: HeaderMap, trailers: HeaderMap, body: Bytes) -> Answer {
    let header = |name| trailers.get(name).or_else(|| headers.get(name)).map(|value| value.as_bytes());
    let number = header("grpc-status").and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<usize>().ok());
    let Some(number) = number else {
        // Another server, or one that gave up in the middle.
        let (grpc, body) = (Some("without a status of gRPC"), Bytes::new());
        return Answer { status: StatusCode::BAD_GATEWAY, headers, body, grpc, after: None };
    };
    let (name, status) = STATUSES.get(number).copied().unwrap_or(STATUSES[2]);
    let words: Bytes = percent_decode(header("grpc-message").unwrap_or_default()).collect();
    let after = header("grpc-status-details-bin").and_then(retry_delay);
    let (status, body) = match status {
        StatusCode::OK => (status, message(&body)),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE if after.is_none() && is_too_large(&words) => {
            (StatusCode::PAYLOAD_TOO_LARGE, words)
        }
        _ => (status, words),
    };
    Answer { status, headers, body, grpc: Some(name), after }
}

/// The one message of a body; what is there instead if it is none, which then cannot be decoded.
fn message(body: &Bytes) -> Bytes {
    match body.split_first_chunk::<PREFIX>() {
        Some(([0, length @ ..], message)) if message.len() == u32::from_be_bytes(*length) as usize => {
            body.slice(PREFIX..)
        }
        _ => body.clone(),
    }
}

fn is_too_large(words: &[u8]) -> bool {
    let words = words.to_ascii_lowercase();
    TOO_LARGE.iter().any(|text| memchr::memmem::find(&words, text.as_bytes()).is_some())
}

/// What the server asks for in the details of a status.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = Status::decode(&*BASE64.decode(details).ok()?).ok()?;
    let info = status.details.into_iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value).ok()?.retry_delay?;
    let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
    // As a sum, because nanoseconds of more than a second would panic.
    Duration::from_secs(seconds).checked_add(Duration::from_nanos(nanos.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(headers: &[(&'static str, &str)], trailers: &[(&'static str, &str)], body: &'static [u8]) -> Answer {
        let map = |pairs: &[(&'static str, &str)]| {
            pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
        };
        opened(map(headers), map(trailers), Bytes::from_static(body))
    }

    #[test]
    fn a_message_comes_out_of_its_frame() {
        let framed = framed(&Bytes::from_static(b"abc"), true);
        assert_eq!(&framed[..], b"\x01\0\0\0\x03abc");
        let answer = answered(&[], &[("grpc-status", "0")], b"\0\0\0\0\x03abc");
        assert_eq!((answer.status, &answer.body[..], answer.grpc), (StatusCode::OK, &b"abc"[..], Some("OK")));
        // Compressed, cut, or with something behind it.
        for body in [&b"\x01\0\0\0\x03abc"[..], b"\0\0\0\0\x03ab", b"\0\0\0\0\x03abcd", b"\0\0"] {
            let answer = answered(&[], &[("grpc-status", "0")], body);
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, body));
        }
    }

    #[test]
    fn a_status_comes_behind_the_body_or_without_one() {
        let words = [("grpc-status", "14"), ("grpc-message", "try%20later%E2%80%A6")];
        for answer in [answered(&words, &[], b""), answered(&[], &words, b"")] {
            assert_eq!((answer.status.as_u16(), answer.grpc), (503, Some("UNAVAILABLE")));
            assert_eq!(answer.body, "try later…");
        }
        assert_eq!(answered(&[], &[("grpc-status", "99")], b"").grpc, Some("UNKNOWN"));
        assert_eq!(answered(&[], &[("grpc-status", "x")], b"").status.as_u16(), 502);
        assert_eq!(answered(&[], &[], b"\0\0\0\0\0").status.as_u16(), 502);
    }

    #[test]
    fn the_server_says_when_to_come_again() {
        let any = |type_url: &str, value: Vec<u8>| Any { type_url: type_url.to_owned(), value: value.into() };
        let encoded = |seconds, nanos| {
            let info = RetryInfo { retry_delay: Some(Delay { seconds, nanos }) }.encode_to_vec();
            let details =
                vec![any("type.googleapis.com/other", vec![1]), any("type.googleapis.com/google.rpc.RetryInfo", info)];
            BASE64.encode(Status { details }.encode_to_vec())
        };
        let after = |text: &str| answered(&[], &[("grpc-status", "8"), ("grpc-status-details-bin", text)], b"").after;
        let padded = encoded(2, 500_000_000);
        let wanted = Some(Duration::from_millis(2500));
        assert_eq!((after(&padded), after(padded.trim_end_matches('='))), (wanted, wanted));
        for nonsense in [&encoded(-1, 0), &encoded(i64::MAX, i32::MIN), "?", "AAAA"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
        assert_eq!(after(&encoded(1, i32::MAX)), Some(Duration::from_nanos(1_000_000_000 + 2_147_483_647)));
    }

    /// One status of gRPC is for a quota and for a message that will never fit.
    #[test]
    fn a_message_that_is_too_large_is_no_quota() {
        for (number, words, status) in [
            ("8", "grpc: received message larger than max (9 vs. 4)", 413),
            ("8", "gRPC message exceeds maximum size 4: 9", 413),
            ("8", "Received message exceeds the maximum configured message size.", 413),
            ("11", "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes", 413),
            ("8", "quota", 429),
            ("11", "behind the end", 503),
        ] {
            let answer = answered(&[], &[("grpc-status", number), ("grpc-message", words)], b"");
            assert_eq!(answer.status.as_u16(), status, "{words}");
        }
    }
}
