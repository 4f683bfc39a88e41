//! The parser is cut at every byte of the recording: a line that is not whole is never taken for one.

mod common;

use bytes::Bytes;
use common::fixture_lines;
use nomad_firehose::nomad::line::{Line, Occurrences, Text};

/// Cuts each line at the places that are chosen by its length and the place; says how many these were.
fn cut(is_tried: impl Fn(usize, usize) -> bool) -> u32 {
    let mut tried = 0;
    for line in fixture_lines("stream-complete.ndjson") {
        let line = Bytes::from(line);
        let whole = Text::new(line.clone());
        let whole = Line::parse(&whole, &mut Occurrences::default()).expect("the recording's lines are whole");
        assert!(whole.unusable.is_empty() && !whole.events.is_empty());
        for end in (0..line.len()).filter(|end| is_tried(line.len(), *end)) {
            let part = Text::new(line.slice(..end));
            assert!(
                Line::parse(&part, &mut Occurrences::default()).is_err(),
                "{end} of {} bytes passed for a line",
                line.len()
            );
            tried += 1;
        }
    }
    tried
}

#[test]
fn no_part_of_a_line_is_taken_for_a_line() {
    // Each try reads the line up to there, so that all bytes of the long ones take minutes.
    let tried = cut(|length, end| length < 2_000 || end % (length / 16) == 0 || end + 16 > length);
    assert!(tried > 40_000, "{tried}");
}

#[test]
#[ignore = "takes minutes; every byte of every line"]
fn no_part_of_any_line_is_taken_for_a_line() {
    assert!(cut(|_, _| true) > 1_600_000);
}
