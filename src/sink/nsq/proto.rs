//! The frames of the NSQ protocol that a publisher reads and writes. No I/O.
//!
//! <https://nsq.io/clients/tcp_protocol_spec.html>

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;

/// What a client says first.
pub(super) const MAGIC: &[u8] = b"  V2";

/// What answers a heartbeat.
pub(super) const NOP: &[u8] = b"NOP\n";

/// The largest frame that a publisher is sent: the answer to `IDENTIFY`, and errors.
const MAX: usize = 1 << 20;

/// What nsqd sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Heartbeat,
    Response(Bytes),
    /// A code and words: `E_BAD_TOPIC PUB topic name "" is not valid`.
    Error(String),
}

/// What nsqd answers to `IDENTIFY`. Unknown fields are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Identified {
    pub(super) version: String,
    pub(super) tls_v1: bool,
    pub(super) auth_required: bool,
}

/// What came is not the NSQ protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not speak the NSQ protocol: {0}; write the TCP port of nsqd (4150), not its HTTP port")]
pub(super) struct Malformed(pub(super) &'static str);

/// Takes the next frame from the front of `buffer`; `None` until it is whole.
pub(super) fn next(buffer: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    let Some((head, _)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let size = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if !(4..=MAX).contains(&size) {
        return Err(Malformed("a frame of an impossible size"));
    }
    if buffer.len() < 4 + size {
        return Ok(None);
    }
    buffer.advance(4);
    let mut frame = buffer.split_to(size).freeze();
    match frame.get_u32() {
        0 if *frame == *b"_heartbeat_" => Ok(Some(Frame::Heartbeat)),
        0 => Ok(Some(Frame::Response(frame))),
        1 => Ok(Some(Frame::Error(String::from_utf8_lossy(&frame).into_owned()))),
        _ => Err(Malformed("a frame that no publisher is sent")),
    }
}

/// Appends a command with a body: `IDENTIFY`, `AUTH`.
pub(super) fn command(out: &mut Vec<u8>, name: &str, body: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    sized(out, body);
}

/// Appends what publishes these messages. One that is alone goes as `PUB`, which has no limit but that of a message.
pub(super) fn publish<'a>(out: &mut Vec<u8>, topic: &str, messages: impl ExactSizeIterator<Item = &'a [u8]> + Clone) {
    let count = messages.len();
    if let (1, Some(message)) = (count, messages.clone().next()) {
        return command(out, &format!("PUB {topic}"), message);
    }
    out.extend_from_slice(format!("MPUB {topic}\n").as_bytes());
    out.extend_from_slice(&length(body_size(messages.clone().map(<[u8]>::len))));
    out.extend_from_slice(&length(count));
    for message in messages {
        sized(out, message);
    }
}

/// The size of the body of an `MPUB` with messages of these sizes.
pub(super) fn body_size(sizes: impl Iterator<Item = usize>) -> usize {
    sizes.fold(4, |sum, size| sum + 4 + size)
}

fn sized(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(&length(body.len()));
    out.extend_from_slice(body);
}

fn length(size: usize) -> [u8; 4] {
    u32::try_from(size).expect("a batch is far smaller").to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut out = length(4 + data.len()).to_vec();
        out.extend(kind.to_be_bytes());
        out.extend(data);
        out
    }

    fn all(text: &[u8]) -> Result<Vec<Frame>, Malformed> {
        let (mut buffer, mut frames) = (BytesMut::from(text), Vec::new());
        while let Some(frame) = next(&mut buffer)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn what_nsqd_sends_is_understood() {
        let text = [frame(0, b"_heartbeat_"), frame(0, b"OK"), frame(1, b"E_BAD_TOPIC no")].concat();
        let frames = [Frame::Heartbeat, Frame::Response("OK".into()), Frame::Error("E_BAD_TOPIC no".into())];
        assert_eq!(all(&text).expect("frames"), frames);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for text in [b"HTTP/1.1 400 Bad Request\r\n".to_vec(), frame(2, b"message"), vec![0; 4], vec![0, 0, 0, 3, 0]] {
            assert!(all(&text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn commands_are_those_of_the_specification() {
        let (mut one, mut two, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
        publish(&mut one, "t", [&b"ab"[..]].into_iter());
        assert_eq!(one, b"PUB t\n\0\0\0\x02ab");
        publish(&mut two, "t", [&b"ab"[..], b"c"].into_iter());
        assert_eq!(two, b"MPUB t\n\0\0\0\x0f\0\0\0\x02\0\0\0\x02ab\0\0\0\x01c");
        command(&mut nothing, "IDENTIFY", b"{}");
        assert_eq!(nothing, b"IDENTIFY\n\0\0\0\x02{}");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_in_which_pieces_frames_come(cuts in prop::collection::vec(1usize..9, 1..40), data in prop::collection::vec(any::<u8>(), 0..30)) {
            let text = [frame(0, b"OK"), frame(1, &data), frame(0, b"_heartbeat_")].concat();
            let (mut buffer, mut frames, mut rest) = (BytesMut::new(), Vec::new(), &text[..]);
            for cut in cuts.iter().cycle() {
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                buffer.extend_from_slice(piece);
                rest = behind;
                while let Some(frame) = next(&mut buffer).expect("frames") {
                    frames.push(frame);
                }
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(frames, all(&text).expect("frames"));
        }

        #[test]
        fn nothing_breaks_it(bytes in prop::collection::vec(any::<u8>(), 0..60), size in 0u8..70) {
            all(&bytes).ok();
            all(&[&[0, 0, 0, size][..], &bytes].concat()).ok();
        }
    }
}
