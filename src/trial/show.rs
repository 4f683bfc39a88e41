//! What a user sees of each record.

mod json;
mod paint;

use serde_json::Value;

use self::paint::{Color, Paint};
use super::{
    Sums,
    compare::{changes, common},
    outcome::{Outcome, Tried},
};
use crate::{notify::Message, record::Record, redact};

/// For whom it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// People.
    Text,
    /// Programs: one JSON object a line.
    Json,
}

/// How to show it.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// For whom.
    pub form: Form,
    /// Whether to use the colours of a terminal.
    pub colors: bool,
    /// The columns of a line.
    pub width: usize,
    /// Whether to show records whole, and those that are filtered too.
    pub full: bool,
}

/// How far details are indented.
const INDENT: usize = 10;
/// The most differences.
const DIFFERENCES: usize = 16;
/// The most lines of an output.
const OUTPUT: usize = 60;

/// Shows what was tried.
pub(super) struct Show {
    look: Look,
    paint: Paint,
    /// The name of the sink that shows messages to people.
    messenger: Option<&'static str>,
}

impl Show {
    pub(super) fn new(look: Look, messenger: Option<&'static str>) -> Self {
        Show { look, paint: Paint(look.colors), messenger }
    }

    /// A record and what became of it.
    pub(super) fn tried(&self, number: usize, tried: &Tried) -> String {
        if self.look.form == Form::Json {
            return json::tried(number, tried);
        }
        let mut text = self.head(number, tried);
        match &tried.outcome {
            Outcome::Filtered if !self.look.full => return text,
            Outcome::Outputs(outputs) if is_same(tried, outputs) && !self.look.full && self.messenger.is_none() => {
                return text;
            }
            Outcome::Filtered => self.input(tried, &mut text),
            Outcome::Failed(reason) => {
                self.detail("error", &self.paint.with(Color::Red, &redact::shown(reason, redact::LINE)), &mut text);
                self.input(tried, &mut text);
            }
            Outcome::Outputs(outputs) => self.outputs(tried, outputs, &mut text),
        }
        text.push('\n');
        text
    }

    fn head(&self, number: usize, tried: &Tried) -> String {
        let (color, what) = match &tried.outcome {
            Outcome::Filtered => (Color::Dim, "filtered".to_owned()),
            Outcome::Failed(_) => (Color::Red, "error".to_owned()),
            Outcome::Outputs(outputs) if is_same(tried, outputs) => (Color::Plain, "unchanged".to_owned()),
            Outcome::Outputs(outputs) if outputs.len() == 1 => (Color::Green, "1 output".to_owned()),
            Outcome::Outputs(outputs) => (Color::Green, format!("{} outputs", outputs.len())),
        };
        let what = self.paint.with(color, &format!("{what:10}"));
        let line = format!("{:10}{what} {}{}\n", format!("#{number}"), tried.kind, place(tried));
        if color == Color::Dim { self.paint.with(Color::Dim, line.trim_end()) + "\n" } else { line }
    }

    fn outputs(&self, tried: &Tried, outputs: &[Record], text: &mut String) {
        if let [only] = outputs
            && !self.look.full
            && let Some(lines) = self.difference(&tried.body, &only.body)
        {
            self.variables(tried, text);
            self.detail("diff", &lines, text);
            self.group(only, text);
            self.message(only, text);
            return;
        }
        self.input(tried, text);
        for (at, output) in outputs.iter().enumerate() {
            let name = if outputs.len() == 1 { "out".to_owned() } else { format!("out {}", at + 1) };
            self.detail(&name, &self.pretty(&output.body, OUTPUT), text);
            self.group(output, text);
            self.message(output, text);
        }
    }

    /// The differences, where an output is still much like the record.
    fn difference(&self, old: &[u8], new: &[u8]) -> Option<String> {
        let (old, new): (Value, Value) = (serde_json::from_slice(old).ok()?, serde_json::from_slice(new).ok()?);
        let common = common(&old, &new)?;
        if common == 0 || common * 2 < new.as_object()?.len() {
            return None;
        }
        let mut lines = Vec::new();
        let all = changes(&old, &new);
        for change in all.iter().take(if self.look.full { usize::MAX } else { DIFFERENCES }) {
            let [before, after] = [&change.old, &change.new].map(|value| value.as_ref().map(Value::to_string));
            let path = safe(&change.path);
            lines.push(match (before, after) {
                (Some(before), None) => self.line(Color::Red, &format!("- {path}  {}", safe(&before))),
                (None, Some(after)) => self.line(Color::Green, &format!("+ {path}  {}", safe(&after))),
                (before, after) => {
                    let [before, after] = [before, after].map(|text| safe(&text.unwrap_or_default()));
                    let room = self.room().saturating_sub(path.chars().count() + 8) / 2;
                    let [before, after] = [before, after].map(|text| cut(&text, room));
                    let [before, after] =
                        [(Color::Red, before), (Color::Green, after)].map(|(c, t)| self.paint.with(c, &t));
                    format!("~ {path}  {before} → {after}")
                }
            });
        }
        if lines.len() < all.len() {
            let more = format!("… {} more differences (--full)", all.len() - lines.len());
            lines.push(self.paint.with(Color::Dim, &more));
        }
        lines.push(self.paint.with(Color::Dim, &format!("  {common} {} unchanged", plural(common, "field"))));
        Some(lines.join("\n"))
    }

