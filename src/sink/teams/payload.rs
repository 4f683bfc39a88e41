//! A message as an Adaptive Card in the envelope that Workflows posts.
//!
//! Version 1.4 of the cards is the one that every client of Teams shows. A message may have about 28 KB: texts are cut until the card is well below.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::notify::{Message, Severity, cut, merge};

/// The most bytes of a message.
const MOST: usize = 24 << 10;
/// The most units of the text, to begin with.
const TEXT: usize = 8000;
/// The most facts.
const FACTS: usize = 32;
/// The longest link on a button.
const LINK: usize = 2000;

pub(super) fn of(message: &Message) -> Bytes {
    let mut most = TEXT;
    loop {
        let card = card(message, most).to_string();
        if card.len() <= MOST || most < 64 {
            return Bytes::from(card);
        }
        most /= 2;
    }
}

/// The whole payload, with at most so many units of text, and a quarter of it in each fact.
fn card(message: &Message, most: usize) -> Value {
    let mut payload = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": body(message, most),
            },
        }],
    });
    if let Some(link) = message.link.as_ref().filter(|link| link.len() <= LINK) {
        payload["attachments"][0]["content"]["actions"] =
            json!([{"type": "Action.OpenUrl", "title": "Open", "url": link}]);
    }
    if let Some(raw) = message.raw("teams") {
        merge(&mut payload, raw);
    }
    payload
}

fn body(message: &Message, most: usize) -> Vec<Value> {
    let mut items = Vec::new();
    if let Some(title) = &message.title {
        let title = cut(title, most.min(256));
        items.push(json!({"type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "wrap": true}));
    }
    // Teams joins lines with one line break between them.
    let text = cut(&message.counted_text(), most).replace('\n', "\n\n");
    items.push(json!({"type": "TextBlock", "text": text, "wrap": true}));
    let style = style(message.severity);
    let mut body = vec![json!({"type": "Container", "style": style, "bleed": true, "items": items})];
    let listed = message.listed(most).replace('\n', "\n\n");
    if !listed.is_empty() {
        body.push(json!({"type": "TextBlock", "text": listed, "wrap": true}));
    }
    let fact = |(name, value): &(String, String)| json!({"title": cut(name, 100), "value": cut(value, most / 4)});
    let mut facts: Vec<_> = message.fields.iter().take(FACTS).map(fact).collect();
    if message.fields.len() > FACTS {
        facts.push(json!({"title": "…", "value": format!("and {} more", message.fields.len() - FACTS)}));
    }
    if !facts.is_empty() {
        body.push(json!({"type": "FactSet", "facts": facts}));
    }
    body.push(json!({"type": "TextBlock", "text": message.severity.name(), "isSubtle": true, "size": "Small"}));
    body
}

/// The colour of the container around the text.
const fn style(severity: Severity) -> &'static str {
    match severity {
        Severity::Ok => "good",
        Severity::Info => "accent",
        Severity::Warning => "warning",
        Severity::Error | Severity::Critical => "attention",
    }
}

#[cfg(test)]
mod tests;
