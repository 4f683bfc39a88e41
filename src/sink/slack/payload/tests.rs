use proptest::prelude::*;

use super::*;
use crate::{
    notify::Severity,
    sink::webhook::testing::{any_message, full},
};

fn payload(message: &Message) -> Value {
    serde_json::from_slice(&of(message)).expect("JSON")
}

#[test]
fn a_whole_message() {
    let expected = json!({
        "text": "*Task failed*\nweb &lt;1&gt; &amp; more (5 times in 10m)",
        "attachments": [{
            "color": "#e01e5a",
            "fallback": "Task failed",
            "blocks": [
                {"type": "section", "text": {"type": "mrkdwn", "text": "• one\n• two"}},
                {"type": "section", "fields": [
                    {"type": "mrkdwn", "text": "*Job*\nweb"},
                    {"type": "mrkdwn", "text": "*Node*\nn-1"},
                ]},
                {"type": "context", "elements": [
                    {"type": "mrkdwn", "text": "error · <https://nomad.example.com/ui/jobs/web?a=1&amp;b=2|Open>"},
                ]},
            ],
        }],
    });
    assert_eq!(payload(&full()), expected);
}

#[test]
fn a_text_alone() {
    let message = Message { text: "a".to_owned(), severity: Severity::Ok, ..Message::default() };
    let expected = json!({
        "text": "a",
        "attachments": [{"color": "#2eb67d", "fallback": "a", "blocks": [
            {"type": "context", "elements": [{"type": "mrkdwn", "text": "ok"}]},
        ]}],
    });
    assert_eq!(payload(&message), expected);
}

#[test]
fn what_the_message_says_for_slack_wins() {
    let mut message = full();
    message.raw.insert("slack".to_owned(), json!({"channel": "#ops", "text": "<!here>", "attachments": null}));
    assert_eq!(payload(&message), json!({"channel": "#ops", "text": "<!here>"}));
}

#[test]
fn an_escape_is_never_cut() {
    assert_eq!(escaped("a&b", 7), "a&amp;b");
    assert_eq!(escaped("a&b", 6), "a…");
    assert_eq!(escaped("a<<", 6), "a&lt;…");
    assert_eq!(escaped("😀😀", 3), "😀…");
}

/// The published rules of messages, attachments and blocks, as far as this sink uses them.
pub(super) fn assert_valid(payload: &Value) {
    let object = payload.as_object().expect("an object");
    assert!(object.keys().all(|key| ["text", "attachments"].contains(&key.as_str())), "{payload}");
    assert!((1..=40_000).contains(&units(payload["text"].as_str().expect("a text"))));
    let attachments = payload["attachments"].as_array().expect("a list");
    assert!(attachments.len() <= 100);
    for attachment in attachments {
        let color = attachment["color"].as_str().expect("a colour");
        assert!(color.len() == 7 && color.starts_with('#'), "{color}");
        let blocks = attachment["blocks"].as_array().expect("a list");
        assert!((1..=50).contains(&blocks.len()));
        blocks.iter().for_each(assert_valid_block);
        assert!(units(&attachment["blocks"].to_string()) <= 13_000, "{}", units(&attachment["blocks"].to_string()));
    }
}

fn assert_valid_block(block: &Value) {
    let text = |text: &Value, most: usize| {
        assert_eq!(text["type"], "mrkdwn");
        let length = units(text["text"].as_str().expect("a text"));
        assert!((1..=most).contains(&length), "{length} of {most}");
    };
    match block["type"].as_str() {
        Some("section") => {
            assert!(block.get("text").is_some() != block.get("fields").is_some());
            block.get("text").into_iter().for_each(|it| text(it, 3000));
            if let Some(fields) = block.get("fields") {
                let fields = fields.as_array().expect("a list");
                assert!((1..=10).contains(&fields.len()));
                fields.iter().for_each(|it| text(it, 2000));
            }
        }
        Some("context") => {
            let elements = block["elements"].as_array().expect("a list");
            assert!((1..=10).contains(&elements.len()));
            elements.iter().for_each(|it| text(it, 3000));
        }
        other => panic!("{other:?} is no block of this sink"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_message_follows_the_rules_of_slack(message in any_message()) {
        let payload = payload(&message);
        assert_valid(&payload);
        let text = payload["text"].as_str().expect("a text");
        prop_assert!(!text.contains(['<', '>']), "{}", text);
    }
}
