//! Cuts the chunks of a JSON array into its elements, without parsing them.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::json::nest::Nest;

/// The largest element that is held, in bytes. The largest real one is an allocation or a job of some MiB.
pub(super) const MAX_ELEMENT: usize = 256 << 20;

/// How many bytes are kept of a larger element: its name is among them.
const KEPT_HEAD: usize = 64 << 10;

/// The body is not a whole JSON array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// A byte that is not allowed at its place.
    #[error("not a JSON array: unexpected byte 0x{byte:02x} {place}")]
    Unexpected {
        /// The byte.
        byte: u8,
        /// Where the splitter was.
        place: &'static str,
    },
    /// The body ended before the array did.
    #[error("the JSON array ends in the middle")]
    Truncated,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the opening bracket.
    Start,
    /// After the opening bracket: an element or the end.
    First,
    /// After a comma: an element.
    Comma,
    /// In an object or an array.
    Nested(Nest),
    /// In a string.
    Text(Text),
    /// In a number, `true`, `false` or `null`.
    Word,
    /// After an element: a comma or the end.
    After,
    /// That many bytes of a `null` instead of an array: Go writes an empty list like that when it never filled it.
    Null(u8),
    /// After the closing bracket: only white space.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    Plain,
    Escape,
}

/// The elements of one top-level array out of chunks that were cut anywhere.
///
/// Of an element that is too large, only the start is given, with a note of its size. No parser takes that for a whole
/// element, so it becomes a dead letter, and the elements after it still come.
///
/// It holds the chunks that were pushed and not yet taken, and the unfinished element. It checks the shape of the array and
/// finds the end of each element. The parser of an element checks what is inside.
#[derive(Debug)]
pub(super) struct Elements {
    chunks: VecDeque<Bytes>,
    partial: Partial,
    state: State,
    /// Bytes at the front chunk's start that were scanned as part of the element being read.
    scanned: usize,
}

impl Default for Elements {
    fn default() -> Self {
        Elements::new(MAX_ELEMENT)
    }
}

/// The pieces of an element that came before its last one.
#[derive(Debug)]
struct Partial {
    /// Its memory is used again once the previous element is gone.
    held: BytesMut,
    /// How many bytes of a too large element are not held.
    dropped: Option<u64>,
    /// The largest element that is held.
    limit: usize,
}

impl Partial {
    /// A piece that is not the last one.
    fn take(&mut self, piece: &[u8]) {
        if self.dropped.is_none() && self.held.len() + piece.len() <= self.limit {
            return self.held.extend_from_slice(piece);
        }
        if self.dropped.is_none() {
            let head = BytesMut::from(&self.held[..self.held.len().min(KEPT_HEAD)]);
            self.dropped = Some((self.held.len() - head.len()) as u64);
            self.held = head;
        }
        let kept = piece.len().min(KEPT_HEAD.saturating_sub(self.held.len()));
        self.held.extend_from_slice(&piece[..kept]);
        self.dropped = self.dropped.map(|dropped| dropped + (piece.len() - kept) as u64);
    }

    /// The whole element, whose last piece this is.
    fn finish(&mut self, last: Bytes) -> Bytes {
        /// The memory that is kept for the next elements.
        const KEPT: usize = 1 << 20;
        let is_held = self.dropped.is_none() && self.held.len() + last.len() <= self.limit;
        if is_held && self.held.is_empty() {
            return last;
        }
        self.take(&last);
        if let Some(dropped) = self.dropped.take() {
            let note = format!("\n… too large: {dropped} more bytes were not read");
            self.held.extend_from_slice(note.as_bytes());
        }
        let whole = self.held.split().freeze();
        if whole.len() > KEPT {
            self.held = BytesMut::new();
        }
        whole
    }
}

impl Elements {
    /// Elements of at most `limit` bytes.
    fn new(limit: usize) -> Self {
        let partial = Partial { held: BytesMut::new(), dropped: None, limit };
        Elements { chunks: VecDeque::new(), partial, state: State::Start, scanned: 0 }
    }

