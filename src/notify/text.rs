//! Texts that people can read: bounded, and without characters that a program would obey.

use std::borrow::Cow;

/// What ends a text that was cut.
const CUT: char = '…';

/// The first `most` characters of `text`. A text that is longer ends with `…`, which counts.
pub(crate) fn cut(text: &str, most: usize) -> Cow<'_, str> {
    // As long in bytes is never longer in characters.
    if text.len() <= most || text.chars().nth(most).is_none() {
        return Cow::Borrowed(text);
    }
    let end = text.char_indices().nth(most.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    Cow::Owned(format!("{}{CUT}", text[..end].trim_end()))
}

/// A text of several lines, at most `most` characters long. Control characters other than line breaks and tabs become their pictures, so
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
