//! Finds where strings, objects and arrays end, 64 bytes at a time.
//!
//! The method is that of Langdale and Lemire, "Parsing gigabytes of JSON per second" (2019), sections 3.1.1 and 3.1.2:
//! a bit for each byte that is a quote, a backslash or a bracket, and of these the ones that stand in no string.

use wide::u8x16;

const BLOCK: usize = 64;
const LANES: usize = 16;

/// The length of the string that `text` is in, up to its closing quote; `None` where that is missing.
pub(super) fn string(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += quote_or_backslash(&text[at..])?;
        if text[at] == b'"' {
            return Some(at);
        }
        // What is escaped is no end.
        at += 2;
        if at > text.len() {
            return None;
        }
    }
}

fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    let (lanes, rest) = text.as_chunks::<LANES>();
    for (number, lane) in lanes.iter().enumerate() {
        let lane = u8x16::new(*lane);
        let found = equal(lane, b'"') | equal(lane, b'\\');
        if found != 0 {
            return Some(number * LANES + found.trailing_zeros() as usize);
        }
    }
    let place = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    Some(text.len() - rest.len() + place)
}

/// The length of what is left of the object or array that `text` is in, its closing bracket included; `None` where that
/// is missing. Either bracket closes either.
pub(super) fn container(text: &[u8]) -> Option<usize> {
    let mut brackets = Brackets { depth: 1, ..Brackets::default() };
    let (blocks, rest) = text.as_chunks::<BLOCK>();
    for (number, block) in blocks.iter().enumerate() {
        if let Some(end) = brackets.close_in(block) {
            return Some(number * BLOCK + end);
        }
    }
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    brackets.close_in(&last).map(|end| text.len() - rest.len() + end)
}

/// What is open between two blocks.
#[derive(Debug, Default)]
struct Brackets {
    depth: u32,
    /// All ones in a string, otherwise none.
    in_string: u64,
    /// Whether the next byte is escaped.
    escaped: u64,
}

impl Brackets {
    /// Reads a block. Gives the place behind the bracket that closes the last open one.
    fn close_in(&mut self, block: &[u8; BLOCK]) -> Option<usize> {
        let (mut quotes, mut backslashes, mut opens, mut closes) = (0, 0, 0, 0);
        for (number, lane) in block.as_chunks::<LANES>().0.iter().enumerate() {
            let shift = number * LANES;
            let lane = u8x16::new(*lane);
            // `[` and `{` differ in this bit, and so do `]` and `}`; nothing else becomes one of them.
            let folded = lane | u8x16::splat(0x20);
            quotes |= equal(lane, b'"') << shift;
            backslashes |= equal(lane, b'\\') << shift;
            opens |= equal(folded, b'{') << shift;
            closes |= equal(folded, b'}') << shift;
        }
        if backslashes | self.escaped != 0 {
            quotes &= !self.escaped_bytes(backslashes);
        }
        let strings = xor_before(quotes) ^ self.in_string;
        self.in_string = if strings >> 63 == 1 { u64::MAX } else { 0 };
        opens &= !strings;
        closes &= !strings;
        if closes.count_ones() >= self.depth {
            let mut left = closes;
            for closed in 1.. {
                if left == 0 {
                    break;
                }
                let place = left.trailing_zeros();
                let opened = (opens & ((1 << place) - 1)).count_ones();
                if self.depth + opened == closed {
                    return Some(place as usize + 1);
                }
                left &= left - 1;
            }
        }
        // Not below zero: then the loop would have found the end.
        self.depth = self.depth + opens.count_ones() - closes.count_ones();
        None
    }

    /// The bytes that a backslash stands before which is not escaped itself.
    fn escaped_bytes(&mut self, backslashes: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let backslashes = backslashes & !self.escaped;
        let behind = backslashes << 1 | self.escaped;
        let odd_starts = backslashes & !EVEN & !behind;
        let (even_sequences, overflow) = odd_starts.overflowing_add(backslashes);
        self.escaped = u64::from(overflow);
        (EVEN ^ (even_sequences << 1)) & behind
    }
}

/// For each bit whether the number of bits set up to it, itself included, is odd.
const fn xor_before(mut bits: u64) -> u64 {
    let mut shift = 1;
    while shift < 64 {
        bits ^= bits << shift;
        shift *= 2;
    }
    bits
}

fn equal(lane: u8x16, byte: u8) -> u64 {
    u64::from(lane.simd_eq(u8x16::splat(byte)).to_bitmask())
}
