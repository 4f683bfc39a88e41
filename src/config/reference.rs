//! `docs/configuration.md`: the prose of `reference.md`, with a table of settings in place of each marker.
//!
//! Write prose into `reference.md` and settings into the catalogue; `make reference` writes the page.

use super::catalogue::{self, ALL};
use crate::settings::{Change, Setting};

/// The prose. A line with a marker alone becomes a table.
const PROSE: &str = include_str!("reference.md");

/// Begins the marker of a table of the settings with a heading.
const SETTINGS: &str = "<!-- settings: ";
/// The marker of the table of the settings that need a restart.
const FIXED: &str = "<!-- settings that need a restart -->";
const END: &str = " -->";

const NOTE: &str =
    "<!-- Written by `make reference` from src/config/reference.md and the settings in the code. Change those. -->";

const HEAD: &str = "| Variable | Flag | Key | Default | Changes at run time | Meaning |\n|---|---|---|---|---|---|";

/// The whole page.
pub fn page() -> String {
    let mut page = format!("{NOTE}\n\n");
    for line in PROSE.lines() {
        let heading = line.strip_prefix(SETTINGS).and_then(|rest| rest.strip_suffix(END));
        match heading {
            Some(heading) => page += &table(heading),
            None if line == FIXED => page += &fixed(),
            None => page += line,
        }
        page.push('\n');
    }
    page
}

/// The settings below one heading, in the order of the help.
fn table(heading: &str) -> String {
    let rows = ALL.iter().filter(|setting| setting.heading == heading).map(|setting| row(setting));
    [HEAD.to_owned()].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

fn row(setting: &Setting) -> String {
    let Setting { flag, variable, help, default, choices, .. } = setting;
    let key = if catalogue::is_key(setting) { format!("`{flag}`") } else { "–".to_owned() };
    let default = default.map_or("–".to_owned(), |default| format!("`{default}`"));
    let choices = choices.map(|choices| format!(": {}", choices())).unwrap_or_default();
    let (change, help) = (words(setting.change), prose(&format!("{help}{choices}")));
    format!("| `{variable}` | `--{flag}` | {key} | {default} | {change} | {help} |")
}

fn words(change: Change) -> &'static str {
    match change {
        Change::AtOnce => "at once",
        Change::Pipeline => "restarts the pipeline",
        Change::Content => "its content at once; another path restarts the pipeline",
        Change::Program(_) => "needs a restart",
    }
}

/// Why some settings need a restart.
fn fixed() -> String {
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    for setting in ALL.iter() {
        let Change::Program(why) = setting.change else { continue };
        let name = format!("`{}`", setting.flag);
        match rows.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(name),
            None => rows.push((why, vec![name])),
        }
    }
    let rows = rows.iter().map(|(why, names)| format!("| {} | {why} |", names.join(", ")));
    ["| Setting | Why |\n|---|---|".to_owned()].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
}

/// A text of the help as Markdown: what stands between backticks stays as it is.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(place, part)| if place % 2 == 0 { escaped(part) } else { format!("`{part}`") });
    parts.collect()
}

/// Plain text: names of settings become code, and no character of it is Markdown.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        if ALL.iter().any(|setting| setting.variable == word) {
            out += &format!("`{word}`");
            rest = &rest[end..];
            continue;
        }
        // A word is passed over whole, so that no part of it is taken for a name.
        let end = end.max(first.len_utf8());
        for c in rest[..end].chars() {
            if matches!(c, '*' | '|' | '<') {
                out.push('\\');
            }
            out.push(c);
        }
        rest = &rest[end..];
    }
    out
}

// Without a feature, the settings of its sink are missing.
#[cfg(all(test, feature = "default"))]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_code_says() {
        let written = include_str!("../../docs/configuration.md");
        for (number, (made, written)) in page().lines().zip(written.lines()).enumerate() {
            assert_eq!(made, written, "line {} of docs/configuration.md; run `make reference`", number + 1);
        }
        assert_eq!(page(), written, "run `make reference`");
    }

    #[test]
    fn every_setting_has_one_row() {
        let page = page();
        for setting in ALL.iter() {
            let row = format!("\n| `{}` | `--{}` |", setting.variable, setting.flag);
            assert_eq!(page.matches(&row).count(), 1, "{}", setting.flag);
        }
        assert!(!page.contains("<!-- settings"), "a marker was not understood");
    }

    #[test]
    fn texts_of_the_help_are_safe_in_a_table() {
        assert_eq!(
            prose("..*Secret* or `a|b*`, NOMAD_ADDR and MY_NOMAD_ADDR"),
            "..\\*Secret\\* or `a|b*`, `NOMAD_ADDR` and MY_NOMAD_ADDR"
        );
        let rows = ALL.iter().map(|setting| row(setting).replace("\\|", ""));
        assert!(rows.into_iter().all(|row| row.matches('|').count() == 7));
    }
}
