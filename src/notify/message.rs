//! The message of a record.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use reqwest::Url;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    severity::Severity,
    text::{bounded, cut, line, lines, units},
};

/// The most [units] of the text. Most services show far fewer.
const TEXT: usize = 16 << 10;
/// The most units of the title, of the name of a field, and of `within`.
const TITLE: usize = 256;
/// The most units of the value of a field, and of a line.
const VALUE: usize = 2 << 10;
/// The most fields.
const FIELDS: usize = 64;
/// The most lines. More than a person reads; the last one says how many were left out.
const LINES: usize = 256;
/// The most bytes of the key, which is the shortest limit of all services.
const KEY: usize = 255;
/// The most bytes of a link.
const LINK: usize = 2 << 10;

/// A message for people.
///
/// Everything in it is bounded, and has no control characters but line breaks and tabs in `text`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// What happened. Never empty.
    pub text: String,
    /// A short title.
    pub title: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// Names and values, in their order.
    pub fields: Vec<(String, String)>,
    /// A page with more, `http` or `https`.
    pub link: Option<String>,
    /// What makes equal messages equal, for services that gather them.
    pub key: Option<String>,
    /// How often it happened.
    pub count: Option<u64>,
    /// Within what time that was, such as `10m`.
    pub within: Option<String>,
    /// The lines of a summary.
    pub lines: Vec<String>,
    /// For each sink by its name, what is merged into its payload.
    pub raw: Map<String, Value>,
}

/// The members of a message that are for one sink alone.
const RAW: [&str; 6] = ["slack", "discord", "teams", "pagerduty", "alertmanager", "smtp"];

impl Message {
    /// The message that a body is: a text, or an object with a text. `None` if it is neither. Not yet [tidy](Message::tidy).
    pub(super) fn of_body(body: &[u8]) -> Option<Self> {
        let message = match body.trim_ascii_start().first()? {
            b'"' => serde_json::from_slice(body).ok().map(|text| Message { text, ..Message::default() }),
            b'{' => serde_json::from_slice(body).ok().and_then(Message::of_members),
            _ => None,
        };
        message.filter(|message| !message.text.trim().is_empty())
    }

    /// `None` without a text.
    fn of_members(Members(members): Members<'_>) -> Option<Self> {
        let mut message = Message::default();
        for (name, value) in members {
            match &*name {
                "text" => message.text = text_of(value)?,
                "title" => message.title = text_of(value),
                "severity" => message.set_severity(value),
                "fields" => message.fields.extend(fields_of(value)),
                "link" => message.set_link(value),
                "key" => message.key = text_of(value),
                "count" => message.count = serde_json::from_str(value.get()).ok(),
                "within" => message.within = text_of(value),
                "lines" => message.lines = lines_of(value),
                name if RAW.contains(&name) => {
                    if let Ok(value @ Value::Object(_)) = serde_json::from_str(value.get()) {
                        message.raw.insert(name.to_owned(), value);
                    }
                }
                _ => {}
            }
        }
        (!message.text.is_empty()).then_some(message)
    }

    /// An unknown severity is shown as it was written.
    fn set_severity(&mut self, value: &RawValue) {
        let Some(text) = text_of(value) else { return };
        match text.trim().parse() {
            Ok(severity) => self.severity = severity,
            Err(_) => self.fields.push(("severity".to_owned(), text)),
        }
    }

    /// Something else than a link is shown as it was written.
    fn set_link(&mut self, value: &RawValue) {
        let Some(text) = text_of(value) else { return };
        let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        match url.map(String::from).filter(|url| url.len() <= LINK) {
            Some(url) => self.link = Some(url),
            None => self.fields.push(("link".to_owned(), text)),
        }
    }

    /// Brings everything within its bounds. Doing it twice does no harm.
    pub(super) fn tidy(mut self) -> Self {
        self.text = lines(&self.text, TEXT);
        let short = |text: String| Some(line(&text, TITLE)).filter(|text| !text.is_empty());
        self.title = self.title.and_then(short);
        self.within = self.within.and_then(short);
        self.key = self.key.filter(|key| !key.is_empty()).map(|key| bounded(&key, KEY));
        let field = |(name, value): (String, String)| (line(&name, TITLE), lines(&value, VALUE));
        self.fields = self.fields.into_iter().map(field).filter(|(_, value)| !value.is_empty()).take(FIELDS).collect();
        self.lines = self.lines.iter().map(|text| line(text, VALUE)).collect();
        if self.lines.len() > LINES {
            let left_out = self.lines.len() - (LINES - 1);
            self.lines.truncate(LINES - 1);
            self.lines.push(format!("and {left_out} more"));
        }
        self
    }

