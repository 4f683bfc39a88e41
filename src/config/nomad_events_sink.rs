//! The configuration of nomad-events-sink as a layer of settings: its `config.toml`, and its variables
//! `NOMAD_EVENTS_SINK_*`, which override the file. Both are below everything that is given as a setting of this program.
//! See `docs/migrating-from-nomad-events-sink.md`.

mod values;

use std::{collections::BTreeMap, path::Path};

use self::values::{Kind, Value};
use super::catalogue;
use crate::settings::{Environment, Layers, Problem, Setting, nearest};

/// The prefix of its variables. What follows is the key, with `__` in place of each dot, in upper or lower case.
const PREFIX: &str = "NOMAD_EVENTS_SINK_";

/// What one of its keys means.
enum Meaning {
    /// It is the setting with this flag.
    Is(&'static str),
    /// It belongs to the health check: the setting counts only if that is enabled.
    OfHealthCheck(&'static str),
    /// It turns the health check on.
    HealthCheck,
    /// The directory of its index file, and of our checkpoints.
    Directory,
    /// Nothing here, because of this.
    Nothing(&'static str),
}

/// Its keys, in the order of its sample.
const KEYS: [(&str, Kind, Meaning); 14] = [
    ("app.log", Kind::LogLevel, Meaning::Is("log-level")),
    ("app.data_dir", Kind::Text, Meaning::Directory),
    ("app.commit_index_interval", Kind::Duration { zero: None }, Meaning::Is("checkpoint-interval")),
    ("stream.topics", Kind::Topics, Meaning::Is("topic")),
    (
        "stream.max_reconnect_attempts",
        Kind::Number { zero: None, least: -1 },
        Meaning::Nothing("reconnecting never ends"),
    ),
    (
        "sinks.batch.workers",
        Kind::Number { zero: None, least: 0 },
        Meaning::Nothing("one request at a time keeps the order"),
    ),
    ("sinks.batch.queue_size", Kind::Number { zero: None, least: 0 }, Meaning::Nothing("max-in-flight bounds memory")),
    ("sinks.batch.idle_timeout", Kind::Duration { zero: Some("5s") }, Meaning::Is("sink-batch-linger")),
    ("sinks.batch.events_count", Kind::Number { zero: Some("5"), least: 0 }, Meaning::Is("sink-batch-count")),
    ("sinks.http.root_url", Kind::Text, Meaning::Is("sink-http-address")),
    ("sinks.http.timeout", Kind::Duration { zero: None }, Meaning::Is("sink-http-timeout")),
    ("sinks.http.max_idle_conns", Kind::Number { zero: None, least: 0 }, Meaning::Nothing("one connection is kept")),
    ("sinks.http.healthcheck.enabled", Kind::Bool, Meaning::HealthCheck),
    ("sinks.http.healthcheck.url", Kind::Text, Meaning::OfHealthCheck("sink-http-health-url")),
];

/// The last key. It is apart because its default is another one than ours.
const STATUS: (&str, Kind, Meaning) = (
    "sinks.http.healthcheck.status",
    Kind::Number { zero: None, least: 0 },
    Meaning::OfHealthCheck("sink-http-health-status"),
);

/// What it always does: it sends one JSON array of events a request to an HTTP server, of the namespace that Nomad's
/// clients choose by default, with its state in a directory.
const ALWAYS: [(&str, &str); 8] = [
    ("resources", "events"),
    ("sink-type", "http"),
    ("sink-http-format", "array"),
    ("sink-batch-bytes", "64MiB"),
    ("sink-batch-count", "5"),
    ("sink-batch-linger", "5s"),
    ("coordinator", "file"),
    ("nomad-namespace", "default"),
];

/// A value, and where it was given, for messages.
struct Given {
    value: Value,
    place: String,
}

/// Adds the text of the file at `path`, and the variables. Call it last.
pub(super) fn add(
    layers: &mut Layers,
    path: &Path,
    text: &str,
    environment: &Environment<'_>,
    problems: &mut Vec<Problem>,
) {
    let mut given = BTreeMap::new();
    of_file(path, text, &mut given, problems);
    of_variables(environment, &mut given, problems);
    let file = path.display().to_string();
    let mut without_effect = Vec::new();
    let is_checked = given.get("sinks.http.healthcheck.enabled").is_some_and(|given| given.value.is_true());
    for (key, kind, meaning) in KEYS.iter().chain([&STATUS]) {
        let Some(Given { value, place }) = given.get(key) else { continue };
        let texts = match kind.texts(value) {
            Ok(texts) => texts,
            Err(what) => {
                problems.push(Problem::new(place, value.shown(key).as_deref(), what));
                continue;
            }
        };
        match meaning {
            Meaning::Is(flag) => layers.foreign(setting(flag), texts, place, problems),
            Meaning::OfHealthCheck(flag) if is_checked => layers.foreign(setting(flag), texts, place, problems),
            Meaning::OfHealthCheck(_) | Meaning::HealthCheck => {}
            Meaning::Directory => {
                let index_file = texts.iter().map(|text| Path::new(text).join("index.json").display().to_string());
                layers.foreign(setting("index-file"), index_file.collect(), place, problems);
                layers.foreign(setting("data-dir"), texts, place, problems);
            }
            Meaning::Nothing(because) => without_effect.push(format!("{key}: {because}")),
        }
    }
    for (key, what) in [
        ("app.data_dir", "name the directory of index.json"),
        ("stream.topics", "name at least one topic, such as topics = [\"Job\"]"),
    ] {
        if !given.contains_key(key) {
            problems.push(Problem::new(format!("{key} in {file}"), None, format!("it is missing; {what}")));
        }
    }
    if is_checked && !given.contains_key("sinks.http.healthcheck.url") {
        let what = "it is missing; name the URL to check, or set enabled = false";
        problems.push(Problem::new(format!("sinks.http.healthcheck.url in {file}"), None, what));
    }
    for (flag, value) in ALWAYS {
        layers.foreign(setting(flag), vec![value.to_owned()], &file, problems);
    }
    layers.has_no_effect(without_effect);
}

fn setting(flag: &str) -> &'static Setting {
    catalogue::ALL.iter().copied().find(|setting| setting.flag == flag).expect("a setting of the catalogue")
}

fn of_file(path: &Path, text: &str, given: &mut BTreeMap<&'static str, Given>, problems: &mut Vec<Problem>) {
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(error) => return problems.push(Problem::syntax(path, text, &error)),
    };
    let mut flat = Vec::new();
    flatten("", table, &mut flat);
    for (key, value) in flat {
        let place = format!("{key} in {}", path.display());
        match known(&key) {
            Some(known) => drop(given.insert(known, Given { value, place })),
            None => problems.push(unknown(place, &key)),
        }
    }
}

fn of_variables(environment: &Environment<'_>, given: &mut BTreeMap<&'static str, Given>, problems: &mut Vec<Problem>) {
    for (name, value) in &environment.variables {
        let Some((name, rest)) = name.to_str().and_then(|name| Some((name, name.strip_prefix(PREFIX)?))) else {
            continue;
        };
        let key = rest.to_lowercase().replace("__", ".");
        match (known(&key), value.to_str()) {
            (None, _) => problems.push(unknown(name.to_owned(), &key)),
            (Some(_), None) => problems.push(Problem::new(name, None, "the value is not UTF-8; write it in UTF-8")),
            // HashiCorp's own command lines take an empty variable as unset.
            (Some(_), Some("")) => {}
            (Some(known), Some(text)) => {
                let value = Value::Variable(text.to_owned());
                given.insert(known, Given { value, place: name.to_owned() });
            }
        }
    }
}

fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().chain([&STATUS]).map(|(key, ..)| *key)
}

fn known(key: &str) -> Option<&'static str> {
    keys().find(|known| *known == key)
}

fn unknown(place: String, key: &str) -> Problem {
    let nearest = nearest(key, keys()).map(|nearest| format!("; did you mean {nearest}?"));
    let what = nearest.unwrap_or_else(|| "; remove it, or write it as a setting of nomad-firehose".to_owned());
    Problem::new(place, None, format!("nomad-events-sink has no such key{what}"))
}

/// `[app] log` means `app.log`.
fn flatten(prefix: &str, table: toml::Table, out: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(table) => flatten(&key, table, out),
            value => out.push((key, Value::Toml(value))),
        }
    }
}

#[cfg(test)]
mod tests;
