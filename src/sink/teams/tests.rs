use serde_json::json;

use super::*;
use crate::sink::{
    Outcome,
    webhook::testing::{Server, judged, letter, read, say, sent},
};

#[test]
fn answers() {
    let connector = |status: u16| {
        format!(
            "Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error {status} with ContextId x."
        )
    };
    for (status, text, expected) in [
        (202, String::new(), 'd'),
        (200, "1".to_owned(), 'd'),
        (200, connector(429), 'r'),
        (200, connector(413), 'x'),
        (200, connector(200), 'r'),
        (200, "Webhook message delivery failed with error: something".to_owned(), 'r'),
        (400, "{\"error\":{\"code\":\"TriggerInputSchemaMismatch\"}}".to_owned(), 'x'),
        (400, "{\"error\":{\"code\":\"WorkflowTriggerIsNotEnabled\"}}".to_owned(), 'r'),
        (401, String::new(), 'r'),
        (403, String::new(), 'r'),
        (404, "{\"error\":{\"code\":\"WorkflowNotFound\"}}".to_owned(), 'r'),
        (413, String::new(), 'x'),
        (429, String::new(), 'r'),
        (502, String::new(), 'f'),
    ] {
        assert_eq!(letter(&judged(&Teams, status, &[], &text)), expected, "{status} {text}");
    }
    let limited = judged(&Teams, 429, &[("retry-after", "4")], "");
    assert!(matches!(limited, Answer::Retry { after: Some(after), .. } if after.as_secs() == 4));
}

#[tokio::test]
async fn a_card_is_posted_to_the_workflow() {
    let server = Server::start(|_| say(202, &[], "")).await;
    let path = "/workflows/1/triggers/manual/paths/invoke?api-version=1&sig=hush-hush";
    let url = format!("{}{path}", server.url);
    let config = read(settings::SETTINGS, &[("SINK_TEAMS_URL", &url)], settings::read).expect("valid");
    assert!(matches!(sent(&config, &json!("a")).await, Outcome::Delivered));
    assert_eq!(server.came()[0].0, path);
}
