use serde_json::json;

use super::*;
use crate::sink::{
    Outcome,
    webhook::testing::{Server, judged, letter, read, say, sent},
};

fn service() -> PagerDuty {
    let variables = [("SINK_PAGERDUTY_ROUTING_KEY", "0123456789abcdef")];
    PagerDuty::new(&read(settings::SETTINGS, &variables, settings::read).expect("valid"), None)
}

#[test]
fn answers() {
    let service = service();
    for (status, text, expected) in [
        (202, "{\"status\":\"success\"}", 'd'),
        (200, "<html>", 'r'),
        (400, "{\"errors\":[\"Length of 'routing_key' is incorrect (should be 32 characters)\"]}", 'r'),
        (400, "{\"errors\":[\"'payload.summary' is missing or blank\"]}", 'x'),
        (403, "", 'r'),
        (404, "", 'r'),
        (429, "", 'r'),
        (500, "", 'f'),
        (503, "", 'r'),
    ] {
        let answer = judged(&service, status, &[("retry-after", "5")], text);
        assert_eq!(letter(&answer), expected, "{status} {text}");
        if status == 429 {
            assert!(matches!(&answer, Answer::Retry { after: Some(after), .. } if after.as_secs() == 5));
        }
        if text.contains("routing_key") {
            assert!(format!("{answer:?}").contains("set SINK_PAGERDUTY_ROUTING_KEY"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn an_event_is_accepted_and_the_key_is_not_shown() {
    let server = Server::start(|body| {
        let key = body["routing_key"].as_str().expect("a key");
        if key.ends_with("good") { say(202, &[], "") } else { say(401, &[], &format!("no {key}")) }
    });
    let server = server.await;
    let config = |key: &str| {
        let url = format!("{}/v2/enqueue", server.url);
        let variables = [("SINK_PAGERDUTY_URL", &*url), ("SINK_PAGERDUTY_ROUTING_KEY", key)];
        read(settings::SETTINGS, &variables, settings::read).expect("valid")
    };
    assert!(matches!(sent(&config("hush-good"), &json!("a")).await, Outcome::Delivered));
    let outcome = sent(&config("hush-bad"), &json!("a")).await;
    let Outcome::Retry { reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("SINK_PAGERDUTY_ROUTING_KEY") && !reason.contains("hush"), "{reason}");
    assert_eq!(server.came()[0].0, "/v2/enqueue");
}

#[tokio::test]
async fn a_key_in_a_file_is_read_again_for_each_alert() {
    let server = Server::start(|body| {
        let key = body["routing_key"].as_str().expect("a key");
        if key == "hush-new-key" { say(202, &[], "") } else { say(401, &[], &format!("no {key}")) }
    });
    let server = server.await;
    let directory = tempfile::tempdir().expect("a directory");
    let (file, url) = (directory.path().join("key"), format!("{}/v2/enqueue", server.url));
    let variables = [("SINK_PAGERDUTY_URL", &*url), ("SINK_PAGERDUTY_ROUTING_KEY_FILE", file.to_str().expect("text"))];
    let config = read(settings::SETTINGS, &variables, settings::read).expect("valid");
    let reason = async || match sent(&config, &json!("a")).await {
        Outcome::Retry { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    let missing = reason().await;
    assert!(missing.starts_with("SINK_PAGERDUTY_ROUTING_KEY_FILE: ") && server.came().is_empty(), "{missing}");
    std::fs::write(&file, "hush-old-key\n").expect("a file");
    let refused = reason().await;
    assert!(refused.contains("SINK_PAGERDUTY_ROUTING_KEY") && !refused.contains("hush"), "{refused}");
    std::fs::write(&file, "hush-new-key\n").expect("a file");
    assert!(matches!(sent(&config, &json!("a")).await, Outcome::Delivered));
}
