//! Texts that people can read: bounded, and without characters that a program would obey.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_128;

/// What ends a text that was cut.
const CUT: char = '…';

/// The length of a text as services count it: in units of UTF-16, which is never less than its characters.
pub(crate) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The first `most` [units] of `text`. A text that is longer ends with `…`, which counts.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    // As long in bytes is never longer in units.
    if text.len() <= most || units(text) <= most {
        return Cow::Borrowed(text);
    }
    let mut left = most.saturating_sub(1);
    let fits = |c: &char| {
        let is_room = c.len_utf16() <= left;
        left = left.saturating_sub(c.len_utf16());
        is_room
    };
    let end = text.chars().take_while(fits).map(char::len_utf8).sum();
    Cow::Owned(if most == 0 { String::new() } else { format!("{}{CUT}", text[..end].trim_end()) })
}

/// A text of at most `most` bytes on one line. Long texts that differ stay different.
pub(crate) fn bounded(text: &str, most: usize) -> String {
    const HASH: usize = 32 + 1;
    if text.len() <= most && !text.contains(char::is_control) {
        return text.to_owned();
    }
    let start = line(text, most);
    let start = &start[..start.floor_char_boundary(most - HASH)];
    format!("{start}-{:032x}", xxh3_128(text.as_bytes()))
}

/// A text of several lines, at most `most` [units] long. Control characters other than line breaks and tabs become their pictures, so
/// that each of them can be seen and none has an effect.
pub(super) fn lines(text: &str, most: usize) -> String {
    let text = text.trim_matches(['\n', '\r', ' ']);
    if !text.contains(char::is_control) {
        return cut(text, most).into_owned();
    }
    let text = text.replace("\r\n", "\n");
    let visible: String = text.chars().map(|c| if matches!(c, '\n' | '\t') { c } else { visible(c) }).collect();
    cut(&visible, most).into_owned()
}

/// A text on one line: line breaks and tabs become blanks.
pub(super) fn line(text: &str, most: usize) -> String {
    let text = text.trim();
    if !text.contains(char::is_control) {
        return cut(text, most).into_owned();
    }
    let text = text.replace("\r\n", "\n");
    let visible: String = text.chars().map(|c| if matches!(c, '\n' | '\t') { ' ' } else { visible(c) }).collect();
    cut(&visible, most).into_owned()
}

/// The picture of a control character, which Unicode has for those of ASCII.
fn visible(c: char) -> char {
    match c {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        _ => c,
    }
}
