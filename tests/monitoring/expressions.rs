//! The expressions of the alerts and of the dashboard, as a test can run them: with short times, and with the variables filled in.

use serde_json::Value;

pub const RULES: &str = include_str!("../../deploy/prometheus/rules.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/nomad-firehose.json");

/// The rules without their waits, and over shorter times.
pub fn quick_rules() -> String {
    let kept = RULES.lines().filter(|line| !line.trim_start().starts_with("for: "));
    kept.map(|line| quick(line) + "\n").collect()
}

/// The names of the alerts, each with its severity.
pub fn alerts() -> Vec<(&'static str, &'static str)> {
    let value = |name: &'static str| RULES.lines().filter_map(move |line| line.trim().strip_prefix(name));
    value("- alert: ").zip(value("severity: ")).collect()
}

/// A query of the dashboard.
pub struct Query {
    pub panel: String,
    pub expression: String,
}

/// All queries of the dashboard, for all jobs, pipelines and kinds.
pub fn panels() -> Vec<Query> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut queries = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in list(&panel["targets"]) {
            queries.push(Query { panel: text(&panel["title"]), expression: filled(&text(&target["expr"])) });
        }
    }
    for annotation in list(&dashboard["annotations"]["list"]) {
        queries.push(Query { panel: "annotation".to_owned(), expression: filled(&text(&annotation["expr"])) });
    }
    for variable in list(&dashboard["templating"]["list"]) {
        // What Grafana makes of `label_values(series, label)`.
        let asked = text(&variable["definition"]);
        let asked = asked.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        if let Some((series, label)) = asked.and_then(|asked| asked.rsplit_once(", ")) {
            let expression = filled(&format!("group by ({label}) ({series})"));
            queries.push(Query { panel: "variable".to_owned(), expression });
        }
    }
    queries
}

/// The first query of a panel.
pub fn panel(title: &str) -> String {
    let found = panels().into_iter().find(|query| query.panel == title);
    found.unwrap_or_else(|| panic!("there is no panel {title}")).expression
}

fn filled(expression: &str) -> String {
    let all =
        ["$job", "$pipeline", "$kind"].into_iter().fold(expression.to_owned(), |text, name| text.replace(name, ".*"));
    quick(&all.replace("$__rate_interval", "10s").replace("$__range", "1m"))
}

fn quick(text: &str) -> String {
    let shorter = [
        ("[1d:15s]", "[1d:1s]"),
        ("[1m]", "[10s]"),
        ("[2m]", "[10s]"),
        ("[5m]", "[10s]"),
        ("[15m]", "[20s]"),
        ("[1h]", "[1m]"),
    ];
    shorter.into_iter().fold(text.to_owned(), |text, (long, short)| text.replace(long, short))
}
