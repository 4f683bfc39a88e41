//! Cuts the chunks of a body into lines.

use std::{collections::VecDeque, fmt};

use bytes::{Buf, Bytes};

/// The longest line that is held, in bytes. A plan of thousands of allocations is some tens of MiB.
pub(super) const MAX_LINE: usize = 256 << 20;

/// A line that is this many times longer counts as endless: Nomad did not send it.
const ENDLESS: u64 = 16;

/// How many bytes are kept of the start and of the end of a line that is not held. Its raft index is in one of them.
const KEPT_HEAD: usize = 64 << 10;
const KEPT_TAIL: usize = 64;

/// Shorter pieces are copied out of their chunk: a chunk's buffer can be hundreds of KiB, and a short line that waits for a
/// sink would keep all of it. Longer pieces share the chunk, which is at most a few times their size.
const COPY_BELOW: usize = 64 << 10;

/// A line that was too long to be held.
#[derive(Clone, PartialEq, Eq)]
pub struct LongLine {
    /// How long it was.
    pub bytes: u64,
    /// How it began.
    pub head: Bytes,
    /// How it ended.
    pub tail: Bytes,
}

impl fmt::Debug for LongLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongLine").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Why the next line cannot be given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unheld {
    /// It was too long. The line after it is the next one.
    TooLong(LongLine),
    /// It does not end.
    Endless {
        /// How long it is so far.
        bytes: u64,
    },
}

/// Joins chunks that were cut anywhere, and gives their lines. It holds the chunks that were pushed and not yet taken, and
/// the unfinished line.
#[derive(Debug)]
pub(super) struct Lines {
    chunks: VecDeque<Bytes>,
    /// The start of an unfinished line. It grows by doubling: the system moves a large block by its page table and never backs
    /// the untouched half, so one line costs about its own size.
    partial: Vec<u8>,
    /// The longest line that is held.
    limit: usize,
    /// The unfinished line, if it is longer than that.
    passing: Option<Passing>,
}

/// A line that is skipped: only its start and its end are held.
#[derive(Debug, Default)]
struct Passing {
    bytes: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Passing {
    fn take(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        let room = KEPT_HEAD.saturating_sub(self.head.len());
        self.head.extend_from_slice(&piece[..piece.len().min(room)]);
        self.tail.extend_from_slice(&piece[piece.len().saturating_sub(KEPT_TAIL)..]);
        self.tail.drain(..self.tail.len().saturating_sub(KEPT_TAIL));
    }

    fn finish(self) -> LongLine {
        LongLine { bytes: self.bytes, head: self.head.into(), tail: without_return(self.tail.into()) }
    }
}

impl Lines {
    /// Gives lines of at most `limit` bytes, and skips longer ones.
    pub(super) fn new(limit: usize) -> Self {
        Lines { chunks: VecDeque::new(), partial: Vec::new(), limit, passing: None }
    }

    /// Adds the next chunk of the body.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    /// How many bytes of the unfinished line have come, including those that were skipped.
    pub(super) fn unfinished(&self) -> usize {
        let passed = self.passing.as_ref().map_or(0, |passing| passing.bytes);
        let held = self.partial.len() + self.chunks.iter().map(Bytes::len).sum::<usize>();
        held.saturating_add(usize::try_from(passed).unwrap_or(usize::MAX))
    }

    /// The next whole line, without its line break (`\n` or `\r\n`); `None` until more chunks are pushed.
    ///
    /// What follows the last line break is never returned: at the end of a body it is half a line.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Unheld> {
        while let Some(chunk) = self.chunks.front_mut() {
            let found = memchr::memchr(b'\n', chunk);
            let more = found.unwrap_or(chunk.len());
            if self.passing.is_none() && self.partial.len() + more > self.limit {
                let mut passing = Passing::default();
                passing.take(&std::mem::take(&mut self.partial));
                self.passing = Some(passing);
            }
            if let Some(passing) = &mut self.passing {
                passing.take(&chunk[..more]);
                if passing.bytes > (self.limit as u64).saturating_mul(ENDLESS) {
                    return Err(Unheld::Endless { bytes: passing.bytes });
                }
            }
            let Some(end) = found else {
                if self.passing.is_none() {
                    self.partial.extend_from_slice(chunk);
                }
                self.chunks.pop_front();
                continue;
            };
            let line = match self.passing.take() {
                Some(passing) => {
                    chunk.advance(end);
                    Err(Unheld::TooLong(passing.finish()))
                }
                None => Ok(Some(without_return(finish(&mut self.partial, chunk, end)))),
            };
            chunk.advance(1);
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
            return line;
        }
        Ok(None)
    }
}

/// Takes `end` bytes from `chunk` and joins them to the start that earlier chunks had.
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

/// Whether `line` is a heartbeat of the server: an empty object, or an empty line.
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
        let mut lines = Lines::new(MAX_LINE);
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
        let mut lines = Lines::new(MAX_LINE);
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
        let mut lines = Lines::new(MAX_LINE);
        lines.push(Bytes::from(chunk));
        let line = lines.next().expect("short").expect("whole");
        assert!(line.is_unique());
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_wherever_it_is_cut() {
        let body = Bytes::from_static(b"{\"a\":1}\n{\"Index\":7,\"x\":\"yyyyyyyyyyyyyyyy\"}\r\n{}\n");
        for step in 1..=body.len() {
            let mut lines = Lines::new(10);
            let mut read = Vec::new();
            for chunk in body.chunks(step) {
                lines.push(Bytes::copy_from_slice(chunk));
                loop {
                    match lines.next() {
                        Ok(None) => break,
                        Ok(Some(line)) => read.push(Ok(line)),
                        Err(Unheld::TooLong(long)) => read.push(Err(long)),
                        Err(endless) => panic!("{endless:?}"),
                    }
                }
            }
            let [Ok(first), Err(long), Ok(last)] = &read[..] else { panic!("{step}: {read:?}") };
            assert_eq!((&first[..], &last[..]), (&b"{\"a\":1}"[..], &b"{}"[..]));
            assert!(long.head.starts_with(b"{\"Index\":7,") && long.tail.ends_with(b"yyy\"}"), "{long:?}");
            assert_eq!((long.bytes, lines.unfinished(), lines.partial.capacity()), (35, 0, 0), "{step}");
        }
    }

    #[test]
    fn of_a_line_that_is_passed_over_the_ends_are_held_and_no_more() {
        let mut lines = Lines::new(1 << 20);
        for _ in 0..12 {
            lines.push(Bytes::from(vec![b'x'; 1 << 20]));
            assert_eq!(lines.next(), Ok(None));
        }
        let passing = lines.passing.as_ref().expect("it is too long");
        assert_eq!((passing.head.len(), passing.tail.len(), lines.partial.capacity()), (KEPT_HEAD, KEPT_TAIL, 0));
        assert_eq!(lines.unfinished(), 12 << 20);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut lines = Lines::new(1 << 10);
        let chunk = Bytes::from(vec![b'x'; 1 << 10]);
        for _ in 0..ENDLESS {
            lines.push(chunk.clone());
            assert_eq!(lines.next(), Ok(None));
        }
        lines.push(chunk);
        assert_eq!(lines.next(), Err(Unheld::Endless { bytes: (ENDLESS + 1) << 10 }));
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
