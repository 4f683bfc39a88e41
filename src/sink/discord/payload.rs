//! A message as an embed of Discord, in the colour of its severity.
//!
//! The limits are those of Discord's reference: 256 characters of a title, 4096 of a description, 25 fields with 256 of a name and 1024 of a
//! value, and 6000 in the whole embed.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    meta,
    notify::{Message, cut, merge, units},
    record::Record,
};

const TITLE: usize = 256;
const DESCRIPTION: usize = 3500;
const FIELDS: usize = 25;
const NAME: usize = 100;
const VALUE: usize = 1024;
/// What names and values of all fields may have together.
const ALL_FIELDS: usize = 2000;

pub(super) fn of(record: &Record) -> Bytes {
    let message = Message::of(record);
    let mut embed = json!({
        "description": description(&message),
        "color": message.severity.color(),
        "fields": fields(&message),
        "footer": {"text": message.severity.name()},
    });
    if let Some(title) = &message.title {
        embed["title"] = cut(title, TITLE).into();
    }
    if let Some(link) = &message.link {
        embed["url"] = link.clone().into();
        // The title carries the link.
        if message.title.is_none() {
            embed["title"] = cut("Open", TITLE).into();
        }
    }
    if let Some(time) = meta::time(record) {
        embed["timestamp"] = time.to_string().into();
    }
    // No text mentions anybody.
    let mut payload = json!({"embeds": [embed], "allowed_mentions": {"parse": []}});
    if let Some(raw) = message.raw("discord") {
        merge(&mut payload, raw);
    }
    Bytes::from(payload.to_string())
}

/// The text, and the lines below it as far as there is room.
fn description(message: &Message) -> String {
    let text = message.counted_text();
    let text = cut(&text, DESCRIPTION);
    let listed = message.listed(DESCRIPTION.saturating_sub(units(&text) + 1));
    if listed.is_empty() { text.into_owned() } else { format!("{text}\n{listed}") }
}

/// The fields that fit. The last one says how many were left out.
fn fields(message: &Message) -> Vec<Value> {
    const MORE: usize = 30;
    let mut left = ALL_FIELDS - MORE;
    let mut fields = Vec::new();
    for (number, (name, value)) in message.fields.iter().enumerate() {
        let (name, value) = (cut(name, NAME), cut(value, VALUE));
        let length = units(&name) + units(&value);
        if length > left || fields.len() + 1 == FIELDS && number + 1 < message.fields.len() {
            let left_out = message.fields.len() - number;
            fields.push(json!({"name": "…", "value": format!("and {left_out} more"), "inline": true}));
            break;
        }
        left -= length;
        // Discord refuses a field without a name.
        let name = if name.is_empty() { "-" } else { &*name };
        fields.push(json!({"name": name, "value": value, "inline": units(&value) <= 40}));
    }
    fields
}

#[cfg(test)]
mod tests;
