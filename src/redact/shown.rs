//! Text that somebody else has written, made fit to be shown.

use std::borrow::Cow;

use super::{redacted, redacted_start};

/// How many bytes of a far side's own words are shown.
pub(crate) const WORDS: usize = 1 << 10;

/// How many bytes a text has in which such words stand: a field of the log, a state on the status page, a reason of a dead
/// letter.
pub(crate) const LINE: usize = 4 << 10;

/// How far it is read beyond the cut, so that a secret which the cut would go through is found whole.
const BEYOND: usize = 512;

/// What stands where a text was cut.
const CUT: char = '…';

/// `text` as people may see it: without secrets, on one line, without characters that command a terminal or turn its text
/// around, in at most `most` bytes. Every text from outside goes through here before it is logged, served, listed or
/// stored as a reason; to do it twice does no harm.
///
/// Line breaks become spaces, and go at both ends. What else cannot be shown, bytes that are no UTF-8 among it, becomes U+FFFD.
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

/// The same for a text of our own that has several lines.
pub(crate) fn shown_lines(text: &str) -> String {
    // A secret can go over several of them.
    let lines: Vec<_> = redacted(text).lines().map(|line| shown(line, LINE)).collect();
    lines.join("\n")
}

/// JSON text with escapes in the place of what no terminal should get. The values are what they were.
pub(crate) fn escaped_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // The breaks between lines and the blanks of JSON itself are all ASCII, and those within texts are escaped already.
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

/// The text on one line, without what cannot be shown.
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

/// What ends a line, or jumps along it.
fn is_break(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What commands a terminal, turns the direction of text around or is not to be seen: controls (Cc), and of the format
/// characters (Cf) those that no writing needs within words.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        )
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
