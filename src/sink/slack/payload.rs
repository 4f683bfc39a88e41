//! A message in the form of Slack: its text, and an attachment in the colour of its severity with the rest as blocks.
//!
//! The limits are those of Slack's reference of Block Kit: 50 blocks, 3000 characters in the text of a section, 10 fields in a section with 2000
//! characters each, 10 elements in a context, and about 13,000 characters in all blocks together.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::notify::{Message, merge, units};

/// The most units of the text.
const TEXT: usize = 3000;
/// The most units of the lines of a summary.
const LINES: usize = 2500;
/// The most fields, and how many a section has.
const FIELDS: usize = 20;
const FIELDS_OF_SECTION: usize = 10;
/// The most units of the name of a field.
const NAME: usize = 80;
/// What all values of the fields may have together.
const VALUES: usize = 4000;
/// The longest link that is shown.
const LINK: usize = 1000;

pub(super) fn of(message: &Message) -> Bytes {
    let mut payload = json!({
        "text": text(message),
        "attachments": [{
            "color": format!("#{:06x}", message.severity.color()),
            "fallback": escaped(&message.headline(200), 300),
            "blocks": blocks(message),
        }],
    });
    if let Some(raw) = message.raw("slack") {
        merge(&mut payload, raw);
    }
    Bytes::from(payload.to_string())
}

/// Services that know no blocks show this alone.
fn text(message: &Message) -> String {
    let text = message.counted_text();
    match &message.title {
        Some(title) => {
            let title = format!("*{}*\n", escaped(title, 300));
            let left = TEXT - units(&title);
            title + &escaped(&text, left)
        }
        None => escaped(&text, TEXT),
    }
}

fn blocks(message: &Message) -> Vec<Value> {
    let mut blocks = Vec::new();
    let lines = escaped(&message.listed(LINES), LINES);
    if !lines.is_empty() {
        blocks.push(json!({"type": "section", "text": mrkdwn(lines)}));
    }
    let shown = &message.fields[..message.fields.len().min(FIELDS)];
    let most = VALUES / shown.len().max(1);
    for fields in shown.chunks(FIELDS_OF_SECTION) {
        let field = |(name, value): &(String, String)| {
            mrkdwn(format!("*{}*\n{}", escaped(name, NAME), escaped(value, most.min(1500))))
        };
        blocks.push(json!({"type": "section", "fields": fields.iter().map(field).collect::<Vec<_>>()}));
    }
    let mut context = message.severity.name().to_owned();
    if let Some(link) = message.link.as_ref().map(|link| escaped(link, usize::MAX)).filter(|link| units(link) <= LINK) {
        context += &format!(" · <{link}|Open>");
    }
    let left_out = message.fields.len() - shown.len();
    if left_out > 0 {
        context += &format!(" · {left_out} more fields");
    }
    blocks.push(json!({"type": "context", "elements": [mrkdwn(context)]}));
    blocks
}

fn mrkdwn(text: String) -> Value {
    json!({"type": "mrkdwn", "text": text})
}

/// The text with the three characters escaped that Slack reads as controls, in at most `most` units. So no text can mention a channel or forge
/// a link.
fn escaped(text: &str, most: usize) -> String {
    let escape = |c: char| match c {
        '&' => Err("&amp;"),
        '<' => Err("&lt;"),
        '>' => Err("&gt;"),
        c => Ok(c),
    };
    let length = |c: char| escape(c).map_or_else(str::len, char::len_utf16);
    let fits = text.chars().map(length).sum::<usize>() <= most;
    let mut left = if fits { most } else { most.saturating_sub(1) };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if length(c) > left {
            break;
        }
        left -= length(c);
        match escape(c) {
            Ok(c) => out.push(c),
            Err(entity) => out += entity,
        }
    }
    if !fits {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests;
