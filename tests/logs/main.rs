//! Compares `docs/logs.md`, which lists every event that the program logs, with the code, and checks the wording of each event.

mod page;
mod scan;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use page::Row;
use scan::Event;

const PAGE: &str = "docs/logs.md";

/// The modules whose events do not follow the rules yet. The page lists their events all the same.
#[rustfmt::skip] // A line for each, so that they can be removed one by one.
const EXEMPT: &[&str] = &[];

#[test]
fn the_page_lists_every_log_event() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let events = scan::events(&scan::sources(&root.join("src")));
    let rows = page::rows(&fs::read_to_string(root.join(PAGE)).expect("the page"));
    let problems = compare(&events, &rows, EXEMPT);
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Where the page and the code differ, and which events break the rules.
fn compare(events: &[Event], rows: &[Row], exempt: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut listed: BTreeMap<(&str, &str), &Row> = BTreeMap::new();
    let mut last = ("", "");
    for row in rows {
        let at = format!("{PAGE}:{}: `{}` in the section {}", row.line, row.event, row.module);
        if let Some(reason) = &row.malformed {
            problems.push(format!("{at}: {reason}"));
        }
        if listed.insert(row.key(), row).is_some() {
            problems.push(format!("{at} is listed twice"));
        } else if last.0 == row.module && last.1 > row.event.as_str() {
            problems.push(format!("{at} is not in order: it belongs before `{}`", last.1));
        }
        last = row.key();
    }
    let mut logged: BTreeMap<(&str, &str), Vec<&Event>> = BTreeMap::new();
    for event in events {
        logged.entry(event.key()).or_default().push(event);
    }
    for (key @ (module, text), events) in &logged {
        let levels: BTreeSet<&str> = events.iter().map(|event| event.level).collect();
        let levels = levels.into_iter().collect::<Vec<_>>().join(", ");
        let at = events.iter().fold(String::new(), |mut at, event| {
            write!(at, "{}{}:{}", if at.is_empty() { "" } else { ", " }, event.file, event.line).expect("a string");
            at
        });
        match listed.get(key) {
            None => problems.push(format!(
                "{at}: `{text}` is not in {PAGE}; add to the section {module}: | `{text}` | {levels} | meaning | what to do |"
            )),
            Some(row) if row.levels != levels => {
                problems.push(format!("{at}: `{text}` is logged as {levels}, and as {} in {PAGE}:{}", row.levels, row.line));
            }
            Some(_) => {}
        }
        if !exempt.contains(module)
            && let Some(breach) = breach(text)
        {
            problems.push(format!("{at}: `{text}` {breach}"));
        }
    }
    for row in listed.values().filter(|row| !logged.contains_key(&row.key())) {
        problems.push(format!("{PAGE}:{}: `{}` in the section {} is logged nowhere", row.line, row.event, row.module));
    }
    problems
}

