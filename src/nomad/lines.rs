//! Cuts the chunks of a body into lines.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// Longest line, in bytes. A plan of thousands of allocations is some tens of MiB; past this the line is not Nomad's.
pub(super) const MAX_LINE: usize = 256 << 20;

/// Pieces below this are copied out of their chunk: a chunk's buffer can be hundreds of KiB, and a short line held in a
/// sink's window would keep all of it. Pieces from here on share the chunk, which then is at most some times their size.
const COPY_BELOW: usize = 64 << 10;

/// The line passed [`MAX_LINE`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line is longer than {MAX_LINE} bytes")]
pub(super) struct TooLong;

/// Lines out of chunks that were cut anywhere. Holds the chunks pushed and not yet taken, and the unfinished line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    chunks: VecDeque<Bytes>,
    /// The start of a line whose end has not come. Grown by doubling: a large block is moved by its page table and its
    /// untouched half is never backed, so one line costs about its own size.
    partial: Vec<u8>,
}

impl Lines {
    /// Adds the next chunk of the body.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    /// How many bytes are there that no line was made of yet.
    pub(super) fn unfinished(&self) -> usize {
        self.partial.len() + self.chunks.iter().map(Bytes::len).sum::<usize>()
    }

    /// The next whole line, without its line break (`\n` or `\r\n`); `None` until more chunks are pushed.
    ///
    /// What follows the last line break is never given: at the end of a body it is half a line.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        while let Some(chunk) = self.chunks.front_mut() {
            let Some(end) = memchr::memchr(b'\n', chunk) else {
                if self.partial.len() + chunk.len() > MAX_LINE {
                    return Err(TooLong);
                }
                self.partial.extend_from_slice(chunk);
                self.chunks.pop_front();
                continue;
            };
            if self.partial.len() + end > MAX_LINE {
                return Err(TooLong);
            }
            let line = finish(&mut self.partial, chunk, end);
            chunk.advance(1);
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
            return Ok(Some(without_return(line)));
        }
        Ok(None)
    }
}

/// Takes `end` bytes off `chunk` and joins them to what was kept of the chunks before.
pub(super) fn finish(partial: &mut Vec<u8>, chunk: &mut Bytes, end: usize) -> Bytes {
    let last = chunk.split_to(end);
    if partial.is_empty() {
        return if last.len() < COPY_BELOW { Bytes::copy_from_slice(&last) } else { last };
    }
    let mut whole = std::mem::take(partial);
    whole.extend_from_slice(&last);
    whole.shrink_to_fit();
    Bytes::from(whole)
}

fn without_return(mut line: Bytes) -> Bytes {
    if line.ends_with(b"\r") {
        line.truncate(line.len() - 1);
    }
    line
}

/// Whether `line` is the server's sign of life: an empty object, or nothing at all.
pub(super) fn is_heartbeat(line: &[u8]) -> bool {
    let mut bytes = line.iter().filter(|byte| !byte.is_ascii_whitespace());
    match bytes.next() {
        None => true,
        Some(b'{') => bytes.next() == Some(&b'}') && bytes.next().is_none(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
        let mut lines = Lines::default();
        let mut read = Vec::new();
        for chunk in chunks {
            lines.push(chunk);
            while let Some(line) = lines.next().expect("short lines") {
                read.push(line);
            }
        }
        read
    }

    fn expected(body: &[u8]) -> Vec<Bytes> {
        let mut lines: Vec<_> = body
            .split(|byte| *byte == b'\n')
            .map(|line| Bytes::copy_from_slice(line.strip_suffix(b"\r").unwrap_or(line)))
            .collect();
        lines.pop();
        lines
    }

    #[test]
    fn a_body_cut_at_every_byte_gives_the_same_lines() {
        let body = Bytes::from_static(b"{}\n{\"Events\":[1]}\r\n\n{\"Index\":2}\nhalf a li");
        for cut in 0..=body.len() {
            assert_eq!(read([body.slice(..cut), body.slice(cut..)]), expected(&body), "cut at {cut}");
        }
        assert_eq!(read(body.chunks(1).map(Bytes::copy_from_slice)), expected(&body));
    }

    #[test]
    fn a_long_line_is_given_whole_and_keeps_nothing_behind() {
        let mut lines = Lines::default();
        let chunk = Bytes::from(vec![b'x'; 400 << 10]);
        for _ in 0..160 {
            lines.push(chunk.clone());
            assert_eq!(lines.next(), Ok(None));
        }
        lines.push(Bytes::from_static(b"\nshort\n"));
        let line = lines.next().expect("within the bound").expect("its end has come");
        assert_eq!(line.len(), 160 * (400 << 10));
        assert_eq!(lines.partial.capacity(), 0);
        assert_eq!(lines.next(), Ok(Some(Bytes::from_static(b"short"))));
    }

    #[test]
    fn a_short_line_does_not_keep_its_chunk() {
        let mut chunk = vec![b' '; 1 << 20];
        chunk[10] = b'\n';
        let mut lines = Lines::default();
        lines.push(Bytes::from(chunk));
        let line = lines.next().expect("short").expect("whole");
        assert!(line.is_unique());
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::default();
        let chunk = Bytes::from(vec![b'x'; 64 << 20]);
        for _ in 0..4 {
            lines.push(chunk.clone());
            assert_eq!(lines.next(), Ok(None));
        }
        lines.push(Bytes::from_static(b"x"));
        assert_eq!(lines.next(), Err(TooLong));
    }

    #[test]
    fn heartbeats_are_known_by_their_content() {
        for line in ["{}", " { }\t", "", "{}\r", "{\t}"] {
            assert!(is_heartbeat(line.as_bytes()), "{line:?}");
        }
        for line in ["{", "{}x", "{} {}", "{\"Index\":1}", "[]", "}{"] {
            assert!(!is_heartbeat(line.as_bytes()), "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn any_cuts_give_the_same_lines(
            body in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'{'), any::<u8>()], 0..400),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        ) {
            let body = Bytes::from(body);
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            at.extend([0, body.len()]);
            at.sort_unstable();
            let chunks = at.windows(2).map(|pair| body.slice(pair[0]..pair[1]));
            prop_assert_eq!(read(chunks), expected(&body));
        }
    }
}
