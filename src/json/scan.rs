//! Finds where a string ends, 16 bytes at a time.

use wide::u8x16;

const LANES: usize = 16;

/// The length of the string at the start of `text`, up to its closing quote; `None` if the quote is missing.
pub(super) fn string(text: &[u8]) -> Option<usize> {
    // Many strings are empty.
    if text.first() == Some(&b'"') {
        return Some(0);
    }
    let mut at = 0;
    loop {
        at += quote_or_backslash(&text[at..])?;
        if text[at] == b'"' {
            return Some(at);
        }
        // An escaped quote is not the end.
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

fn equal(lane: u8x16, byte: u8) -> u32 {
    lane.simd_eq(u8x16::splat(byte)).to_bitmask()
}
