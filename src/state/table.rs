//! The report as a table for people.

use std::{fmt::Write as _, time::Duration};

use super::view::{GapRow, Leading, Report, Row, StreamRow};
use crate::{
    coordinator::inspect::{Leader, Unit},
    redact::{LINE, shown},
};

/// How many bytes are shown of a text from outside.
const SHOWN: usize = 80;
/// A cell without a value.
const NONE: &str = "-";

/// The report as text.
pub(super) fn write(report: &Report, unit: Unit) -> String {
    let mut text = format!("{}\n\n", shown(&report.place, LINE));
    if report.kinds.is_empty() {
        text += "Nothing is stored, and no replica leads.\n";
        return text;
    }
    let head = [
        "KIND",
        "STREAM",
        "POSITION",
        "GAPS",
        "TASK CURSORS",
        "LEGACY VALUE",
        heading(unit),
        "BYTES",
        "LEASE",
        "LEADER",
    ];
    let mut cells = vec![head.map(str::to_owned)];
    report.kinds.iter().for_each(|row| cells.extend(rows(row)));
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in &cells {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            // Numbers are aligned to the right.
            let padded = match column {
                2..=7 => format!("{cell:>width$}  "),
                _ => format!("{cell:<width$}  "),
            };
            line += &padded;
        }
        text += line.trim_end();
        text.push('\n');
    }
    let remarks: String = report.kinds.iter().map(remarks).collect();
    if !remarks.is_empty() {
        text.push('\n');
        text += &remarks;
    }
    text
}

/// One row for each stream. The first one also has what belongs to the kind as a whole.
fn rows(row: &Row) -> Vec<[String; 10]> {
    let checkpoint = row.checkpoint.as_ref();
    let streams: Vec<Option<&StreamRow>> = match checkpoint.map(|checkpoint| checkpoint.streams.as_slice()) {
        Some(streams @ [_, ..]) => streams.iter().map(Some).collect(),
        _ => vec![None],
    };
    let mut rows: Vec<[String; 10]> = streams.into_iter().map(stream_cells).collect();
    let value = match (&row.value_time, row.value) {
        (Some(time), _) => time.clone(),
        (None, Some(value)) => value.to_string(),
        (None, None) => NONE.to_owned(),
    };
    let lease = row.leader.as_ref().and_then(|leader| leader.lease_ms);
    let first = &mut rows[0];
    first[0] = row.kind.to_owned();
    first[4] = checkpoint.map_or(NONE.to_owned(), |checkpoint| grouped(checkpoint.task_cursors as u64));
    first[5] = value;
    first[6] = grouped(row.entries as u64);
    first[7] = grouped(row.bytes);
    first[8] = lease.map_or(NONE.to_owned(), |ms| format!("{:?}", Duration::from_millis(ms)));
    first[9] = row.leader.as_ref().map_or("none".to_owned(), leading);
    if row.unreadable {
        first[2] = "unreadable".to_owned();
    }
    rows
}

fn stream_cells(stream: Option<&StreamRow>) -> [String; 10] {
    let mut cells: [String; 10] = Default::default();
    let Some(stream) = stream else {
        cells[1..4].fill(NONE.to_owned());
        return cells;
    };
    cells[1] = short(&stream.name);
    cells[2] = stream.index.to_string();
    cells[3] = match stream.gaps.iter().map(|gap| gap.ranges.len()).sum() {
        0 => NONE.to_owned(),
        ranges => grouped(ranges as u64),
    };
    cells
}

/// What does not fit into a row.
fn remarks(row: &Row) -> String {
    let mut text = String::new();
    for problem in &row.problems {
        writeln!(text, "{}: {}", row.kind, problem).expect("a String takes everything");
    }
    for note in &row.notes {
        writeln!(text, "{}: {}", row.kind, note).expect("a String takes everything");
    }
    if let Some(cluster) = row.checkpoint.as_ref().and_then(|checkpoint| checkpoint.cluster.as_ref()) {
        writeln!(text, "{}: stored by the cluster with {}", row.kind, short(&cluster.to_string()))
            .expect("a String takes everything");
    }
    for stream in row.checkpoint.iter().flat_map(|checkpoint| &checkpoint.streams) {
        for gap in &stream.gaps {
            writeln!(text, "{}, stream {}: {}", row.kind, short(&stream.name), unfinished(gap))
                .expect("a String takes everything");
        }
    }
    text
}

/// What a backfill has still to do.
fn unfinished(gap: &GapRow) -> String {
    let mut ranges: Vec<_> =
        gap.ranges.iter().take(8).map(|range| format!("{} to {}", range.from, range.until.saturating_sub(1))).collect();
    if gap.ranges.len() > ranges.len() {
        ranges.push(format!("{} more ranges", gap.ranges.len() - ranges.len()));
    }
    let of = gap.namespace.as_ref().map(|name| format!(" of namespace {}", short(name))).unwrap_or_default();
    let page = match &gap.page {
        Some(page) => format!("page {:?}", short(page)),
        None => "its first page".to_owned(),
    };
    format!("backfill{of} is unfinished: indexes {}; it resumes at {page}", ranges.join(", "))
}

/// Who leads, for people.
pub(super) fn leader(leader: &Leader) -> String {
    match leader {
        Leader::None | Leader::NoLock { .. } => "none".to_owned(),
        Leader::Known { holder, session, .. } => {
            // On a full file system the leader could not write its name.
            let holder = if holder.is_empty() { "unknown".to_owned() } else { short(holder) };
            match session {
                Some(session) => format!("{holder} (session {})", short(session)),
                None => holder,
            }
        }
        Leader::Silent { session } => {
            format!("a program without heartbeats, such as the original (session {})", short(session))
        }
    }
}

fn leading(leading: &Leading) -> String {
    let session = leading.session.clone();
    leader(&match &leading.holder {
        Some(holder) => Leader::Known { holder: holder.clone(), session, lease: None },
        None => Leader::Silent { session: session.unwrap_or_default() },
    })
}

fn heading(unit: Unit) -> &'static str {
    match unit {
        Unit::Keys => "KEYS",
        Unit::Files => "FILES",
        Unit::Variables => "VARIABLES",
    }
}

/// `1 key`, `14 keys`.
pub(super) fn counted(number: usize, unit: Unit) -> String {
    let one = match unit {
        Unit::Keys => "key",
        Unit::Files => "file",
        Unit::Variables => "Variable",
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number as u64))
}

/// `39,120`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A text from outside, safe to show and cut to a few words.
pub(super) fn short(text: &str) -> String {
    shown(text, SHOWN)
}
