use proptest::prelude::*;

use super::*;
use crate::sink::webhook::testing::{any_message, full};

fn payload(message: &Message) -> Value {
    serde_json::from_slice(&of(message)).expect("JSON")
}

#[test]
fn a_whole_message() {
    let expected = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": [
                    {"type": "Container", "style": "attention", "bleed": true, "items": [
                        {"type": "TextBlock", "text": "Task failed", "weight": "Bolder", "size": "Medium", "wrap": true},
                        {"type": "TextBlock", "text": "web <1> & more (5 times in 10m)", "wrap": true},
                    ]},
                    {"type": "TextBlock", "text": "• one\n\n• two", "wrap": true},
                    {"type": "FactSet", "facts": [{"title": "Job", "value": "web"}, {"title": "Node", "value": "n-1"}]},
                    {"type": "TextBlock", "text": "error", "isSubtle": true, "size": "Small"},
                ],
                "actions": [{"type": "Action.OpenUrl", "title": "Open", "url": "https://nomad.example.com/ui/jobs/web?a=1&b=2"}],
            },
        }],
    });
    assert_eq!(payload(&full()), expected);
}

#[test]
fn what_the_message_says_for_teams_is_merged() {
    let mut message = full();
    message.raw.insert("teams".to_owned(), json!({"summary": "a"}));
    assert_eq!(payload(&message)["summary"], "a");
}

/// The published schema of the elements that this sink uses, and the limit of Teams.
fn assert_valid(payload: &Value) {
    assert!(payload.to_string().len() <= 28 << 10);
    let content = &payload["attachments"][0]["content"];
    assert_eq!((&content["type"], &content["version"]), (&json!("AdaptiveCard"), &json!("1.4")));
    let text_block = |block: &Value| assert!(block["type"] == "TextBlock" && block["text"].is_string(), "{block}");
    for element in content["body"].as_array().expect("a list") {
        match element["type"].as_str() {
            Some("Container") => {
                let style = element["style"].as_str().expect("a style");
                assert!(["default", "emphasis", "good", "attention", "warning", "accent"].contains(&style), "{style}");
                element["items"].as_array().expect("a list").iter().for_each(text_block);
            }
            Some("FactSet") => {
                for fact in element["facts"].as_array().expect("a list") {
                    assert!(fact["title"].is_string() && fact["value"].is_string(), "{fact}");
                }
            }
            _ => text_block(element),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_message_follows_the_rules_of_teams(message in any_message()) {
        assert_valid(&payload(&message));
    }
}
