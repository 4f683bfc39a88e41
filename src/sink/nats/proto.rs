//! The frames of the NATS protocol that a publisher reads and writes. No I/O.
//!
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;

/// The longest line that a server may send. Its `INFO` names the other servers of its cluster.
const MAX_LINE: usize = 256 << 10;

/// The largest message that a server may send: what comes here is acknowledgements.
const MAX_MESSAGE: usize = 1 << 20;

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Info(Box<Info>),
    Message(Message),
    Ping,
    Pong,
    Ok,
    /// Its words, without the quotes.
    Error(String),
}

/// What the server says of itself. Unknown fields are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    pub(super) version: String,
    pub(super) server_name: String,
    pub(super) headers: bool,
    /// The most bytes of a message with its headers. The server's own, and once the client is logged in, its account's.
    pub(super) max_payload: Option<usize>,
    pub(super) tls_required: bool,
    pub(super) nonce: Option<String>,
    /// It is about to stop.
    pub(super) ldm: bool,
}

/// A message to one of our inboxes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) headers: Bytes,
    pub(super) payload: Bytes,
}

impl Message {
    /// The status in the first line of its headers: `NATS/1.0 503`.
    pub(super) fn status(&self) -> Option<u16> {
        let line = self.headers.split(|byte| *byte == b'\r').next()?;
        let status = line.strip_prefix(b"NATS/1.0 ")?.get(..3)?;
        std::str::from_utf8(status).ok()?.parse().ok()
    }
}

