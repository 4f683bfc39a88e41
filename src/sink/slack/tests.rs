use serde_json::json;

use super::*;
use crate::sink::{
    Outcome,
    webhook::testing::{Server, judged, letter, read, say, sent},
};

fn config(url: &str) -> Config {
    read(settings::SETTINGS, &[("SINK_SLACK_URL", url)], settings::read).expect("valid settings")
}

#[test]
fn answers() {
    for (status, text, expected) in [
        (200, "ok", 'd'),
        (400, "invalid_payload", 'x'),
        (400, "no_text", 'x'),
        (400, "invalid_blocks", 'x'),
        (400, "too_many_attachments", 'x'),
        (400, "user_not_found", 'r'),
        (403, "action_prohibited", 'r'),
        (403, "invalid_token", 'r'),
        (403, "<html>", 'f'),
        (404, "no_service", 'r'),
        (404, "channel_not_found", 'r'),
        (410, "channel_is_archived", 'r'),
        (429, "rate_limited", 'r'),
        (500, "rollup_error", 'f'),
        (503, "", 'r'),
    ] {
        let answer = judged(&Slack, status, &[("retry-after", "3")], text);
        assert_eq!(letter(&answer), expected, "{status} {text}");
        assert!(status == 200 || format!("{answer:?}").contains(text), "{answer:?}");
        if (status, text) == (404, "no_service") {
            assert!(format!("{answer:?}").contains("set SINK_SLACK_URL"), "{answer:?}");
        }
        if status == 429 {
            assert!(matches!(answer, Answer::Retry { after: Some(after), .. } if after.as_secs() == 3));
        }
    }
}

#[tokio::test]
async fn a_message_is_posted_to_the_webhook() {
    let server = Server::start(|_| say(200, &[], "ok")).await;
    let url = format!("{}/services/T0/B0/hush-hush-hush-hush-hush", server.url);
    let outcome = sent(&config(&url), &json!("a")).await;
    assert!(matches!(outcome, Outcome::Delivered));
    let came = server.came();
    assert_eq!(came[0].0, "/services/T0/B0/hush-hush-hush-hush-hush");
    assert_eq!(came[0].1["text"], "a");
}
