//! A message as a mail: plain text, and the same as simple HTML.

use std::time::SystemTime;

use lettre::{
    Message as Mail,
    error::Error,
    message::{
        MultiPart,
        header::{HeaderName, HeaderValue},
    },
};
use xxhash_rust::xxh3::xxh3_128;

use super::{Config, subject::one_line};
use crate::{notify::Message, record::Record};

/// The most units of the lines of a summary.
const LINES: usize = 64 << 10;

pub(super) fn of(record: &Record, config: &Config, cluster: Option<&str>) -> Result<Mail, Error> {
    let message = Message::of(record);
    let raw = |name: &str| Some(message.raw("smtp")?.get(name)?.as_str()?.to_owned());
    let subject = raw("subject").map(|text| one_line(&text));
    let subject = subject.unwrap_or_else(|| config.subject.of(record, &message, cluster));
    let id = format!("<{:032x}@{}>", xxh3_128(record.id.as_bytes()), config.from.email.domain());
    let mut builder = Mail::builder()
        .from(config.from.clone())
        .subject(subject)
        .message_id(Some(id))
        .date(SystemTime::now())
        // Nobody's automatic answer is wanted.
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    for to in &config.to {
        builder = builder.to(to.clone());
    }
    let (plain, html) = (raw("text").unwrap_or_else(|| plain(&message)), raw("html").unwrap_or_else(|| html(&message)));
    builder.multipart(MultiPart::alternative_plain_html(plain, html))
}

fn plain(message: &Message) -> String {
    let mut out = String::new();
    if let Some(title) = &message.title {
        out += &format!("{title}\n\n");
    }
    out += &message.counted_text();
    let listed = message.listed(LINES);
    if !listed.is_empty() {
        out += &format!("\n\n{listed}");
    }
    out += &format!("\n\nSeverity: {}", message.severity);
    for (name, value) in &message.fields {
        out += &format!("\n{name}: {value}");
    }
    if let Some(link) = &message.link {
        out += &format!("\n\n{link}");
    }
    out + "\n"
}

fn html(message: &Message) -> String {
    let color = message.severity.color();
    let mut out =
        format!("<div style=\"border-left:4px solid #{color:06x};padding-left:12px;font-family:sans-serif\">");
    if let Some(title) = &message.title {
        out += &format!("<h3>{}</h3>", escaped(title));
    }
    out += &format!("<p style=\"white-space:pre-wrap\">{}</p>", escaped(&message.counted_text()));
    let listed = message.listed(LINES);
    if !listed.is_empty() {
        out += &format!("<p style=\"white-space:pre-wrap\">{}</p>", escaped(&listed));
    }
    out += "<table>";
    out += &row("Severity", message.severity.name());
    for (name, value) in &message.fields {
        out += &row(name, value);
    }
    out += "</table>";
    if let Some(link) = &message.link {
        out += &format!("<p><a href=\"{0}\">{0}</a></p>", escaped(link));
    }
    out + "</div>\n"
}

fn row(name: &str, value: &str) -> String {
    format!("<tr><td><b>{}</b></td><td>{}</td></tr>", escaped(name), escaped(value))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests;
