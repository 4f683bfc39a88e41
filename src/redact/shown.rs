//! Makes text from outside safe to show.

use std::borrow::Cow;

use super::{redacted, redacted_start};

/// The most bytes that are shown of a far side's own words.
pub(crate) const WORDS: usize = 1 << 10;

/// The most bytes of a text with such words in it: a field of the log, a state on the status page, a reason of a dead
/// letter.
pub(crate) const LINE: usize = 4 << 10;

/// How many bytes are read beyond the cut, so that a secret at the cut is found as a whole.
const BEYOND: usize = 512;

/// What ends a text that was cut.
const CUT: char = '…';

/// `text` as people may see it: without secrets, on one line, without characters that a terminal obeys or that reverse its
/// text, in at most `most` bytes. Every text from outside goes through here before it is logged, served, listed or
/// stored as a reason. Doing it twice does no harm.
///
/// Line breaks become spaces, and are removed at both ends. Everything else that cannot be shown, such as bytes that are not
/// UTF-8, becomes U+FFFD.
pub(crate) fn shown(text: impl AsRef<[u8]>, most: usize) -> String {
    let bytes = text.as_ref();
    let start = start_of(bytes, most.saturating_add(BEYOND));
    let is_cut = start.len() < bytes.len();
    let start = String::from_utf8_lossy(start);
    let safe = if is_cut { redacted_start(&start) } else { redacted(&start) };
    let printable = printable(&safe);
    if printable.len() <= most && !is_cut {
        return printable.into_owned();
    }
    let most = most.min(printable.len() + CUT.len_utf8());
    let end = printable.floor_char_boundary(most.saturating_sub(CUT.len_utf8()));
    format!("{}{CUT}", &printable[..end])
}

/// The same for a text of the program itself with several lines.
pub(crate) fn shown_lines(text: &str) -> String {
    // A secret can extend over several lines.
    let lines: Vec<_> = redacted(text).lines().map(|line| shown(line, LINE)).collect();
    lines.join("\n")
}

/// JSON text with escapes for what no terminal should get. The values do not change.
pub(crate) fn escaped_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // The line breaks and blanks of JSON itself are all ASCII, and those within strings are escaped already.
        if c.is_ascii() && c != '\u{7f}' || !is_break(c) && !is_unprintable(c) {
            out.push(c);
            continue;
        }
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().for_each(|unit| out += &format!("\\u{unit:04x}"));
    }
    out
}

/// The first `most` bytes, or up to three fewer, so that no character is cut.
fn start_of(bytes: &[u8], most: usize) -> &[u8] {
    let is_within = |at: &usize| bytes[*at] & 0xc0 == 0x80;
    let Some(most) = Some(most).filter(|most| *most < bytes.len()) else { return bytes };
    let end = (most.saturating_sub(3)..=most).rev().find(|at| !is_within(at));
    &bytes[..end.unwrap_or(most)]
}

/// The text on one line, without characters that cannot be shown.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| is_break(c) || is_unprintable(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut in_break = false;
    for c in text.chars() {
        if !is_break(c) {
            out.push(if is_unprintable(c) { char::REPLACEMENT_CHARACTER } else { c });
        } else if !in_break && !out.is_empty() {
            out.push(' ');
        }
        in_break = is_break(c);
    }
    out.truncate(out.trim_end_matches(' ').len());
    Cow::Owned(out)
}

/// Whether it ends a line, or jumps along it.
fn is_break(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Whether a terminal obeys it, or it reverses the direction of text, or is invisible: controls (Cc), and those format
/// characters (Cf) that no script needs within words.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        )
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