    /// Adds the next chunk of the body.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.chunks.push_back(chunk);
        }
    }

    /// The next whole element, which usually shares the memory of its chunk. `None` until more chunks are pushed, and at the
    /// end.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        while let Some(chunk) = self.chunks.front_mut() {
            let within = matches!(self.state, State::Nested(_) | State::Text(_) | State::Word);
            let found = if within { scan(&mut self.state, chunk, &mut self.scanned) } else { None };
            if let Some(end) = found {
                self.scanned = 0;
                return Ok(Some(self.partial.finish(chunk.split_to(end))));
            }
            if within {
                self.partial.take(chunk);
                self.scanned = 0;
                self.chunks.pop_front();
                continue;
            }
            let Some(blank) = chunk.iter().position(|byte| !is_blank(*byte)) else {
                self.chunks.pop_front();
                continue;
            };
            chunk.advance(blank);
            let byte = chunk[0];
            self.state = between(self.state, byte)?;
            match self.state {
                // The element's first byte belongs to it.
                State::Nested(_) | State::Text(_) => self.scanned = 1,
                State::Word => {}
                _ => chunk.advance(1),
            }
        }
        Ok(None)
    }

    /// Says whether the array was whole. Call it after the end of the body, when [`Elements::next`] gave `None`.
    pub(super) fn end(&self) -> Result<(), Broken> {
        if self.state == State::End { Ok(()) } else { Err(Broken::Truncated) }
    }
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// The state after `byte`, which is not white space and is outside every element.
fn between(state: State, byte: u8) -> Result<State, Broken> {
    const NULL: &[u8; 4] = b"null";
    let place = match (state, byte) {
        (State::Start, b'[') => return Ok(State::First),
        (State::Start, b'n') => return Ok(State::Null(1)),
        (State::Start, _) => "at its start",
        (State::Null(seen), byte) if byte == NULL[usize::from(seen)] => {
            return Ok(if seen == 3 { State::End } else { State::Null(seen + 1) });
        }
        (State::Null(_), _) => "at its start",
        (State::First, b']') | (State::After, b']') => return Ok(State::End),
        (State::After, b',') => return Ok(State::Comma),
        (State::After, _) => "after an element",
        (State::First | State::Comma, b'{') => return Ok(State::Nested(Nest::object())),
        (State::First | State::Comma, b'[') => return Ok(State::Nested(Nest::array())),
        (State::First | State::Comma, b'"') => return Ok(State::Text(Text::Plain)),
        (State::First | State::Comma, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => return Ok(State::Word),
        (State::First | State::Comma, _) => "where an element should start",
        (State::End, _) => "after its end",
        (State::Nested(_) | State::Text(_) | State::Word, _) => "in an element",
    };
    Err(Broken::Unexpected { byte, place })
}

/// Continues the element at `scanned`. If it ends in this chunk, returns the place after it.
fn scan(state: &mut State, chunk: &[u8], scanned: &mut usize) -> Option<usize> {
    match state {
        State::Word => {
            let end = chunk.iter().position(|byte| is_blank(*byte) || matches!(byte, b',' | b']' | b'}'));
            *scanned = end.unwrap_or(chunk.len());
            if end.is_some() {
                *state = State::After;
            }
            end
        }
        State::Nested(nest) => {
            let end = nest.scan(&chunk[*scanned..]).map(|end| *scanned + end);
            *scanned = end.unwrap_or(chunk.len());
            if end.is_some() {
                *state = State::After;
            }
            end
        }
        State::Text(text) => {
            let end = scan_text(text, chunk, scanned);
            if end.is_some() {
                *state = State::After;
            }
            end
        }
        _ => None,
    }
}

fn scan_text(text: &mut Text, chunk: &[u8], scanned: &mut usize) -> Option<usize> {
    while *scanned < chunk.len() {
        match *text {
            Text::Escape => {
                *text = Text::Plain;
                *scanned += 1;
            }
            Text::Plain => match memchr::memchr2(b'"', b'\\', &chunk[*scanned..]) {
                None => *scanned = chunk.len(),
                Some(at) => {
                    *scanned += at + 1;
                    if chunk[*scanned - 1] == b'"' {
                        return Some(*scanned);
                    }
                    *text = Text::Escape;
                }
            },
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn split(chunks: impl IntoIterator<Item = Bytes>) -> Result<Vec<Bytes>, Broken> {
        let mut elements = Elements::default();
        let mut read = Vec::new();
        for chunk in chunks {
            elements.push(chunk);
            while let Some(element) = elements.next()? {
                read.push(element);
            }
        }
        elements.end().map(|()| read)
    }

    fn whole(text: &str) -> Result<Vec<Bytes>, Broken> {
        split([Bytes::copy_from_slice(text.as_bytes())])
    }

    #[test]
    fn an_array_cut_at_every_byte_gives_the_same_elements() {
        let body = Bytes::from_static(br#" [ {"a":"]}\"\\","b":[[1],{}]} ,-1.5e3,"x\\\"y",null,[],true ,"" ] "#);
        let expected =
            [r#"{"a":"]}\"\\","b":[[1],{}]}"#, "-1.5e3", r#""x\\\"y""#, "null", "[]", "true", "\"\""].map(Bytes::from);
        for cut in 0..=body.len() {
            let read = split([body.slice(..cut), body.slice(cut..)]).expect("a whole array");
            assert_eq!(read, expected, "cut at {cut}");
        }
        assert_eq!(split(body.chunks(1).map(Bytes::copy_from_slice)).expect("a whole array"), expected);
    }

    #[test]
    fn a_large_element_leaves_no_memory_behind() {
        let mut elements = Elements::default();
        elements.push(Bytes::from_static(b"[\""));
        for _ in 0..100 {
            elements.push(Bytes::from(vec![b'x'; 100 << 10]));
            assert_eq!(elements.next(), Ok(None));
        }
        elements.push(Bytes::from_static(b"\",[1"));
        let element = elements.next().expect("an array").expect("it is whole");
        assert_eq!((element.len(), elements.partial.held.capacity()), (2 + 100 * (100 << 10), 0));
    }

    #[test]
    fn an_array_that_ends_early_is_an_error_wherever_it_ends() {
        let body = Bytes::from_static(br#"[{"a":"b"},12,"c",null,[1]]"#);
        for cut in 0..body.len() {
            assert_eq!(split([body.slice(..cut)]), Err(Broken::Truncated), "cut at {cut}");
        }
        assert_eq!(whole("nul"), Err(Broken::Truncated));
    }

    #[test]
    fn nothing_in_place_of_a_list_is_an_empty_one() {
        for text in ["[]", " [ ]\n", "null", "null\n"] {
            assert_eq!(whole(text), Ok(Vec::new()), "{text:?}");
        }
    }

    #[test]
    fn garbage_is_told_from_an_array() {
        for text in
            ["{}", "x", "[,]", "[1 2]", "[1,]", "[1}", "[]]", "[] x", "[{} {}]", "nulll", "nuxl", "[:1]", "<html>"]
        {
            assert!(matches!(whole(text), Err(Broken::Unexpected { .. })), "{text:?} gave {:?}", whole(text));
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\"\\\\\\[\\]{},a-c\u{e9}\n ]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::vec(("[\"\\\\}a]{0,4}", inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn of_an_element_that_is_too_large_the_start_is_given_and_the_rest_follows() {
        let large = format!(r#"{{"ID":"x","ModifyIndex":7,"Padding":"{}"}}"#, "y".repeat(KEPT_HEAD));
        let body = Bytes::from(format!(r#"[{{"a":1}},{large},{{"b":2}}]"#));
        for step in [1000, 7_777, body.len()] {
            let mut elements = Elements::new(1000);
            let mut read = Vec::new();
            for chunk in body.chunks(step) {
                elements.push(Bytes::copy_from_slice(chunk));
                while let Some(element) = elements.next().expect("an array") {
                    read.push(element);
                }
            }
            elements.end().expect("whole");
            let [first, start, last] = &read[..] else { panic!("{step}: {} elements", read.len()) };
            assert_eq!((&first[..], &last[..]), (&br#"{"a":1}"#[..], &br#"{"b":2}"#[..]));
            let dropped = large.len() - KEPT_HEAD;
            let note = format!("\n… too large: {dropped} more bytes were not read");
            assert_eq!(start[..], [&large.as_bytes()[..KEPT_HEAD], note.as_bytes()].concat()[..], "{step}");
            assert!(serde_json::from_slice::<Value>(start).is_err(), "it is no whole object");
        }
    }

    proptest! {
        #[test]
        fn elements_are_those_a_parser_finds(
            values in proptest::collection::vec(value(), 0..8),
            pretty in any::<bool>(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        ) {
            let body = if pretty { serde_json::to_vec_pretty(&values) } else { serde_json::to_vec(&values) };
            let body = Bytes::from(body.expect("plain data"));
            let raw: Vec<&serde_json::value::RawValue> = serde_json::from_slice(&body).expect("just written");
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            at.extend([0, body.len()]);
            at.sort_unstable();
            let read = split(at.windows(2).map(|pair| body.slice(pair[0]..pair[1]))).expect("a whole array");
            prop_assert_eq!(read.len(), raw.len());
            for (read, raw) in read.iter().zip(raw) {
                prop_assert_eq!(read.as_ref(), raw.get().as_bytes());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(
            bytes in proptest::collection::vec(
                prop_oneof![proptest::sample::select(b"[]{},\"\\ 1n".to_vec()), any::<u8>()], 0..200,
            ),
            size in 1_usize..40,
        ) {
            let mut elements = Elements::default();
            for chunk in bytes.chunks(size) {
                elements.push(Bytes::copy_from_slice(chunk));
                while let Ok(Some(element)) = elements.next() {
                    prop_assert!(!element.is_empty());
                }
            }
        }
    }
}