    /// The title, or the start of the text on one line, in at most `most` units.
    pub fn headline(&self, most: usize) -> String {
        let first = || self.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        line(self.title.as_deref().unwrap_or_else(first), most)
    }

    /// The text with how often it happened: `task failed (5 times in 10m)`.
    pub fn counted_text(&self) -> Cow<'_, str> {
        match (self.count, &self.within) {
            (Some(count), Some(within)) => Cow::Owned(format!("{} ({} in {within})", self.text, times(count))),
            (Some(count @ 2..), None) => Cow::Owned(format!("{} ({})", self.text, times(count))),
            _ => Cow::Borrowed(&self.text),
        }
    }

    /// The lines below the text, each with a bullet, in at most `most` units. The last one says how many were left out.
    pub fn listed(&self, most: usize) -> String {
        const MORE: usize = 24;
        let mut out = String::new();
        let mut left = most;
        for (number, text) in self.lines.iter().enumerate() {
            let item = format!("{}• {text}", if number == 0 { "" } else { "\n" });
            let length = units(&item);
            let is_last = number + 1 == self.lines.len();
            if length + if is_last { 0 } else { MORE } > left {
                let more = format!("{}• and {} more", if number == 0 { "" } else { "\n" }, self.lines.len() - number);
                out += &cut(&more, left);
                break;
            }
            left -= length;
            out += &item;
        }
        out
    }

    /// What the message says for the sink of this name, to be merged into its payload.
    pub fn raw(&self, sink: &str) -> Option<&Value> {
        self.raw.get(sink)
    }

    /// The body of a record that becomes this message.
    pub fn to_body(&self) -> Bytes {
        let mut body = Map::new();
        body.insert("text".to_owned(), self.text.clone().into());
        let texts = [("title", &self.title), ("link", &self.link), ("key", &self.key), ("within", &self.within)];
        for (name, text) in texts {
            if let Some(text) = text {
                body.insert(name.to_owned(), text.clone().into());
            }
        }
        body.insert("severity".to_owned(), self.severity.name().into());
        if !self.fields.is_empty() {
            // A list keeps the order.
            let pair = |(name, value): &(String, String)| json!({"name": name, "value": value});
            body.insert("fields".to_owned(), self.fields.iter().map(pair).collect());
        }
        if let Some(count) = self.count {
            body.insert("count".to_owned(), count.into());
        }
        if !self.lines.is_empty() {
            body.insert("lines".to_owned(), self.lines.clone().into());
        }
        body.extend(self.raw.clone());
        Bytes::from(Value::Object(body).to_string())
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// A text, or any other value as its JSON. `None` for `null`.
fn text_of(value: &RawValue) -> Option<String> {
    match value.get() {
        "null" => None,
        json if json.starts_with('"') => serde_json::from_str(json).ok(),
        json => Some(json.to_owned()),
    }
}

/// An object by name; or a list of `{"name", "value"}`.
fn fields_of(value: &RawValue) -> Vec<(String, String)> {
    #[derive(Deserialize)]
    struct Pair<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
        #[serde(borrow)]
        value: &'a RawValue,
    }
    let json = value.get();
    if let Ok(Members(members)) = serde_json::from_str(json) {
        let field = |(name, value): (Cow<'_, str>, &RawValue)| Some((name.into_owned(), text_of(value)?));
        return members.into_iter().filter_map(field).collect();
    }
    if let Ok(pairs) = serde_json::from_str::<Vec<Pair<'_>>>(json) {
        let field = |pair: Pair<'_>| Some((pair.name.into_owned(), text_of(pair.value)?));
        return pairs.into_iter().filter_map(field).collect();
    }
    text_of(value).map(|text| ("fields".to_owned(), text)).into_iter().collect()
}

/// A list, or a single value.
fn lines_of(value: &RawValue) -> Vec<String> {
    match serde_json::from_str::<Vec<&RawValue>>(value.get()) {
        Ok(values) => values.into_iter().filter_map(text_of).collect(),
        Err(_) => text_of(value).into_iter().collect(),
    }
}

/// The members of an object in their order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(All).map(Members)
    }
}

/// A name, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