/// What came is not the NATS protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not speak the NATS protocol: {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// Takes the next frame from the front of `buffer`; `None` until it is whole.
pub(super) fn next(buffer: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    let Some(end) = memchr::memchr(b'\n', buffer) else {
        return if buffer.len() > MAX_LINE { Err(Malformed("a line without an end")) } else { Ok(None) };
    };
    let line = &buffer[..end];
    let line = std::str::from_utf8(line.strip_suffix(b"\r").unwrap_or(line)).map_err(|_| Malformed("not UTF-8"))?;
    let (word, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim();
    let frame = match word.to_ascii_uppercase().as_str() {
        "MSG" => return message(rest, false).and_then(|head| head.take(buffer, end + 1)),
        "HMSG" => return message(rest, true).and_then(|head| head.take(buffer, end + 1)),
        "INFO" => Frame::Info(Box::new(serde_json::from_str(rest).map_err(|_| Malformed("an INFO that is no JSON"))?)),
        "PING" => Frame::Ping,
        "PONG" => Frame::Pong,
        "+OK" => Frame::Ok,
        "-ERR" => Frame::Error(rest.trim_matches('\'').to_owned()),
        _ => return Err(Malformed("an unknown operation")),
    };
    buffer.advance(end + 1);
    Ok(Some(frame))
}

/// The first line of a message.
struct Head {
    subject: String,
    headers: usize,
    total: usize,
}

fn message(rest: &str, has_headers: bool) -> Result<Head, Malformed> {
    const WRONG: Malformed = Malformed("a message without its size");
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let sizes = if has_headers { 2 } else { 1 };
    // Between subscription and sizes there can be a reply subject.
    if !(2 + sizes..=3 + sizes).contains(&words.len()) {
        return Err(WRONG);
    }
    let size = |text: &str| text.parse::<usize>().map_err(|_| WRONG);
    let total = size(words[words.len() - 1])?;
    let headers = if has_headers { size(words[words.len() - 2])? } else { 0 };
    if headers > total || total > MAX_MESSAGE {
        return Err(Malformed("a message of an impossible size"));
    }
    Ok(Head { subject: words[0].to_owned(), headers, total })
}

impl Head {
    fn take(self, buffer: &mut BytesMut, start: usize) -> Result<Option<Frame>, Malformed> {
        let Head { subject, headers, total } = self;
        if buffer.len() < start + total + 2 {
            return Ok(None);
        }
        buffer.advance(start);
        let mut payload = buffer.split_to(total).freeze();
        if &buffer[..2] != b"\r\n" {
            return Err(Malformed("a message that is longer than it says"));
        }
        buffer.advance(2);
        let headers = payload.split_to(headers);
        Ok(Some(Frame::Message(Message { subject, headers, payload })))
    }
}

/// Appends a message with headers, which end with an empty line.
pub(super) fn publish(out: &mut Vec<u8>, subject: &str, reply: &str, headers: &[u8], body: &[u8]) {
    let head = format!("HPUB {subject} {reply} {} {}\r\n", headers.len(), headers.len() + body.len());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &[u8]) -> Result<Vec<Frame>, Malformed> {
        let (mut buffer, mut frames) = (BytesMut::from(text), Vec::new());
        while let Some(frame) = next(&mut buffer)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn what_a_server_sends_is_understood() {
        let text = b"INFO {\"server_id\":\"N\",\"headers\":true,\"max_payload\":1048576,\"nonce\":\"x\"} \r\n+OK\r\nping\r\nPONG\r\n\
            -ERR 'Authorization Violation'\r\nMSG _INBOX.a.1-2 1 4\r\n{ab}\r\nHMSG i 1 reply 16 18\r\nNATS/1.0 503\r\n\r\nok\r\n";
        let frames = all(text).expect("frames");
        let info = Info { headers: true, max_payload: Some(1 << 20), nonce: Some("x".into()), ..Info::default() };
        assert_eq!(frames[0], Frame::Info(Box::new(info)));
        assert_eq!(frames[1..4], [Frame::Ok, Frame::Ping, Frame::Pong]);
        assert_eq!(frames[4], Frame::Error("Authorization Violation".into()));
        let Frame::Message(message) = &frames[5] else { panic!("{frames:?}") };
        assert_eq!((&*message.subject, &*message.payload, message.status()), ("_INBOX.a.1-2", &b"{ab}"[..], None));
        let Frame::Message(message) = &frames[6] else { panic!("{frames:?}") };
        assert_eq!((&*message.payload, message.status()), (&b"ok"[..], Some(503)));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for text in [
            "HTTP/1.1 400 Bad Request\r\n",
            "INFO no JSON\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1\r\n",
            "MSG a 1 99999999999\r\n",
            "MSG a 1 2\r\nabc\r\n",
            "HMSG a 1 9 8\r\n12345678\r\n",
            "\r\n",
        ] {
            assert!(all(text.as_bytes()).is_err(), "{text}");
        }
        assert!(all(&vec![b'x'; MAX_LINE + 1]).is_err());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_pieces_frames_come(cuts in prop::collection::vec(1usize..9, 1..40), body in prop::collection::vec(any::<u8>(), 0..30)) {
            let mut text = b"PING\r\nMSG a 1 ".to_vec();
            text.extend(format!("{}\r\n", body.len()).bytes());
            text.extend(&body);
            text.extend(b"\r\nHMSG b 2 r 12 12\r\nNATS/1.0 \r\n\r\n\r\nPONG\r\n");
            // The last message has a status line of its own length.
            let whole = all(&text);
            let (mut buffer, mut frames, mut rest, mut error) = (BytesMut::new(), Vec::new(), &text[..], None);
            for cut in cuts.iter().cycle() {
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                buffer.extend_from_slice(piece);
                rest = behind;
                loop {
                    match next(&mut buffer) {
                        Ok(Some(frame)) => frames.push(frame),
                        Ok(None) => break,
                        Err(found) => { error = Some(found); break; }
                    }
                }
                if rest.is_empty() || error.is_some() {
                    break;
                }
            }
            match whole {
                Ok(whole) => prop_assert_eq!(frames, whole),
                Err(_) => prop_assert!(error.is_some()),
            }
        }

        #[test]
        fn nothing_breaks_it(bytes in prop::collection::vec(any::<u8>(), 0..60), word in "(MSG|HMSG|INFO|-ERR) [ 0-9a-z{}]{0,12}\r\n") {
            all(&bytes).ok();
            let mut text = word.into_bytes();
            text.extend(bytes);
            all(&text).ok();
        }
    }
}
