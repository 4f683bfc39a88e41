//! The settings as a table for people.

use std::fmt::Write as _;

use super::{Effective, Entry};
use crate::{
    redact::{LINE, shown},
    settings::Origin,
};

/// The least room for a value.
const LEAST: usize = 24;

pub(super) fn write(effective: &Effective, all: bool, width: usize) -> String {
    let mut text = String::new();
    let wanted = |entry: &&Entry| all || entry.matters();
    let names =
        effective.sections().flat_map(|(_, entries)| entries).filter(wanted).map(|entry| entry.setting.flag.len());
    let names = names.max().unwrap_or_default();
    for (pipeline, entries) in effective.sections() {
        let mut rows: Vec<_> = entries.iter().filter(wanted).collect();
        // The stages between source and sink have settings below the heading of the sink, too.
        let headings: Vec<_> = rows.iter().map(|entry| entry.setting.heading).collect();
        rows.sort_by_key(|entry| headings.iter().position(|heading| *heading == entry.setting.heading));
        // A value that nobody can read on one line is cut; JSON has all of it.
        let room = width.saturating_sub(names + ORIGIN + 6).max(LEAST);
        let cells: Vec<_> = rows.iter().map(|entry| cell(entry, room)).collect();
        let values = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or_default();
        let mut heading = "";
        if let Some(name) = pipeline {
            writeln!(text, "\n[pipeline.{name}]").expect("a String takes everything");
        }
        for (entry, cell) in rows.iter().zip(&cells) {
            if entry.setting.heading != heading {
                heading = entry.setting.heading;
                let before = if text.is_empty() { "" } else { "\n" };
                writeln!(text, "{before}{heading}").expect("a String takes everything");
            }
            let origin = origin(entry);
            let line = format!("  {:<names$}  {cell:<values$}  {origin}", entry.setting.flag);
            writeln!(text, "{}", line.trim_end()).expect("a String takes everything");
        }
    }
    text
}

/// What the column of the origin takes, unless paths are long.
const ORIGIN: usize = 30;

fn cell(entry: &Entry, room: usize) -> String {
    if entry.values.is_empty() {
        return "–".to_owned();
    }
    let value = shown(entry.shown().join(", "), LINE);
    match value.char_indices().nth(room) {
        Some(_) => value.chars().take(room - 1).chain(['…']).collect(),
        None => value,
    }
}

fn origin(entry: &Entry) -> String {
    let origin = match &entry.origin {
        None => entry.origin_name().to_owned(),
        Some(Origin::Flag) => format!("--{}", entry.setting.flag),
        Some(Origin::Variable) => entry.setting.variable.to_owned(),
        Some(Origin::Foreign(name)) => shown(name.clone(), LINE),
        Some(Origin::File(path)) => shown(path.display().to_string(), LINE),
        Some(Origin::Pipeline(path, name)) => {
            format!("[pipeline.{name}] in {}", shown(path.display().to_string(), LINE))
        }
    };
    if entry.applies { origin } else { format!("{origin} (not read)") }
}
