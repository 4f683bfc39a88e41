//! Why an evaluation could not place allocations.

use serde_json::Value;

use super::words::count;

/// For each group that could not be placed: its name, and why not. Both are as Nomad sent them.
pub(crate) fn unplaced(evaluation: &Value) -> Vec<(&str, String)> {
    let groups = evaluation["FailedTGAllocs"].as_object().into_iter().flatten();
    groups.map(|(group, metric)| (group.as_str(), why(metric))).collect()
}

fn why(metric: &Value) -> String {
    let number = |name: &str| metric[name].as_u64().unwrap_or_default();
    let mut why: Vec<String> = Vec::new();
    for (member, words) in [
        ("ConstraintFiltered", "filtered by the constraint"),
        ("ClassFiltered", "filtered by the class"),
        ("DimensionExhausted", "without enough"),
        ("ClassExhausted", "exhausted of the class"),
    ] {
        let counts = metric[member].as_object().into_iter().flatten();
        why.extend(counts.map(|(what, nodes)| {
            let nodes = nodes.as_u64().map_or_else(|| format!("{nodes} nodes"), |nodes| count(nodes, "node"));
            format!("{nodes} {words} {what}")
        }));
    }
    let quota = metric["QuotaExhausted"].as_array().into_iter().flatten().filter_map(Value::as_str);
    why.extend(quota.map(|quota| format!("quota exhausted: {quota}")));
    if why.is_empty() {
        why.push(match number("NodesEvaluated") {
            0 => "no node is available".to_owned(),
            1 => "the only node does not fit".to_owned(),
            nodes => format!("none of {nodes} nodes fits"),
        });
    }
    match number("CoalescedFailures") {
        0 => why.join(", "),
        more => format!("{} (and {more} more of the group)", why.join(", ")),
    }
}
