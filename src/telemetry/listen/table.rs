//! The state as text, for those who ask with curl.

use std::fmt::Write as _;

use super::{View, report::Report};
use crate::telemetry::board::Row;

const LEGEND: &str = "
position  raft index up to which the event stream is delivered
lag       raft indexes that Nomad has reached and that are not delivered yet
oldest    age of the oldest event that is not delivered yet
gaps      ranges of raft indexes in which events may be missing; the log names them

/status        all of this and more, as JSON
/health/ready  readiness of each kind
/health/live   health of the process
/metrics       all metrics, for Prometheus
/              in a browser: a page that follows
";

pub(super) fn of(view: &View) -> String {
    let mut out = format!("nomad-firehose {}", env!("CARGO_PKG_VERSION"));
    if let Some(cluster) = &view.about.cluster {
        out += &format!(", cluster {cluster}");
    }
    let up = view.about.started.elapsed().unwrap_or_default().as_secs();
    let (report, rows) = (Report::of(view), view.board.rows());
    let ready = if rows.iter().all(|row| row.phase.is_ready()) { "ready" } else { "not ready" };
    out += &format!(", up {}h{:02}m{:02}s, {ready}\n\n{}\n", up / 3600, up / 60 % 60, up % 60, report.verdict.text);
    if let Some(fix) = report.verdict.fix {
        out += &format!("{fix}\n");
    }
    out.push('\n');
    let kind = if rows.iter().any(|row| row.name.contains('/')) { "pipeline/kind" } else { "kind" };
    let width = rows.iter().map(|row| row.name.len()).chain([kind.len(), 12]).max().unwrap_or_default() + 1;
    let mut row = |cells: [&str; 8]| {
        let [name, position, lag, oldest, delivered, dead, gaps, state] = cells;
        // Writing to a String cannot fail.
        writeln!(out, "{name:<width$}{position:>12}{lag:>8}{oldest:>9}{delivered:>12}{dead:>14}{gaps:>6}  {state}")
            .ok();
    };
    row([kind, "position", "lag", "oldest", "delivered", "dead letters", "gaps", "state"]);
    for Row { name, phase, resource, summary: it } in &rows {
        let [position, lag] = [it.position, it.lag_indexes].map(|number| number.to_string());
        let oldest = format!("{:.1}s", it.lag_seconds);
        let [delivered, dead, gaps] = [it.delivered, it.dead_letters, it.gaps].map(|number| number.to_string());
        let state = match &resource.holder {
            Some(holder) => format!("{phase}: {holder} leads"),
            None => phase.to_string(),
        };
        row([name, &position, &lag, &oldest, &delivered, &dead, &gaps, &state]);
    }
    out + LEGEND
}
