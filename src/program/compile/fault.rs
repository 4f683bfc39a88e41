//! What is wrong with a program, and where.

use std::fmt;

use jaq_core::{
    compile::Undefined,
    load::{Error, lex, parse},
};

use super::{GLOBALS, offered};
use crate::settings::nearest;

/// How much of a program's own text a fault shows. The text can hold secrets further on.
const SHOWN: usize = 24;

/// What is wrong with a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line and the column, both from one; `None` where it is the program as a whole.
    place: Option<(usize, usize)>,
    reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "line {line}, column {column}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Fault {}

impl Fault {
    pub(super) fn whole(reason: String) -> Self {
        Fault { place: None, reason }
    }

    /// A fault at the byte `at` of `code`.
    pub(super) fn at(code: &str, at: usize, reason: String) -> Self {
        let before = &code[..code.floor_char_boundary(at)];
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        Fault { place: Some((before.matches('\n').count() + 1, before[start..].chars().count() + 1)), reason }
    }
}

/// The first of several faults.
fn first(code: &str, faults: impl Iterator<Item = (usize, String)>) -> Fault {
    match faults.min() {
        Some((at, reason)) => Fault::at(code, at, reason),
        None => Fault::whole("this is no jq program".to_owned()),
    }
}

/// What the parser reports.
pub(super) fn of_load<'a>(code: &str, errors: impl Iterator<Item = Error<&'a str>>) -> Fault {
    let mut faults = Vec::new();
    for error in errors {
        match error {
            Error::Io(paths) => faults.extend(paths.iter().map(|(path, _)| {
                let reason = "programs have no modules; write the definitions into the program".to_owned();
                (offset(code, path), reason)
            })),
            Error::Lex(errors) => faults.extend(errors.iter().map(|(expected, found)| of_lexer(code, expected, found))),
            Error::Parse(errors) => faults.extend(errors.iter().map(|(expected, found)| {
                let reason = format!("expected {}, found {}", wanted(expected), shown(found));
                (offset(code, found), reason)
            })),
        }
    }
    first(code, faults.into_iter())
}

fn wanted(expected: &parse::Expect<&str>) -> String {
    match expected {
        parse::Expect::Nothing => "the end of the program".to_owned(),
        parse::Expect::ElseOrEnd => "`else` or `end`".to_owned(),
        parse::Expect::Just(token) => format!("`{token}`"),
        expected => format!("a {}", expected.as_str()),
    }
}

/// `found` is all that follows.
fn of_lexer(code: &str, expected: &lex::Expect<&str>, found: &str) -> (usize, String) {
    let end = found.chars().next().map_or(0, char::len_utf8);
    let next = shown(&found[..end]);
    let reason = match expected {
        lex::Expect::Delim("\"") => return (offset(code, found), "the string is never closed".to_owned()),
        lex::Expect::Delim(open) if found.is_empty() => {
            return (offset(code, open), format!("this {open} is never closed"));
        }
        lex::Expect::Token => format!("unexpected {next}"),
        expected => format!("expected a {}, found {next}", expected.as_str()),
    };
    (offset(code, found), reason)
}

/// What the compiler misses.
pub(super) fn of_names(code: &str, undefined: Vec<(&str, Undefined)>) -> Fault {
    first(code, undefined.into_iter().map(|(name, kind)| (offset(code, name), missing(name, &kind))))
}

fn missing(name: &str, kind: &Undefined) -> String {
    if let Some(reason) = offered::withheld(name) {
        return reason.to_owned();
    }
    match kind {
        Undefined::Var => {
            let meant = nearest(name, GLOBALS).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            format!("no variable {}; programs have $meta, $diff, $node and $job{meant}", shown(name))
        }
        Undefined::Mod => "programs have no modules; write the definitions into the program".to_owned(),
        Undefined::Label => format!("no label {} around this break", shown(name)),
        Undefined::Filter(arguments) => {
            let arities = offered::arities(name);
            if let Some(known) = arities.first() {
                return format!("{name} does not take {}; it takes {}", counted(*arguments), counted(*known));
            }
            let names = offered::names();
            let meant = nearest(name, names.iter().map(String::as_str));
            let meant = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            format!("no function {} with {}{meant}", shown(name), counted(*arguments))
        }
        _ => format!("{} is not defined", shown(name)),
    }
}

fn counted(arguments: usize) -> String {
    match arguments {
        0 => "no argument".to_owned(),
        1 => "1 argument".to_owned(),
        several => format!("{several} arguments"),
    }
}

/// The start of what was found, in quotes.
fn shown(found: &str) -> String {
    let line = found.lines().next().unwrap_or_default();
    if found.is_empty() {
        return "the end of the program".to_owned();
    }
    // A text in quotes can be a secret.
    if line.starts_with('"') {
        return "a string".to_owned();
    }
    let word = line.split_once(char::is_whitespace).map_or(line, |(word, _)| word);
    let end = word.floor_char_boundary(SHOWN);
    let word = word.split('"').next().unwrap_or_default();
    format!("`{}`", word.get(..end).unwrap_or(word))
}

/// Where `part` begins in `code`; at its end where it is no part of it.
fn offset(code: &str, part: &str) -> usize {
    let start = (part.as_ptr() as usize).wrapping_sub(code.as_ptr() as usize);
    if start <= code.len() { start } else { code.len() }
}
