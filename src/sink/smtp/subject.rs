//! The subject of a mail, which the settings give with names in braces.

use std::str::FromStr;

use crate::{
    notify::{Message, cut},
    record::Record,
};

/// The most units of a subject. Longer ones are cut by readers of mail anyway.
const SUBJECT: usize = 200;

/// A subject with names in braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(String);

const NAMES: [&str; 7] = ["title", "severity", "kind", "namespace", "job", "node", "cluster"];

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(char::is_control) {
            return Err("the subject has line breaks or other control characters; write it on one line".to_owned());
        }
        for part in text.split('{').skip(1) {
            let name = part.split_once('}').map_or("", |(name, _)| name);
            if !NAMES.contains(&name) {
                return Err(format!("{{{name}}} names nothing; choose from {{{}}}", NAMES.join("}, {")));
            }
        }
        Ok(Subject(text.to_owned()))
    }
}

impl Subject {
    pub(super) fn of(&self, record: &Record, message: &Message, cluster: Option<&str>) -> String {
        let title = message.headline(SUBJECT);
        let value = |name: &str| match name {
            "title" => &*title,
            "severity" => message.severity.name(),
            "kind" => record.kind.name(),
            "namespace" => &record.namespace,
            "job" => &record.job,
            "node" => &record.node,
            _ => cluster.unwrap_or_default(),
        };
        let mut parts = self.0.split('{');
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').unwrap_or((part, ""));
            out += value(name);
            out += rest;
        }
        one_line(&out)
    }
}

/// The text on one line, so that no value can begin another header, and no longer than a subject.
pub(super) fn one_line(text: &str) -> String {
    cut(&text.replace(char::is_control, " "), SUBJECT).into_owned()
}
