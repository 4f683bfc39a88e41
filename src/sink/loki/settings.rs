//! The settings of the Loki sink.

use std::time::Duration;

use super::{Config, labels::Label};
use crate::{
    http::Secret,
    settings::{Broken, Form, Reader, Setting, Warning, duration, http::boolean, number},
    sink::{Definition, push},
    template::Template,
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "streams of Grafana Loki",
    settings: SETTINGS,
    log: &[],
    is_for_people: false,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

push::connection! {
    heading: "Loki sink", flag: "sink-loki", prefix: "SINK_LOKI", example: "such as loki.example.com",
    address: "URL of Loki, such as http://loki:3100. /loki/api/v1/push is added unless the URL ends with it. A user and a password in it become basic authentication",
    compression: None,

    TENANT = Setting::new("Loki sink", "sink-loki-tenant", "SINK_LOKI_TENANT", "NAME",
        "Tenant, sent as X-Scope-OrgID. Needed if Loki runs with auth_enabled");
    LABELS = Setting::new("Loki sink", "sink-loki-labels", "SINK_LOKI_LABELS", "NAME=TEMPLATE,…",
        "Labels of the streams, with fields of the record. Each different set of values is a stream: use fields with few values. With NOMAD_FIREHOSE_CLUSTER, the label cluster is added")
        .form(Form::List).default("job=nomad,kind={Kind},namespace={Namespace}");
    MAX_STREAMS = Setting::new("Loki sink", "sink-loki-max-streams", "SINK_LOKI_MAX_STREAMS", "NUMBER",
        "Most label sets within an hour (1–100000). Records of further ones go to the stream overflow=true, with their labels in the structured metadata")
        .default("1000");
    MAX_AGE = Setting::new("Loki sink", "sink-loki-max-age", "SINK_LOKI_MAX_AGE", "DURATION",
        "How old a record may be to be stored under its own time (0s–30d). Older ones are stored under the time of sending, because Loki refuses entries that are far behind the newest one of their stream")
        .default("30m");
    STRUCTURED_METADATA = Setting::new("Loki sink", "sink-loki-structured-metadata", "SINK_LOKI_STRUCTURED_METADATA", "BOOL",
        "Send id, key, index, job and node of each record as structured metadata. It needs Loki 3.0, or 2.9 with allow_structured_metadata")
        .default("true").form(Form::Switch);
}

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let missing = "the loki sink needs the URL of Loki, such as http://loki:3100";
    let found = push::address(reader, &ADDRESS, "/loki/api/v1/push", missing);
    let tenant = reader.optional(&TENANT, tenant);
    let labels = labels(reader);
    let max_streams = reader.value(&MAX_STREAMS, number(1, 100_000));
    let max_age = reader.value(&MAX_AGE, duration(Duration::ZERO, Duration::from_secs(30 * 24 * 3600)));
    let structured_metadata = reader.value(&STRUCTURED_METADATA, boolean);
    let mut push = push::read(reader, &CONNECTION, found)?;
    if let Some(tenant) = tenant {
        if push.headers.iter().any(|(name, _)| name == "x-scope-orgid") {
            reader.wrong(
                &HEADERS,
                "X-Scope-OrgID is one of the headers, and SINK_LOKI_TENANT sets it too; set only one of them",
            );
        }
        push.headers.push(("x-scope-orgid".to_owned(), Secret::new(tenant)));
    }
    Ok(Config { push, labels, max_streams: max_streams?, max_age: max_age?, structured_metadata: structured_metadata? })
}

fn labels(reader: &mut Reader<'_>) -> Vec<Label> {
    let before = reader.problems.len();
    let labels = match reader.layers.get(&LABELS) {
        Some(_) => reader.list(&LABELS, label),
        None => defaults(),
    };
    for (number, Label { name, value }) in labels.iter().enumerate() {
        if labels[..number].iter().any(|label| label.name == *name) {
            reader.wrong(&LABELS, format!("the label {name} is there twice; write each once"));
        }
        if !has_few_values(value) {
            reader.warn(Warning::ManyLabels { setting: LABELS.variable, label: name.clone() });
        }
    }
    if labels.len() > MOST {
        reader
            .wrong(&LABELS, format!("Loki takes 15 labels, and the sink may add one of its own; write at most {MOST}"));
    }
    let is_whole = reader.problems.len() == before;
    if is_whole && !labels.iter().any(|label| label.value.is_constant() || label.value == kind()) {
        reader.wrong(
            &LABELS,
            "a record may have none of these fields, and Loki needs a label; add one such as job=nomad",
        );
    }
    labels
}

fn defaults() -> Vec<Label> {
    let texts = LABELS.default.unwrap_or_default().split(',');
    texts.map(|text| label(text).expect("a label")).collect()
}

/// Loki's `max_label_names_per_series` is 15.
const MOST: usize = 14;

fn kind() -> Template {
    "{Kind}".parse().expect("a template")
}

/// Whether a label made like this has few values by itself.
fn has_few_values(value: &Template) -> bool {
    let namespace: Template = "{Namespace}".parse().expect("a template");
    value.is_constant() || *value == kind() || *value == namespace
}

fn label(text: &str) -> Result<Label, String> {
    let (name, value) = text.split_once('=').ok_or("a label has no =; write NAME=TEMPLATE, such as kind={Kind}")?;
    let (name, value) = (name.trim(), value.trim());
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name || name.starts_with("__") {
        return Err("not the name of a label; use letters, digits and _, and begin with a letter".to_owned());
    }
    if value.contains("{ID}") || value.contains("{Key}") {
        return Err(
            "each record or object would be a stream of its own; {ID} and {Key} are in the structured metadata"
                .to_owned(),
        );
    }
    let value: Template = value.parse().map_err(|error| format!("{error}"))?;
    if value.constant() == Some("") {
        return Err("the label has no value; write NAME=TEMPLATE, such as kind={Kind}".to_owned());
    }
    Ok(Label { name: name.to_owned(), value })
}

fn tenant(text: &str) -> Result<String, &'static str> {
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("the tenant has spaces or other characters that a header cannot carry; write only its name")
    }
}

#[cfg(test)]
mod tests;
