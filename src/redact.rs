//! Keeps secrets out of the texts that people see.
//!
//! A proxy's error page can echo our request, and its words go into the log, the status pages and the reasons of
//! dead letters, which need no login. So this module learns every configured secret as soon as it is read, and every
//! text from outside goes through [`shown()`] before the program uses it in a message. [`shown()`] removes all known secrets and
//! whatever looks like credentials in a header, cuts the text, and makes it safe for a terminal. The log and the status pages
//! do that once more with everything that they show.
//!
//! Bodies of records do not go through here.

mod forms;
mod headers;
mod shown;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::VecDeque,
    ops::Range,
    sync::{PoisonError, RwLock},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use self::forms::Needle;
pub(crate) use self::shown::{LINE, WORDS, escaped_json, shown, shown_lines};

/// What replaces a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// The length of the shortest secret that is learned. A shorter one can be guessed anyway, and a tenant called `1` would remove
/// every number from the log. Where a shorter one looks like credentials, it is still removed.
const SHORTEST: usize = 4;

/// The most secrets of settings that are known: far more than there are settings.
const MAX_KEPT: usize = 1024;

/// The most secrets that are known of those that change while the program runs: the newest ones.
const MAX_RENEWED: usize = 32;

static KNOWN: RwLock<Known> = RwLock::new(Known { kept: VecDeque::new(), renewed: VecDeque::new() });

struct Known {
    kept: VecDeque<Needle>,
    renewed: VecDeque<Needle>,
}

/// Learns a secret of the settings.
pub(crate) fn keep(secret: &str) {
    learn(secret, |known| (&known.kept, MAX_KEPT), |known| &mut known.kept);
}

/// Learns a secret that others can replace, such as a token in a file.
pub(crate) fn renew(secret: &str) {
    learn(secret, |known| (&known.renewed, MAX_RENEWED), |known| &mut known.renewed);
}

/// Learns a user and password in the form that basic authentication sends.
pub(crate) fn basic(user: &str, password: &str) {
    keep(password);
    keep(&BASE64.encode(format!("{user}:{password}")));
}

fn learn(
    secret: &str,
    list: impl Fn(&Known) -> (&VecDeque<Needle>, usize),
    list_mut: impl Fn(&mut Known) -> &mut VecDeque<Needle>,
) {
    let secret = secret.trim();
    // A panic elsewhere leaves the data intact.
    let is_known = |known: &Known| list(known).0.iter().any(|needle| needle.is(secret));
    if secret.len() < SHORTEST || is_known(&KNOWN.read().unwrap_or_else(PoisonError::into_inner)) {
        return;
    }
    let needle = Needle::new(secret);
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    if !is_known(&known) {
        let most = list(&known).1;
        let needles = list_mut(&mut known);
        if needles.len() == most {
            needles.pop_front();
        }
        needles.push_back(needle);
    }
}

/// `text` without known secrets and without what looks like credentials.
fn redacted(text: &str) -> Cow<'_, str> {
    let mut hits = known_in(text, false);
    headers::find(text, &mut hits);
    without(text, hits)
}

/// The same for the start of a longer text, which can end in the middle of a secret.
fn redacted_start(text: &str) -> Cow<'_, str> {
    let mut hits = known_in(text, true);
    headers::find(text, &mut hits);
    without(text, hits)
}

/// `text` without known secrets, and otherwise unchanged.
pub(crate) fn without_known(text: &str) -> Cow<'_, str> {
    without(text, known_in(text, false))
}

fn known_in(text: &str, is_cut: bool) -> Vec<Range<usize>> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
    let mut hits = Vec::new();
    for needle in known.kept.iter().chain(&known.renewed) {
        needle.find(text.as_bytes(), is_cut, &mut hits);
    }
    hits
}

/// `text` with one [`REDACTED`] for all hits that touch each other.
fn without(text: &str, mut hits: Vec<Range<usize>>) -> Cow<'_, str> {
    if hits.is_empty() {
        return Cow::Borrowed(text);
    }
    hits.sort_unstable_by_key(|hit| hit.start);
    let (mut out, mut at) = (String::with_capacity(text.len()), None);
    for hit in hits {
        match at {
            Some(end) if hit.start <= end => at = Some(hit.end.max(end)),
            _ => {
                out += &text[at.unwrap_or_default()..hit.start];
                out += REDACTED;
                at = Some(hit.end);
            }
        }
    }
    out += &text[at.unwrap_or_default()..];
    Cow::Owned(out)
}

/// Whether a terminal can show the text as it is.
#[cfg(test)]
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}