/// Which rule the event breaks, if any.
fn breach(event: &str) -> Option<String> {
    let text = scan::outage(event).unwrap_or(event);
    let words = text.split_whitespace().count();
    if text.is_empty() {
        return Some("is logged without a constant message".to_owned());
    }
    if text.contains(['{', '}']) {
        return Some("has a placeholder; put data into fields".to_owned());
    }
    if let Some(mark) = text.chars().find(|c| ";:,".contains(*c)) {
        return Some(format!("has a clause after `{mark}`; name only the event, and put the rest into fields"));
    }
    if !text.starts_with(|c: char| c.is_lowercase()) {
        return Some("does not begin with a lower-case letter".to_owned());
    }
    (words > 8).then(|| format!("has {words} words; the limit is eight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<Event> {
        scan::events(&[("sink/http/mod.rs".to_owned(), text.to_owned())])
    }

    fn only(problems: &[String]) -> &str {
        assert_eq!(problems.len(), 1, "{problems:?}");
        &problems[0]
    }

    const SECTION: &str = "## sink\n\n| Event | Level | Meaning | What to do |\n|---|---|---|---|\n";

    #[test]
    fn an_unlisted_event_is_a_problem_that_names_file_line_and_row() {
        let problems =
            compare(&of("fn f() {\n    warn!(%reason, \"sink unavailable\");\n}"), &page::rows(SECTION), &[]);
        let problem = only(&problems);
        assert!(problem.starts_with("src/sink/http/mod.rs:2: `sink unavailable` is not in docs/logs.md"), "{problem}");
        assert!(problem.contains("| `sink unavailable` | warn |"), "{problem}");
    }

    #[test]
    fn another_level_is_a_problem() {
        let rows = page::rows(&format!("{SECTION}| `sink unavailable` | info | It is away. | Wait. |\n"));
        let problems = compare(&of("fn f() { warn!(\"sink unavailable\") }"), &rows, &[]);
        let problem = only(&problems);
        assert!(problem.ends_with("is logged as warn, and as info in docs/logs.md:5"), "{problem}");
    }

    #[test]
    fn a_row_without_an_event_is_a_problem() {
        let rows = page::rows(&format!("{SECTION}| `sink closed` | info | It is closed. | Nothing. |\n"));
        let problems = compare(&[], &rows, &[]);
        assert_eq!(only(&problems), "docs/logs.md:5: `sink closed` in the section sink is logged nowhere");
        // The same event of another module does not count.
        let problems = compare(
            &scan::events(&[("main.rs".to_owned(), "fn f() { info!(\"sink closed\") }".to_owned())]),
            &rows,
            &[],
        );
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn rows_that_are_out_of_order_twice_there_or_incomplete_are_problems() {
        let row = |event: &str| format!("| `{event}` | info | Yes. | Nothing. |\n");
        let code = of("fn f() { info!(\"a\"); info!(\"b\") }");
        let rows = |text: &[String]| page::rows(&format!("{SECTION}{}", text.concat()));
        assert_eq!(compare(&code, &rows(&[row("a"), row("b")]), &[]), <[String; 0]>::default());
        assert!(only(&compare(&code, &rows(&[row("b"), row("a")]), &[])).contains("it belongs before `b`"));
        assert!(only(&compare(&code, &rows(&[row("a"), row("b"), row("b")]), &[])).contains("listed twice"));
        let short = "| `b` | info | |\n".to_owned();
        assert!(only(&compare(&code, &rows(&[row("a"), short]), &[])).contains("four cells"));
    }

    #[test]
    fn events_against_the_rules_are_problems_unless_their_module_is_exempt() {
        let text = "sink gone; trying again";
        let rows = page::rows(&format!("{SECTION}| `{text}` | info | It is gone. | Wait. |\n"));
        let code = of(&format!("fn f() {{ info!(\"{text}\") }}"));
        let problems = compare(&code, &rows, &[]);
        let problem = only(&problems);
        assert!(
            problem.starts_with("src/sink/http/mod.rs:1: `sink gone; trying again` has a clause after `;`"),
            "{problem}"
        );
        assert_eq!(compare(&code, &rows, &["sink"]), <[String; 0]>::default());
    }

    #[test]
    fn the_rules() {
        for well in [
            "drained",
            "one two three four five six seven eight",
            "event stream of Nomad ended",
            "operation=\"reading lists\"",
        ] {
            assert_eq!(breach(well), None, "{well}");
        }
        for (wrong, said) in [
            ("one two three four five six seven eight nine", "9 words"),
            ("Nomad is away", "lower-case"),
            ("gone: trying again", "`:`"),
            ("gone, trying again", "`,`"),
            ("{reason}", "placeholder"),
            ("", "without"),
            ("operation=\"reading, lists\"", "`,`"),
        ] {
            assert!(breach(wrong).is_some_and(|breach| breach.contains(said)), "{wrong}");
        }
    }
}
