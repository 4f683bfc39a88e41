use proptest::prelude::*;

use super::*;
use crate::sink::webhook::testing::{any_message, full, record};

fn payload(message: &Message) -> Value {
    serde_json::from_slice(&of(&record(message))).expect("JSON")
}

#[test]
fn a_whole_message() {
    let expected = json!({
        "embeds": [{
            "title": "Task failed",
            "url": "https://nomad.example.com/ui/jobs/web?a=1&b=2",
            "description": "web <1> & more (5 times in 10m)\n• one\n• two",
            "color": 0xe0_1e_5a,
            "fields": [
                {"name": "Job", "value": "web", "inline": true},
                {"name": "Node", "value": "n-1", "inline": true},
            ],
            "footer": {"text": "error"},
        }],
        "allowed_mentions": {"parse": []},
    });
    assert_eq!(payload(&full()), expected);
}

#[test]
fn what_the_message_says_for_discord_wins() {
    let mut message = full();
    message.raw.insert("discord".to_owned(), json!({"username": "nomad", "allowed_mentions": {"parse": ["roles"]}}));
    let payload = payload(&message);
    assert_eq!((&payload["username"], &payload["allowed_mentions"]["parse"]), (&json!("nomad"), &json!(["roles"])));
}

#[test]
fn fields_beyond_the_limit_are_counted() {
    let fields = (0..40).map(|n| (n.to_string(), "x".to_owned())).collect();
    let payload = payload(&Message { text: "a".to_owned(), fields, ..Message::default() });
    let fields = payload["embeds"][0]["fields"].as_array().expect("a list");
    assert_eq!((fields.len(), &fields[24]["value"]), (25, &json!("and 16 more")));
}

/// The published limits of an embed.
fn assert_valid(payload: &Value) {
    let embeds = payload["embeds"].as_array().expect("a list");
    assert!((1..=10).contains(&embeds.len()));
    let mut total = 0;
    let mut text = |value: &Value, most: usize| {
        let length = units(value.as_str().expect("a text"));
        assert!((1..=most).contains(&length), "{length} of {most}");
        total += length;
    };
    for embed in embeds {
        if let Some(title) = embed.get("title") {
            text(title, 256);
        }
        text(&embed["description"], 4096);
        text(&embed["footer"]["text"], 2048);
        assert!(embed["color"].as_u64().expect("a number") <= 0xff_ff_ff);
        let fields = embed["fields"].as_array().expect("a list");
        assert!(fields.len() <= 25);
        for field in fields {
            text(&field["name"], 256);
            text(&field["value"], 1024);
        }
    }
    assert!(total <= 6000, "{total}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_message_follows_the_rules_of_discord(message in any_message()) {
        assert_valid(&payload(&message));
    }
}
