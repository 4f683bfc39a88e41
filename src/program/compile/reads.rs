//! Which keys of the record a program reads, where its text shows it.
//!
//! Most programs look at a few keys of a record that has many. Where that is certain, only those are parsed: that is ten
//! times as fast. It is certain where `.` itself only appears in front of a key, or as an output: an output that *is* the
//! record needs no parsed record, because the record passes as it came. Everything else counts as reading all of it.

use std::collections::BTreeSet;

use jaq_core::{
    load::{
        lex::StrPart,
        parse::{BinaryOp, Pattern, Term},
    },
    path::Part,
};

/// The keys that a term reads; `None` where it can read any.
type Keys<'a> = Option<BTreeSet<&'a str>>;

/// Functions whose outputs only depend on their arguments, which see the record.
const OF_ARGUMENTS: [(&str, usize); 12] = [
    ("empty", 0),
    ("true", 0),
    ("false", 0),
    ("null", 0),
    ("now", 0),
    ("error", 1),
    ("first", 1),
    ("last", 1),
    ("isempty", 1),
    ("limit", 2),
    ("range", 1),
    ("range", 2),
];

/// The keys that the program reads; `None` where it can read any. `passes`: its outputs can be the record itself.
pub(in crate::program) fn keys(code: &str, passes: bool) -> Option<BTreeSet<String>> {
    let term = jaq_core::load::parse(code, |parser| parser.term())?;
    Some(of(&term, passes)?.into_iter().map(str::to_owned).collect())
}

fn none<'a>() -> Keys<'a> {
    Some(BTreeSet::new())
}

fn both<'a>(a: Keys<'a>, b: Keys<'a>) -> Keys<'a> {
    let mut keys = a?;
    keys.extend(b?);
    Some(keys)
}

fn all<'a, 's: 'a>(terms: impl IntoIterator<Item = &'a Term<&'s str>>) -> Keys<'a> {
    terms.into_iter().fold(none(), |keys, term| both(keys, of(term, false)))
}

/// The keys that `term` reads of its input. `tail`: its outputs are those of the program.
fn of<'a>(term: &'a Term<&str>, tail: bool) -> Keys<'a> {
    match term {
        Term::Id if tail => none(),
        Term::Num(_) | Term::Var(_) | Term::Arr(None) => none(),
        Term::Arr(Some(term)) | Term::Neg(term) => of(term, false),
        Term::Str(_, parts) => all(parts.iter().filter_map(|part| match part {
            StrPart::Term(term) => Some(term),
            StrPart::Str(_) | StrPart::Char(_) => None,
        })),
        Term::Obj(entries) => entries.iter().fold(none(), |keys, (key, value)| {
            both(
                keys,
                match (key, value) {
                    (Term::Var(_), None) => none(),
                    (key, None) => literal(key).map(|key| BTreeSet::from([key])),
                    (key, Some(value)) => both(of(key, false), of(value, false)),
                },
            )
        }),
        Term::BinOp(left, operator, right) => of_operator(left, operator, right, tail),
        Term::IfThenElse(branches, otherwise) => {
            let keys = branches
                .iter()
                .fold(none(), |keys, (condition, then)| both(keys, both(of(condition, false), of(then, tail))));
            let otherwise = otherwise.as_ref().map_or_else(|| of(&Term::Id, tail), |term| of(term, tail));
            both(keys, otherwise)
        }
        // What is caught is no longer the record.
        Term::TryCatch(term, _) => of(term, tail),
        Term::Path(start, path) => {
            let mut parts = path.0.iter().map(|(part, _)| part);
            let first = match &**start {
                Term::Id => match parts.next()? {
                    Part::Index(key) => literal(key).map(|key| BTreeSet::from([key])),
                    Part::Range(..) => None,
                },
                start => of(start, false),
            };
            parts.fold(first, |keys, part| match part {
                Part::Index(term) => both(keys, of(term, false)),
                Part::Range(from, to) => both(keys, all(from.iter().chain(to))),
            })
        }
        Term::Call(name, arguments) => match (*name, &arguments[..]) {
            ("select", [condition]) if tail => of(condition, false),
            ("any" | "all", [generator, _]) => of(generator, false),
            (name, arguments) if OF_ARGUMENTS.contains(&(name, arguments.len())) => all(arguments),
            _ => None,
        },
        _ => None,
    }
}

fn of_operator<'a>(left: &'a Term<&str>, operator: &'a BinaryOp<&str>, right: &'a Term<&str>, tail: bool) -> Keys<'a> {
    match (operator, left) {
        (BinaryOp::Pipe(None), Term::Id) => of(right, tail),
        (BinaryOp::Pipe(None), Term::Call("select", condition)) if condition.len() == 1 => {
            both(of(&condition[0], false), of(right, tail))
        }
        // The right side sees what the left one gives, which is not the record.
        (BinaryOp::Pipe(None), left) => of(left, false),
        (BinaryOp::Pipe(Some(Pattern::Var(_))), left) => both(of(left, false), of(right, tail)),
        (BinaryOp::Comma | BinaryOp::Alt, left) => both(of(left, tail), of(right, tail)),
        (BinaryOp::Or | BinaryOp::And | BinaryOp::Math(_) | BinaryOp::Cmp(_), left) => {
            both(of(left, false), of(right, false))
        }
        _ => None,
    }
}

/// The text of a string without anything to compute or to unescape.
fn literal<'a>(term: &'a Term<&str>) -> Option<&'a str> {
    match term {
        Term::Str(None, parts) => match &parts[..] {
            [StrPart::Str(text)] => Some(text),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_where_the_record_itself_is_not_used() {
        for (code, expected) in [
            ("select(.ClientStatus == \"failed\")", Some("ClientStatus")),
            (
                "select(.a.b == 1 and (.c | test(\"x\"))) | {text: \"\\(.d) \\($meta.id)\", e, f: [.g[.h]]}",
                Some("a,c,d,e,g,h"),
            ),
            ("if .a then . else empty end", Some("a")),
            ("if .a then .b end", Some("a,b")),
            (".a // .b, .", Some("a,b")),
            (".a as $x | .b + $x", Some("a,b")),
            ("try .a catch .", Some("a")),
            (".a | keys | .[] | select(. == \"x\")", Some("a")),
            ("any(.a[]; . > 1)", Some("a")),
            (".\"a b\", .[\"c\"]?", Some("a b,c")),
            ("1", Some("")),
            (".", Some("")),
            ("[.]", None),
            ("{a: .}", None),
            (".[\"a\", .b]", None),
            (".[.a]", None),
            (".[]", None),
            ("..", None),
            ("keys", None),
            ("select(.a) | length", None),
            (".a = 1", None),
            ("def f: .a; f", None),
            (". as $x | $x", None),
            (". as {$a} | $a", None),
            ("select(length > 1)", None),
            ("(., .a) | .b", None),
            ("reduce .a as $x (0; . + 1)", None),
            (".a | error", Some("a")),
            ("error", None),
            ("\"\\(.)\"", None),
            ("select(select(.a) | .b)", Some("a,b")),
        ] {
            let keys = keys(code, true).map(|keys| keys.into_iter().collect::<Vec<_>>().join(","));
            assert_eq!(keys.as_deref(), expected, "{code}");
        }
        assert_eq!(keys("select(.a)", false), None);
    }
}
