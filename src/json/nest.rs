//! Finds the end of an object or array, 64 bytes at a time.
//!
//! Each block of bytes becomes four masks of a bit a byte: quotes, backslashes, and the brackets that open and close.
//! Arithmetic on these masks finds the quotes that count and the brackets outside of strings (Langdale and Lemire, "Parsing
//! Gigabytes of JSON per Second", section 3.1). Only brackets of the value's own kind are counted: in a well-formed value the
//! others match by themselves, and its parser checks whether it is well-formed.

use wide::u8x16;

/// The bytes of a block.
const BLOCK: usize = u64::BITS as usize;
/// How many bytes are compared at once.
const LANES: usize = 16;

/// The state of a scan inside an object or array, after its opening bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nest {
    open: u8,
    close: u8,
    /// How many brackets are still open.
    depth: u64,
    in_text: bool,
    /// The next byte comes after a backslash.
    escaped: bool,
}

impl Nest {
    /// The state after a `{`.
    pub(crate) const fn object() -> Self {
        Nest { open: b'{', close: b'}', depth: 1, in_text: false, escaped: false }
    }

    /// The state after a `[`.
    pub(crate) const fn array() -> Self {
        Nest { open: b'[', close: b']', depth: 1, in_text: false, escaped: false }
    }

    /// Continues with `bytes`, which follow the earlier ones. If the end is among them, returns the place after it.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Option<usize> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for (number, block) in blocks.iter().enumerate() {
            if let Some(end) = self.block(block, BLOCK) {
                return Some(number * BLOCK + end);
            }
        }
        if rest.is_empty() {
            return None;
        }
        let mut last = [0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        self.block(&last, rest.len()).map(|end| blocks.len() * BLOCK + end)
    }

    /// Continues with the first `length` bytes of a block; the others are zero.
    fn block(&mut self, block: &[u8; BLOCK], length: usize) -> Option<usize> {
        let Masks { quotes, backslashes, opens, closes } = masks(block, self.open, self.close);
        let escaped = self.escapes(backslashes, length);
        // Each bit says whether the number of quotes up to it is odd, which means that the byte is in a string.
        let texts = prefix_xor(quotes & !escaped) ^ if self.in_text { u64::MAX } else { 0 };
        self.in_text = texts >> (length - 1) & 1 == 1;
        let (opens, mut closes) = (opens & !texts, closes & !texts);
        if u64::from(closes.count_ones()) < self.depth {
            self.depth += u64::from(opens.count_ones());
            self.depth -= u64::from(closes.count_ones());
            return None;
        }
        let depth = self.depth;
        let mut closed = 0;
        while closes != 0 {
            let at = closes.trailing_zeros();
            closed += 1;
            if depth + u64::from((opens & ((1 << at) - 1)).count_ones()) == closed {
                return Some(at as usize + 1);
            }
            closes &= closes - 1;
        }
        self.depth = depth + u64::from(opens.count_ones()) - closed;
        None
    }

    /// The bytes after a backslash that is not escaped itself.
    fn escapes(&mut self, backslashes: u64, length: usize) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let before = u64::from(self.escaped);
        if backslashes == 0 {
            // Most blocks are like this.
            self.escaped = false;
            return before;
        }
        let backslashes = backslashes & !before;
        let behind = backslashes << 1 | before;
        // A sequence of backslashes escapes every second byte. If the sum carries out of it, it began at an odd place.
        let odd_starts = backslashes & !EVEN & !behind;
        let (even_sequences, overflow) = odd_starts.overflowing_add(backslashes);
        let escaped = (EVEN ^ even_sequences << 1) & behind;
        self.escaped = if length == BLOCK { overflow } else { escaped >> length & 1 == 1 };
        escaped
    }
}

/// For each bit, the sum without carry of all bits up to it, including itself.
const fn prefix_xor(bits: u64) -> u64 {
    let mut sums = bits;
    let mut step = 1;
    while step < u64::BITS {
        sums ^= sums << step;
        step *= 2;
    }
    sums
}

/// Which bytes of a block have which meaning. The first byte is the lowest bit.
#[derive(Debug, PartialEq, Eq)]
struct Masks {
    quotes: u64,
    backslashes: u64,
    opens: u64,
    closes: u64,
}

fn masks(block: &[u8; BLOCK], open: u8, close: u8) -> Masks {
    let mut found = [0; 4];
    for (number, lane) in block.as_chunks::<LANES>().0.iter().enumerate() {
        let lane = u8x16::new(*lane);
        for (found, wanted) in found.iter_mut().zip([b'"', b'\\', open, close]) {
            *found |= u64::from(lane.simd_eq(u8x16::splat(wanted)).to_bitmask()) << (number * LANES);
        }
    }
    let [quotes, backslashes, opens, closes] = found;
    Masks { quotes, backslashes, opens, closes }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A model of [`Nest::scan`] that works byte by byte.
    fn end_of(bytes: &[u8], open: u8, close: u8) -> Option<usize> {
        let (mut depth, mut in_text, mut escaped) = (1, false, false);
        for (at, byte) in bytes.iter().enumerate() {
            let was_escaped = std::mem::take(&mut escaped);
            match *byte {
                b'\\' => escaped = !was_escaped,
                b'"' if !was_escaped => in_text = !in_text,
                byte if byte == open && !in_text => depth += 1,
                byte if byte == close && !in_text => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(at + 1);
            }
        }
        None
    }

    proptest! {
        #[test]
        fn blocks_find_what_single_bytes_do(
            bytes in prop::collection::vec(
                prop_oneof![
                    4 => prop::sample::select(b"{}[]".to_vec()),
                    2 => Just(b'"'),
                    1 => Just(b'\\'),
                    4 => any::<u8>(),
                ],
                0..400,
            ),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
            is_object: bool,
        ) {
            let mut nest = if is_object { Nest::object() } else { Nest::array() };
            let expected = end_of(&bytes, nest.open, nest.close);
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let found = at.windows(2).find_map(|pair| nest.scan(&bytes[pair[0]..pair[1]]).map(|end| pair[0] + end));
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_mask_has_a_bit_for_each_byte(block: [[u8; 32]; 2], pick: [prop::sample::Index; 16]) {
            let mut block: [u8; BLOCK] = block.concat().try_into().expect("64 bytes");
            pick.iter().zip(b"\"\\{}".iter().cycle()).for_each(|(at, byte)| block[at.index(BLOCK)] = *byte);
            let slow = |wanted: u8| block.iter().rev().fold(0, |mask, byte| mask << 1 | u64::from(*byte == wanted));
            let expected = Masks { quotes: slow(b'"'), backslashes: slow(b'\\'), opens: slow(b'{'), closes: slow(b'}') };
            prop_assert_eq!(masks(&block, b'{', b'}'), expected);
        }
    }
}
