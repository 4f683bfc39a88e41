//! Replaces values by `[redacted]` before a program or a sink sees them.
//!
//! A path names keys of objects, from the root (`.Meta.password`) or at any depth (`..Env`). `*` in a name stands for any
//! characters. Lists between two names need no step of their own: `.TaskGroups.Tasks.Env` reaches the tasks of all groups.

pub(super) mod diff;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use jaq_json::{Rc, Val, read};

use super::json;

/// What stands in place of a value.
pub(super) const REDACTED: &str = "[redacted]";

/// The most steps of a path.
const STEPS: usize = 32;

/// Which values are replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    /// Whether the key can be any number of levels deeper.
    is_deep: bool,
    name: String,
}

/// The text is no path.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It does not begin with a dot.
    #[error("a path begins with a dot; write ..{0} for the key at any depth, or .{0} for a key of the record")]
    Start(String),
    /// A step has no name.
    #[error("a name is missing; write a path such as ..Env or .Meta.password")]
    Name,
    /// Too long.
    #[error("a path can have {STEPS} names")]
    Long,
}

impl FromStr for Path {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if !text.starts_with('.') {
            return Err(Malformed::Start(text.to_owned()));
        }
        let mut steps = Vec::new();
        let mut rest = text;
        while let Some(after) = rest.strip_prefix('.') {
            let (is_deep, after) = after.strip_prefix('.').map_or((false, after), |after| (true, after));
            let (name, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or(Malformed::Name)?,
                None => after.split_at(after.find('.').unwrap_or(after.len())),
            };
            if name.is_empty() || name.contains('"') {
                return Err(Malformed::Name);
            }
            steps.push(Step { is_deep, name: name.to_owned() });
            rest = after;
        }
        match (rest.is_empty(), steps.len()) {
            (false, _) => Err(Malformed::Name),
            (true, ..=STEPS) => Ok(Path(steps)),
            (true, _) => Err(Malformed::Long),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|Step { is_deep, name }| {
            let dots = if *is_deep { ".." } else { "." };
            if name.contains('.') { write!(f, "{dots}\"{name}\"") } else { write!(f, "{dots}{name}") }
        })
    }
}

/// A record's body without what `paths` name, for a person to see; nothing of a body that cannot be read.
pub fn redacted(paths: &[Path], body: &[u8]) -> Vec<u8> {
    // jaq's parser bounds no depth, and this is not the process that may end by it. serde_json's does.
    if serde_json::from_slice::<serde_json::Value>(body).is_err() {
        return Vec::new();
    }
    let Ok(mut value) = read::parse_single(body) else { return Vec::new() };
    apply(paths, &mut value);
    let mut out = Vec::new();
    match json::write(&value, &mut out, body.len().saturating_mul(2).saturating_add(1 << 10)) {
        Ok(()) => out,
        Err(_) => Vec::new(),
    }
}

/// Replaces what `paths` name in `value`. Returns whether there was any.
pub(super) fn apply(paths: &[Path], value: &mut Val) -> bool {
    if paths.is_empty() {
        return false;
    }
    let states: Vec<State<'_>> = paths.iter().map(|path| path.0.as_slice()).collect();
    walk(&states, value)
}

/// The steps of a path that are left.
type State<'a> = &'a [Step];

fn walk(states: &[State<'_>], value: &mut Val) -> bool {
    match value {
        Val::Arr(elements) => Rc::make_mut(elements).iter_mut().fold(false, |any, element| walk(states, element) | any),
        Val::Obj(object) => {
            let mut any = false;
            let mut below = Vec::with_capacity(states.len());
            for (key, value) in Rc::make_mut(object) {
                below.clear();
                if enter(states, key, &mut below) {
                    *value = Val::from(REDACTED.to_owned());
                    any = true;
                } else if !below.is_empty() {
                    any |= walk(&below, value);
                }
            }
            any
        }
        _ => false,
    }
}

/// Writes to `below` what is left of the paths under `key`. Returns whether a path ends there.
fn enter<'a>(states: &[State<'a>], key: &Val, below: &mut Vec<State<'a>>) -> bool {
    let (Val::TStr(key) | Val::BStr(key)) = key else { return false };
    for state in states {
        let Some((step, rest)) = state.split_first() else { continue };
        if matches(step.name.as_bytes(), key) {
            if rest.is_empty() {
                return true;
            }
            add(rest, below);
        }
        if step.is_deep {
            add(state, below);
        }
    }
    false
}

fn add<'a>(state: State<'a>, states: &mut Vec<State<'a>>) {
    if !states.iter().any(|known| std::ptr::eq(*known, state)) {
        states.push(state);
    }
}

/// Whether `text` is of the form of `glob`, in which `*` stands for any bytes.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // The last star, and up to where of the text it reaches.
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == text[from] => (at, from) = (at + 1, from + 1),
            _ => {
                let Some((place, reach)) = star else { return false };
                star = Some((place, reach + 1));
                (at, from) = (place + 1, reach + 1);
            }
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}
