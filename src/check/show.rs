//! The report: a table for people, JSON for programs.

use std::time::Duration;

use serde::Serialize;

use super::Report;
use crate::{
    finding::{Finding, State},
    redact::escaped_json,
};

/// How to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// For people, with the colours of a terminal or without.
    Table {
        /// Whether to use them.
        colors: bool,
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
        Look::Table { colors } => table(report, colors),
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

fn table(report: &Report, colors: bool) -> String {
    let width = |cells: &dyn Fn(&Finding) -> String| {
        report.findings.iter().map(|found| cells(found).chars().count()).max().unwrap_or_default()
    };
    let (whats, times) = (width(&|found| found.what.clone()), width(&|found| time(found.took)));
    let mut text = String::new();
    for found in &report.findings {
        let Finding { what, state, took, text: said, fix, .. } = found;
        let mark = painted(*state, &format!("{:7}", state.name()), colors);
        text += &format!("{mark}  {what:<whats$}  {:>times$}  {said}\n", time(*took));
        if let Some(fix) = fix {
            let indent = " ".repeat(7 + 2 + whats + 2 + times + 2);
            text += &format!(
                "{indent}{}\n",
                if colors { format!("\u{1b}[1m→ {fix}\u{1b}[0m") } else { format!("-> {fix}") }
            );
        }
    }
    text.push('\n');
    text += &summary(report);
    text
}

/// `3 ok, 1 warning, 1 failed in 2.3s`.
fn summary(report: &Report) -> String {
    let counted = [State::Ok, State::Skipped, State::Warning, State::Failed].map(|state| (report.count(state), state));
    let counted: Vec<_> = counted
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {}", state.name()))
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
        let text = report().show(Look::Table { colors: false });
        let expected = "\
ok       nomad http://a:4646  12ms  Nomad 2.0.5, region global, leader b
failed   nomad list of nodes  1.2s  permission denied
                                    -> add a rule

A run would not work: 1 ok, 1 failed, in 1.2s
";
        assert_eq!(text, expected);
        assert!(report().show(Look::Table { colors: true }).contains("\u{1b}[1;31mfailed "));
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
}
