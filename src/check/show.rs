//! The report: a table for people, JSON for programs.

use std::time::Duration;

use serde::Serialize;

use super::Report;
use crate::{
    finding::{Finding, State},
    redact::escaped_json,
};

/// The fewest columns that texts are broken into.
const LEAST: usize = 30;

/// How to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// For people, with the colours of a terminal or without.
    Table {
        /// Whether to use them.
        colors: bool,
        /// The columns of the terminal; without one, a line stays whole.
        width: Option<usize>,
    },
    /// One JSON object.
    Json,
}

/// The report as JSON. Fields may be added, and none is removed.
#[derive(Serialize)]
struct Json<'a> {
    /// Whether nothing failed.
    ok: bool,
    took_ms: u128,
    findings: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    what: &'a str,
    /// `ok`, `skipped`, `warning` or `failed`.
    state: &'static str,
    took_ms: u128,
    text: &'a str,
    /// What to do; `null` if there is nothing.
    fix: Option<&'a str>,
}

pub(super) fn show(report: &Report, look: Look) -> String {
    match look {
        Look::Table { colors, width } => table(report, colors, width),
        Look::Json => json(report),
    }
}

fn json(report: &Report) -> String {
    let findings = report.findings.iter().map(row).collect();
    let json = Json { ok: report.is_well(), took_ms: report.took.as_millis(), findings };
    escaped_json(&serde_json::to_string_pretty(&json).expect("texts and numbers are JSON")) + "\n"
}

fn row(found: &Finding) -> Row<'_> {
    let Finding { what, state, took, text, fix, .. } = found;
    Row { what, state: state.name(), took_ms: took.as_millis(), text, fix: fix.as_deref() }
}

fn table(report: &Report, colors: bool, columns: Option<usize>) -> String {
    let width = |cells: &dyn Fn(&Finding) -> String| {
        report.findings.iter().map(|found| cells(found).chars().count()).max().unwrap_or_default()
    };
    let (whats, times) = (width(&|found| found.what.clone()), width(&|found| time(found.took)));
    let indent = 7 + 2 + whats + 2 + times + 2;
    // On a narrow terminal, a text that the terminal breaks is easier to read than a column of single words.
    let most =
        columns.map(|columns| columns.saturating_sub(indent)).filter(|most| *most >= LEAST).unwrap_or(usize::MAX);
    let below = format!("\n{}", " ".repeat(indent));
    let mut text = String::new();
    for found in &report.findings {
        let Finding { what, state, took, text: said, fix, .. } = found;
        let mark = painted(*state, &format!("{:7}", state.name()), colors);
        let said = lines(said, most).join(&below);
        text += &format!("{mark}  {what:<whats$}  {:>times$}  {said}", time(*took));
        for line in fix.iter().flat_map(|fix| lines(&format!("-> {fix}"), most)) {
            text += &below;
            text += &if colors { format!("\u{1b}[1m{line}\u{1b}[0m") } else { line };
        }
        text.push('\n');
    }
    text.push('\n');
    text += &summary(report);
    text
}

/// The text in lines of at most `most` characters, broken between words. A longer word has a line of its own.
fn lines(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// `A run would not work: 3 ok, 2 warnings, 1 failed, in 2.3s`.
fn summary(report: &Report) -> String {
    let counted = [State::Ok, State::Skipped, State::Warning, State::Failed].map(|state| (report.count(state), state));
    let counted: Vec<_> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| match (*count, *state) {
            (2.., State::Warning) => format!("{count} warnings"),
            _ => format!("{count} {}", state.name()),
        })
        .collect();
    let verdict = match (report.is_well(), report.count(State::Warning)) {
        (false, _) => "A run would not work",
        (true, 0) => "All right",
        (true, _) => "A run would work",
    };
    format!("{verdict}: {}, in {:.1}s\n", counted.join(", "), report.took.as_secs_f64())
}

fn painted(state: State, text: &str, colors: bool) -> String {
    let code = match state {
        _ if !colors => return text.to_owned(),
        State::Ok => "32",
        State::Skipped => "2",
        State::Warning => "33",
        State::Failed => "1;31",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

fn time(took: Duration) -> String {
    match took.as_millis() {
        0 => "-".to_owned(),
        ms @ ..1000 => format!("{ms}ms"),
        _ => format!("{:.1}s", took.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let findings = vec![
            Finding::ok("nomad http://a:4646", "Nomad 2.0.5, region global, leader b").after(Duration::from_millis(12)),
            Finding::failed("nomad list of nodes", "permission denied", "add a rule")
                .after(Duration::from_millis(1200)),
        ];
        Report { findings, took: Duration::from_millis(1234) }
    }

    #[test]
    fn a_fix_stands_beneath_its_line() {
        let text = report().show(Look::Table { colors: false, width: None });
        let expected = "\
ok       nomad http://a:4646  12ms  Nomad 2.0.5, region global, leader b
failed   nomad list of nodes  1.2s  permission denied
                                    -> add a rule

A run would not work: 1 ok, 1 failed, in 1.2s
";
        assert_eq!(text, expected);
        assert!(report().show(Look::Table { colors: true, width: None }).contains("\u{1b}[1;31mfailed "));
        let findings = vec![Finding::warning("a", "b", "c"), Finding::warning("d", "e", "f")];
        let warned = Report { findings, took: Duration::ZERO }.show(Look::Table { colors: false, width: None });
        assert!(warned.ends_with("A run would work: 2 warnings, in 0.0s\n"), "{warned}");
    }

    #[test]
    fn programs_get_every_field() {
        let json: serde_json::Value = serde_json::from_str(&report().show(Look::Json)).expect("JSON");
        assert_eq!(json["ok"], false);
        assert_eq!(json["findings"][1]["state"], "failed");
        assert_eq!(json["findings"][1]["took_ms"], 1200);
        assert_eq!(json["findings"][1]["fix"], "add a rule");
        assert_eq!(json["findings"][0]["fix"], serde_json::Value::Null);
    }

    #[test]
    fn a_terminal_gets_lines_that_fit() {
        let text = report().show(Look::Table { colors: false, width: Some(36 + 30) });
        let first = "ok       nomad http://a:4646  12ms  Nomad 2.0.5, region global,\n";
        assert!(text.starts_with(&format!("{first}{}leader b\n", " ".repeat(36))), "{text}");
        let narrow = report().show(Look::Table { colors: false, width: Some(40) });
        assert_eq!(narrow, report().show(Look::Table { colors: false, width: None }));
    }

    proptest::proptest! {
        #[test]
        fn no_word_is_lost(text in "[a-z ]{0,60}", most in 1_usize..40) {
            let lines = lines(&text, most);
            proptest::prop_assert_eq!(lines.join(" "), text);
            proptest::prop_assert!(lines.iter().all(|line| line.chars().count() <= most || !line.contains(' ')));
        }
    }
}
