//! What the documents say about alerts, compared with the rules.

use crate::expressions::{RULES, alerts};

const MANUAL: &str = include_str!("../../docs/monitoring.md");

#[test]
fn the_manual_lists_every_alert_with_its_severity_and_no_other() {
    let row = |line: &'static str| line.strip_prefix("| `NomadFirehose").map(|rest| format!("NomadFirehose{rest}"));
    let listed: Vec<_> = MANUAL.lines().filter_map(row).collect();
    let heads: Vec<_> = listed.iter().map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected: Vec<_> = alerts().into_iter().map(|(name, severity)| format!("{name}` {severity}")).collect();
    assert_eq!(heads, expected);
}

#[test]
fn every_alert_names_its_section_of_the_runbook() {
    let operations = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let operations = std::fs::read_to_string(operations).unwrap_or_default().to_lowercase();
    for (name, _) in alerts() {
        let anchor = name.to_lowercase();
        assert!(RULES.contains(&format!("runbook_url: 'docs/operations.md#{anchor}'")), "{name}");
        let has_section = operations.lines().any(|line| line.starts_with('#') && line.trim_end().ends_with(&anchor));
        assert!(operations.is_empty() || has_section, "docs/operations.md has no section {name}");
    }
}