    /// What went in: its fields, a line each, or all of it.
    fn input(&self, tried: &Tried, text: &mut String) {
        let whole = || self.pretty(&tried.body, usize::MAX);
        let shown = match serde_json::from_slice(&tried.body) {
            Ok(Value::Object(members)) if !self.look.full && !members.is_empty() => {
                let (empty, filled): (Vec<_>, Vec<_>) = members.iter().partition(|(_, value)| is_empty(value));
                let width = filled.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default().min(24);
                let mut lines: Vec<_> = filled
                    .into_iter()
                    .map(|(name, value)| {
                        let name = safe(name);
                        let room = self.room().saturating_sub(width + 2);
                        let value = cut(&safe(&value.to_string()), room);
                        format!("{}  {value}", self.paint.with(Color::Cyan, &format!("{name:width$}")))
                    })
                    .collect();
                if !empty.is_empty() {
                    let note = format!("and {} empty {}", empty.len(), plural(empty.len(), "field"));
                    lines.push(self.paint.with(Color::Dim, &note));
                }
                lines.join("\n")
            }
            _ => whole(),
        };
        self.detail("in", &shown, text);
        self.variables(tried, text);
    }

    fn variables(&self, tried: &Tried, text: &mut String) {
        for (name, value) in &tried.variables {
            let shown = match self.look.full {
                true => self.pretty(value, usize::MAX),
                false => cut(&safe(&String::from_utf8_lossy(value)), self.room()),
            };
            self.detail(name, &shown, text);
        }
    }

    fn group(&self, output: &Record, text: &mut String) {
        if let Some(group) = &output.group {
            self.detail("by", &safe(group), text);
        }
    }

    fn message(&self, output: &Record, text: &mut String) {
        let Some(sink) = self.messenger else { return };
        let message = Message::of(output);
        let mut lines = Vec::new();
        lines.push(format!("{} ({})", message.title.as_deref().unwrap_or("no title"), message.severity));
        lines.push(message.counted_text().into_owned());
        lines.extend(message.fields.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.extend(message.link.iter().map(|link| format!("link: {link}")));
        lines.extend(message.key.iter().map(|key| format!("key: {key}")));
        lines.extend(message.lines.iter().map(|line| format!("- {line}")));
        lines.extend(message.raw(sink).map(|raw| format!("{sink}: {raw}")));
        let shown: Vec<_> = lines.iter().flat_map(|line| line.lines()).map(safe).collect();
        self.detail(sink, &shown.join("\n"), text);
    }

    /// A name in the margin, and the lines of its value.
    fn detail(&self, name: &str, value: &str, text: &mut String) {
        let mut margin = self.paint.with(Color::Bold, &format!("{name:8}"));
        for line in value.lines() {
            *text += &format!("  {margin}{line}\n");
            margin = " ".repeat(INDENT - 2);
        }
    }

    fn line(&self, color: Color, line: &str) -> String {
        self.paint.with(color, &cut(line, self.room()))
    }

    fn room(&self) -> usize {
        if self.look.full { usize::MAX } else { self.look.width.saturating_sub(INDENT).max(20) }
    }

    fn pretty(&self, json: &[u8], most: usize) -> String {
        let text = safe(&String::from_utf8_lossy(json));
        let most = if self.look.full { usize::MAX } else { most };
        paint::pretty(&text, self.paint, most)
    }

    /// A line that no record could be made of.
    pub(super) fn unreadable(&self, line: usize, reason: &str) -> String {
        let reason = redact::shown(reason, redact::LINE);
        match self.look.form {
            Form::Json => json::unreadable(line, &reason),
            Form::Text => {
                let what = self.paint.with(Color::Red, "unreadable");
                format!("line {line:<5}{what} {reason}\n\n")
            }
        }
    }

    /// The sums at the end. Programs count themselves.
    pub(super) fn sums(&self, sums: &Sums) -> String {
        if self.look.form == Form::Json {
            return String::new();
        }
        let Sums { records, filtered, outputs, errors, unreadable } = *sums;
        let count = |number: usize, what: &str| format!("{number} {}", plural(number, what));
        let mut text = format!(
            "{} in, {filtered} filtered, {} out, {}",
            count(records, "record"),
            count(outputs, "record"),
            count(errors, "error")
        );
        if unreadable > 0 {
            text += &format!(", {} unreadable", count(unreadable, "line"));
        }
        text += "\n";
        if records > 0 && filtered == records && !self.look.full {
            text += "Nothing came out. To see what went in, add --full.\n";
        }
        text
    }
}

/// Whether the one output is the record as it was.
pub(super) fn is_same(tried: &Tried, outputs: &[Record]) -> bool {
    matches!(outputs, [only] if only.body == tried.body)
}

fn place(tried: &Tried) -> String {
    #[derive(serde::Deserialize)]
    struct Place {
        job: Option<String>,
        node: Option<String>,
        index: u64,
    }
    let Ok(Place { job, node, index }) = serde_json::from_slice(&tried.meta) else { return String::new() };
    let named = |name: &str, value: Option<String>| value.map(|value| format!(" {name}={}", safe(&value)));
    let index = (index > 0).then(|| format!(" index={index}"));
    [named("job", job), named("node", node), index].into_iter().flatten().collect()
}

/// Text from outside, for a terminal.
fn safe(text: &str) -> String {
    redact::escaped_json(&redact::without_known(text))
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        None => text.to_owned(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { what.to_owned() } else { format!("{what}s") }
}
