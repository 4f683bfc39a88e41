//! What passes between the program and the process that runs jq: frames, each with its length in front.
//!
//! A frame is a length of four bytes, little endian, and that many bytes. A part of a frame is the same again; the length
//! [`ABSENT`] says that there is none. Both ends are the same executable, so there is no version.

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// The most bytes of all outputs of a record.
pub(super) const OUTPUT: usize = 16 << 20;

/// The most outputs of a record.
pub(super) const OUTPUTS: usize = 10_000;

/// The most bytes of a frame: more than any record, and far less than memory.
const LARGEST: usize = 1 << 30;

const ABSENT: u32 = u32::MAX;

/// The first frame: what to run.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    /// The process that waits for answers.
    pub(super) parent: i32,
    pub(super) jq: Option<String>,
    pub(super) by: Option<String>,
    pub(super) redact: Vec<String>,
    /// The most bytes of address space.
    pub(super) memory: u64,
}

/// A record, and what belongs to it. All of it is JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Question<'a> {
    /// Whether all answers before this one leave before it begins, and its own at once.
    pub(super) is_careful: bool,
    /// The values of the variables, in their order.
    pub(super) globals: [Option<&'a [u8]>; 4],
    pub(super) body: &'a [u8],
}

/// What became of a record, or of the setup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The worker is ready.
    Ready,
    /// The worker cannot start.
    Unusable(String),
    /// The one output is the record as it came.
    Same {
        /// What the record is gathered by.
        group: Option<String>,
    },
    /// The outputs.
    Outputs {
        /// What the record is gathered by.
        group: Option<String>,
        /// Each is one line of JSON.
        bodies: Vec<Bytes>,
    },
    /// There are none, and never will be.
    Failed(String),
}

/// The bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the jq worker sent something that is no answer")]
pub(super) struct Damaged;

/// Appends the frame of the setup.
pub(super) fn put_setup(out: &mut Vec<u8>, setup: &Setup) {
    let text = serde_json::to_vec(setup).unwrap_or_default();
    framed(out, |out| out.extend_from_slice(&text));
}

/// Appends the frame of a record.
pub(super) fn put_question(out: &mut Vec<u8>, question: &Question<'_>) {
    framed(out, |out| {
        out.push(u8::from(question.is_careful));
        question.globals.iter().for_each(|global| put_part(out, *global));
        out.extend_from_slice(question.body);
    });
}

/// Appends one output to `outputs`.
pub(super) fn put_output<E>(outputs: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let mut result = Ok(());
    framed(outputs, |out| result = write(out));
    result
}

/// Appends the frame of an answer with outputs that [`put_output`] has gathered.
pub(super) fn put_outputs(out: &mut Vec<u8>, group: Option<&str>, outputs: &[u8]) {
    framed(out, |out| {
        out.push(3);
        put_part(out, group.map(str::as_bytes));
        out.extend_from_slice(outputs);
    });
}

/// Appends the frame of an answer.
pub(super) fn put_answer(out: &mut Vec<u8>, answer: &Answer) {
    framed(out, |out| match answer {
        Answer::Ready => out.push(0),
        Answer::Unusable(reason) => {
            out.push(1);
            out.extend_from_slice(reason.as_bytes());
        }
        Answer::Same { group } => {
            out.push(2);
            put_part(out, group.as_deref().map(str::as_bytes));
        }
        Answer::Outputs { group, bodies } => {
            out.push(3);
            put_part(out, group.as_deref().map(str::as_bytes));
            bodies.iter().for_each(|body| put_part(out, Some(body)));
        }
        Answer::Failed(reason) => {
            out.push(4);
            out.extend_from_slice(reason.as_bytes());
        }
    });
}

fn put_part(out: &mut Vec<u8>, part: Option<&[u8]>) {
    let Some(part) = part else { return out.extend_from_slice(&ABSENT.to_le_bytes()) };
    framed(out, |out| out.extend_from_slice(part));
}

/// Writes what `write` appends, with its length in front.
fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(ABSENT - 1);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Reads the next frame into `frame`; `false` at the end, even in the middle of a frame: the other end is gone.
pub(super) fn read(source: &mut impl BufRead, frame: &mut Vec<u8>) -> io::Result<bool> {
    frame.clear();
    let mut length = [0; 4];
    match source.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let length = u64::from(u32::from_le_bytes(length));
    Ok(source.take(length).read_to_end(frame)? as u64 == length)
}

/// Whether `buffer` begins with a whole frame.
pub(super) fn is_whole(buffer: &[u8]) -> bool {
    buffer.first_chunk().is_some_and(|length| buffer.len() - 4 >= u32::from_le_bytes(*length) as usize)
}

/// Reads a setup that [`read`] has read.
pub(super) fn setup(frame: &[u8]) -> Option<Setup> {
    serde_json::from_slice(frame).ok()
}

/// Reads a record that [`read`] has read.
pub(super) fn question(frame: &[u8]) -> Option<Question<'_>> {
    let (flag, mut rest) = frame.split_first()?;
    let mut globals = [None; 4];
    for global in &mut globals {
        let length = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?);
        if length != ABSENT {
            *global = Some(rest.split_off(..length as usize)?);
        }
    }
    Some(Question { is_careful: *flag == 1, globals, body: rest })
}

/// Takes the next answer out of what was received; `None` where it is not whole.
pub(super) fn take_answer(received: &mut BytesMut) -> Result<Option<Answer>, Damaged> {
    let Some(length) = received.first_chunk().map(|length| u32::from_le_bytes(*length) as usize) else {
        return Ok(None);
    };
    if length > LARGEST {
        return Err(Damaged);
    }
    if received.len() - 4 < length {
        received.reserve(length + 4 - received.len());
        return Ok(None);
    }
    received.advance(4);
    answer(&received.split_to(length)).map(Some).ok_or(Damaged)
}

fn answer(frame: &[u8]) -> Option<Answer> {
    let (kind, mut rest) = frame.split_first()?;
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(match kind {
        0 if rest.is_empty() => Answer::Ready,
        1 => Answer::Unusable(words(rest)),
        2 => {
            let group = part(&mut rest)?.map(words);
            return rest.is_empty().then_some(Answer::Same { group });
        }
        3 => {
            let group = part(&mut rest)?.map(words);
            let mut bodies = Vec::new();
            while !rest.is_empty() {
                // A copy: a small output does not keep all that was received with it.
                bodies.push(Bytes::copy_from_slice(part(&mut rest)??));
            }
            Answer::Outputs { group, bodies }
        }
        4 => Answer::Failed(words(rest)),
        _ => return None,
    })
}

/// Reads `bytes` as everything that passes between the two processes, and forgets it. For fuzzing.
#[doc(hidden)]
pub fn take_apart(bytes: &[u8]) {
    drop(setup(bytes));
    drop(answer(bytes));
    let is_question = question(bytes).is_some();
    let mut received = BytesMut::from(bytes);
    while let Ok(Some(_)) = take_answer(&mut received) {}
    debug_assert!(!is_question || !bytes.is_empty());
}

/// The next part of a frame.
fn part<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = u32::from_le_bytes(*rest.split_off(..4)?.first_chunk()?);
    if length == ABSENT {
        return Some(None);
    }
    rest.split_off(..length as usize).map(Some)
}
