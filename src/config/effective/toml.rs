//! The settings as a configuration file. A secret becomes the variable that has to hold it.

use std::fmt::Write as _;

use super::{Effective, Entry, catalogue, user_of};
use crate::settings::{Form, Origin, PipelineName};

const HEAD: &str = "# The settings in effect. Set each variable in ${…} to the secret that belongs there.\n";

pub(super) fn write(effective: &Effective) -> String {
    let mut text = HEAD.to_owned();
    for entry in effective.program.iter().filter(|entry| is_written(entry)) {
        line(&mut text, entry, None);
    }
    // What was given for all pipelines stands above the tables, once.
    for entry in effective.pipelines.iter().flat_map(|(_, entries)| entries) {
        let is_own = matches!(entry.origin, Some(Origin::Pipeline(..)));
        if entry.origin.is_some() && !is_own && is_written(entry) {
            let mut given = String::new();
            line(&mut given, entry, None);
            if !text.contains(&given) {
                text += &given;
            }
        }
    }
    for (name, entries) in &effective.pipelines {
        writeln!(text, "\n[pipeline.{name}]").expect("a String takes everything");
        for entry in entries.iter().filter(|entry| is_written(entry)) {
            match &entry.origin {
                Some(Origin::Pipeline(..)) => line(&mut text, entry, Some(name)),
                Some(_) => {}
                None => line(&mut text, entry, None),
            }
        }
    }
    text
}

/// A file cannot name another one.
fn is_written(entry: &Entry) -> bool {
    entry.matters() && entry.setting.flag != catalogue::CONFIG.flag
}

/// A default is written as a comment: a later version can have a better one.
fn line(text: &mut String, entry: &Entry, own: Option<&PipelineName>) {
    let comment = if entry.origin.is_none() { "# " } else { "" };
    writeln!(text, "{comment}{} = {}", entry.setting.flag, value(entry, own)).expect("a String takes everything");
}

fn value(entry: &Entry, own: Option<&PipelineName>) -> String {
    let Entry { setting, values, origin, .. } = entry;
    let has_user = |value: &String| setting.is_address() && user_of(setting, value).is_some();
    let is_secret = setting.secret && origin.is_some() || values.iter().any(has_user);
    if is_secret {
        // Commas separate the items of the variable, as they do in the setting's own variable.
        let suffix = own.map(|name| format!("_{}", name.as_str().to_ascii_uppercase().replace('-', "_")));
        return quoted(&format!("${{{}{}}}", setting.variable, suffix.unwrap_or_default()));
    }
    match (setting.form, &values[..]) {
        (Form::List | Form::Repeated, values) => {
            format!("[{}]", values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", "))
        }
        (Form::One | Form::Switch, values) => quoted(values.first().map_or("", String::as_str)),
    }
}

/// A basic string. Its escapes are those of JSON, and DEL needs one as well.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON").replace('\u{7f}', "\\u007f")
}
