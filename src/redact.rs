//! Keeps secrets out of the texts that people see.
//!
//! A proxy's error page can echo our request, and what it says goes into the log, the status pages and the reasons of
//! dead letters, which need no login. So every configured secret is known here from the moment it is read, and every
//! text from outside goes through [`shown`] where it becomes a text of ours: it loses all known secrets and whatever looks
//! like credentials in a header, is cut, and is made fit for a terminal. The log and the status pages do it once more with
//! all they show.
//!
//! Bodies of records never come here.

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

/// What stands in the place of a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// A shorter value is not known: nobody has to see it to guess it, and a tenant called `1` would take every number out of
/// the log. It still goes where it looks like credentials.
const SHORTEST: usize = 4;

/// How many secrets of the settings are known at most: far more than there are settings.
const MAX_KEPT: usize = 1024;

/// How many secrets are known that are renewed while the program runs: the newest ones.
const MAX_RENEWED: usize = 32;

static KNOWN: RwLock<Known> = RwLock::new(Known { kept: VecDeque::new(), renewed: VecDeque::new() });

struct Known {
    kept: VecDeque<Needle>,
    renewed: VecDeque<Needle>,
}

/// Knows a secret of the settings from now on.
pub(crate) fn keep(secret: &str) {
    learn(secret, |known| (&known.kept, MAX_KEPT), |known| &mut known.kept);
}

/// Knows a secret that others will replace, such as a token in a file.
pub(crate) fn renew(secret: &str) {
    learn(secret, |known| (&known.renewed, MAX_RENEWED), |known| &mut known.renewed);
}

/// Knows user and password in the form that basic authentication sends.
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
    // A panic elsewhere leaves plain data behind.
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

/// The same for the start of a longer text: it can end in the midst of a secret.
fn redacted_start(text: &str) -> Cow<'_, str> {
    let mut hits = known_in(text, true);
    headers::find(text, &mut hits);
    without(text, hits)
}

/// `text` without known secrets, and otherwise as it is.
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

/// `text` with one mark in the place of all hits that touch each other.
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

/// Whether a text can be printed as it is.
#[cfg(test)]
pub(crate) fn is_plain(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    })
}
