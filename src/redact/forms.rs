//! Finds a secret in every form in which an echo can show it.

use std::ops::Range;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// A secret with at least this many bytes is found anywhere. A shorter one is found only as a word: `pass` must not
/// destroy `password`.
const ANYWHERE: usize = 8;

/// How many bytes of a secret at the end of a cut text are enough to count as the secret.
const START: usize = 4;

/// One secret.
pub(super) struct Needle {
    secret: Box<str>,
    forms: Vec<String>,
}

impl Needle {
    pub(super) fn new(secret: &str) -> Self {
        let mut forms = vec![secret.to_owned()];
        for encode in [|bytes: &[u8]| STANDARD_NO_PAD.encode(bytes), |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes)] {
            forms.push(encode(secret.as_bytes()));
            if secret.len() >= ANYWHERE {
                forms.extend((0..3).map(|before| within(encode, secret, before)));
            }
        }
        forms.sort_unstable();
        forms.dedup();
        Needle { secret: secret.into(), forms }
    }

    pub(super) fn is(&self, secret: &str) -> bool {
        *self.secret == *secret
    }

    /// Adds the places of the secret in `text`. With `is_cut`, also the place where `text` ends with its start.
    pub(super) fn find(&self, text: &[u8], is_cut: bool, hits: &mut Vec<Range<usize>>) {
        for form in self.forms.iter().map(String::as_bytes) {
            for at in 0..text.len() {
                if let Some(end) = end_of(form, text, at, is_cut)
                    && is_clear(form, text, &(at..end))
                {
                    hits.push(at..end);
                }
            }
        }
    }
}

/// The encoding of the secret within a longer text, with `before` bytes (modulo 3) before it. Characters that carry bits of
/// neighbours are left out.
fn within(encode: impl Fn(&[u8]) -> String, secret: &str, before: usize) -> String {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret.as_bytes());
    let encoded = encode(&bytes);
    // A character has six bits, so 8 or 16 bits before the secret reach into its second or third character.
    encoded[(before * 8).div_ceil(6)..bytes.len() * 8 / 6].to_owned()
}

/// Where `form` ends if it starts at `at`. Any of its characters can be escaped.
fn end_of(form: &[u8], text: &[u8], at: usize, is_cut: bool) -> Option<usize> {
    let rest = &text[at..];
    if rest.starts_with(form) {
        return Some(at + form.len());
    }
    let mut passed = 0;
    for (number, wanted) in form.iter().enumerate() {
        let rest = &rest[passed..];
        // An encoder breaks long lines. A break before a secret does not belong to it.
        let breaks = if number == 0 { 0 } else { rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count() };
        match length(&rest[breaks..], *wanted) {
            Some(length) => passed += breaks + length,
            None => {
                let is_start = is_cut && number >= START && form.len() >= ANYWHERE && may_go_on(&rest[breaks..]);
                return is_start.then_some(text.len());
            }
        }
    }
    Some(at + passed)
}

/// Whether these are the last bytes of a cut text, which can end within an escape.
fn may_go_on(rest: &[u8]) -> bool {
    rest.is_empty() || rest.len() < 6 && matches!(rest[0], b'%' | b'&' | b'\\')
}

/// How many bytes of `rest` stand for the byte `wanted`, escaped or not.
fn length(rest: &[u8], wanted: u8) -> Option<usize> {
    let escaped = match rest.first()? {
        b'%' => hex(rest.get(1..3)).filter(|code| *code == u32::from(wanted)).map(|_| 3),
        b'+' if wanted == b' ' => Some(1),
        b'&' => entity(rest, wanted),
        b'\\' => backslashed(rest, wanted),
        _ => None,
    };
    escaped.or_else(|| (rest[0] == wanted).then_some(1))
}

/// `&quot;`, `&#34;`, `&#x22;`.
fn entity(rest: &[u8], wanted: u8) -> Option<usize> {
    let end = rest.iter().take(8).position(|byte| *byte == b';')?;
    let is_it = match &rest[1..end] {
        b"amp" => wanted == b'&',
        b"lt" => wanted == b'<',
        b"gt" => wanted == b'>',
        b"quot" => wanted == b'"',
        b"apos" => wanted == b'\'',
        [b'#', b'x' | b'X', digits @ ..] => hex(Some(digits)) == Some(u32::from(wanted)),
        [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse() == Ok(wanted),
        _ => false,
    };
    is_it.then_some(end + 1)
}

/// `\"`, `\u0022`, `\x22`, with more backslashes if it was escaped more than once.
fn backslashed(rest: &[u8], wanted: u8) -> Option<usize> {
    let slashes = rest.iter().take_while(|byte| **byte == b'\\').count();
    let after = &rest[slashes..];
    let wanted_code = Some(u32::from(wanted));
    match after.first()? {
        b'u' if hex(after.get(1..5)) == wanted_code => Some(slashes + 5),
        b'x' if hex(after.get(1..3)) == wanted_code => Some(slashes + 3),
        byte if *byte == wanted => Some(slashes + 1),
        _ => None,
    }
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits?).ok()?, 16).ok()
}

/// Whether a form of this length counts at its place.
fn is_clear(form: &[u8], text: &[u8], hit: &Range<usize>) -> bool {
    if form.len() >= ANYWHERE {
        return true;
    }
    starts_word(&text[..hit.start]) && !text.get(hit.end).is_some_and(is_of_word)
}

fn is_of_word(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn starts_word(before: &[u8]) -> bool {
    match before {
        [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., b'%', high, low] if hex(Some(&[*high, *low])).is_some() => true,
        [.., last] => !is_of_word(last),
        [] => true,
    }
}
