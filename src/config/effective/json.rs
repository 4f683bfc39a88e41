//! The settings as JSON. Members may be added, and none is removed.

use serde::Serialize;

use super::{Effective, Entry};
use crate::{
    redact::escaped_json,
    settings::{Form, Origin},
};

#[derive(Serialize)]
struct Report {
    settings: Vec<Row>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    /// `null` for the program, and for the pipeline without a name.
    pipeline: Option<String>,
    setting: &'static str,
    variable: &'static str,
    /// A list for a setting that takes several; `null` if it is not set.
    value: Option<Value>,
    /// `default`, `file`, `variable`, `flag`, `pipeline` or `unset`.
    origin: &'static str,
    /// The file that has it.
    file: Option<String>,
    secret: bool,
    /// Whether the run reads it.
    read: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    One(String),
    Many(Vec<String>),
}

pub(super) fn write(effective: &Effective, all: bool) -> String {
    let mut settings = Vec::new();
    for (pipeline, entries) in effective.sections() {
        let wanted = entries.iter().filter(|entry| all || entry.matters());
        settings.extend(wanted.map(|entry| Row { pipeline: pipeline.map(ToString::to_string), ..row(entry) }));
    }
    let problems = effective.problems.iter().flat_map(|problems| &problems.0).map(ToString::to_string).collect();
    let text = serde_json::to_string_pretty(&Report { settings, problems }).expect("texts are JSON");
    escaped_json(&text) + "\n"
}

fn row(entry: &Entry) -> Row {
    let file = match &entry.origin {
        Some(Origin::File(path) | Origin::Pipeline(path, _)) => Some(path.display().to_string()),
        _ => None,
    };
    let mut values = entry.shown();
    let value = match entry.setting.form {
        _ if values.is_empty() => None,
        Form::List | Form::Repeated => Some(Value::Many(values)),
        Form::One | Form::Switch => values.pop().map(Value::One),
    };
    let (setting, variable) = (entry.setting.flag, entry.setting.variable);
    let (origin, secret, read) = (entry.origin_name(), entry.setting.secret, entry.applies);
    Row { pipeline: None, setting, variable, value, origin, file, secret, read }
}
