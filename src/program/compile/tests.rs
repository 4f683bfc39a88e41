use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    offered::{NATIVE_WITHHELD, OFFERED},
    *,
};

fn fault(code: &str) -> String {
    check(code).expect_err(code).to_string()
}

#[test]
fn every_native_function_of_jaq_is_offered_or_withheld() {
    let all: BTreeSet<_> = all_functions().map(|(name, arguments, _)| (name, arguments.len())).collect();
    let known: BTreeSet<_> = OFFERED.iter().chain(NATIVE_WITHHELD).copied().collect();
    let new: Vec<_> = all.difference(&known).collect();
    let gone: Vec<_> = known.difference(&all).collect();
    assert!(new.is_empty() && gone.is_empty(), "new: {new:?}, gone: {gone:?}");
}

#[test]
fn what_jq_programs_are_written_with_compiles() {
    for code in [
        ".",
        "select(.ClientStatus == \"failed\")",
        "{text: \"\\(.JobID) failed\", severity: \"error\"}",
        ".TaskGroups[].Tasks[] | {name: .Name, image: .Config.image}",
        "if $diff == null then empty else {text: $diff.path, job: $job.Name, node: $node.Name, at: $meta.time} end",
        "reduce .[] as $x (0; . + $x) | tostring | test(\"^[0-9]+$\")",
        "def f($x; g): $x | g; f(.a; .b) // \"none\" | @base64 | ascii_downcase",
        "try error(\"x\") catch . , (.. | strings), (to_entries | map(.key) | join(\",\"))",
        "[limit(3; range(10))] | sort_by(.) | group_by(. % 2) | unique | add | now - . | todate",
        "label $out | foreach .[] as $x (0; . + $x; if . > 3 then ., break $out else empty end)",
        "# a comment\n.a?",
    ] {
        assert!(check(code).is_ok(), "{code}: {:?}", check(code));
    }
}

#[test]
fn a_program_cannot_reach_out_of_its_record() {
    for (code, reason) in [
        ("env", "environment"),
        ("$ENV.SECRET", "environment"),
        ("input", "one record at a time"),
        ("[inputs]", "one record at a time"),
        ("input_filename", "one record at a time"),
        ("halt", "cannot stop"),
        ("halt_error", "cannot stop"),
        ("halt_error(1)", "cannot stop"),
        ("halt(1)", "cannot stop"),
        ("debug", "cannot write to the log"),
        ("debug(\"x\")", "cannot write to the log"),
        ("stderr", "cannot write to the log"),
        ("debug_empty", "cannot write to the log"),
        ("get_search_list", "no modules"),
        ("localtime", "UTC"),
        ("import \"a\" as a; .", "no modules"),
        ("include \"/etc/passwd\"; .", "no modules"),
        ("import \"/etc/passwd\" as $data; .", "no modules"),
        ("a::b", "no modules"),
    ] {
        let fault = fault(code);
        assert!(fault.contains(reason) && fault.starts_with("line 1, column "), "{code}: {fault}");
    }
}

#[test]
fn a_fault_says_where_and_what_in_plain_words() {
    for (code, expected) in [
        ("selekt(.a)", "line 1, column 1: no function `selekt` with 1 argument; did you mean select?"),
        (".a |\n  select", "line 2, column 3: select does not take no argument; it takes 1 argument"),
        (
            ".a | $mete.id",
            "line 1, column 6: no variable `$mete`; programs have $meta, $diff, $node and $job; did you mean $meta?",
        ),
        (".a | ", "line 1, column 6: expected a term, found the end of the program"),
        ("[.a | map(.b", "line 1, column 1: this [ is never closed"),
        ("{a: (.b}", "line 1, column 8: expected a closing parenthesis, found `}`"),
        ("\"ü\" | §", "line 1, column 7: unexpected `§`"),
        ("if .a then .b", "line 1, column 14: expected `else` or `end`, found the end of the program"),
        (".a == \"open", "line 1, column 12: the string is never closed"),
        ("break $out", "line 1, column 7: no label `$out` around this break"),
    ] {
        assert_eq!(fault(code), expected, "{code}");
    }
}

#[test]
fn the_variables_of_a_program_are_those_that_it_uses() {
    let none = Uses::default();
    let all = Uses { mentions: Mentions { diff: true, node: true, job: true }, meta: true };
    for (code, uses) in [
        (".", none),
        ("\"$diff\" # $node", none),
        (". as $diff | $diff", none),
        ("def f($job): $job; f(1)", none),
        ("{$meta, a: [$diff], \"\\($node)\": 1} | select(.x == $job)", all),
        ("def f: $diff; f", Uses { mentions: Mentions { diff: true, ..Mentions::default() }, meta: false }),
        ("$meta.id", Uses { meta: true, ..none }),
    ] {
        assert_eq!(check(code).expect(code), uses, "{code}");
    }
}

#[test]
fn no_program_is_too_deep_for_the_one_who_checks_it() {
    for piece in [
        "(",
        "[",
        "{a:",
        "-",
        "try ",
        "if ",
        "def f: ",
        "reduce ",
        ". as $x | ",
        ".|",
        "1+",
        "label $x | ",
        "\"\\(",
        "..",
        "[.]",
        ".a.",
        "//",
        "if . then . elif ",
        "1,",
        ".a?",
        "? ",
        "not|",
        ".[",
        ". as [",
        "{(",
    ] {
        let repeated = piece.repeat(LONGEST / piece.len());
        for code in [repeated.clone(), format!("{}.", &repeated[..repeated.len() - piece.len()])] {
            drop(check(&code));
        }
        assert!(check(&(repeated + "            ")).is_err(), "{piece}");
    }
}

#[test]
fn a_fault_shows_no_text_of_the_program() {
    for code in [
        ".a \"xoxb-secret\"",
        "{\"xoxb-secret\" \"xoxb-secret\"}",
        "foo(\"xoxb-secret\")",
        "\"xoxb-secret",
        "\"xoxb-secret\\q\"",
    ] {
        assert!(!fault(code).contains("xoxb"), "{code}: {}", fault(code));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a program is, it compiles, or there is a fault at a place in it.
    #[test]
    fn no_text_breaks_it(code in "([.|,;:()\\[\\]{}$\"\\\\a-f0-9+*/?@# \n-]|select|def |reduce | as |if |then | end|\\PC){0,40}") {
        if let Err(fault) = check(&code) {
            proptest::prop_assert!(!fault.to_string().is_empty());
        }
    }
}
