use serde_json::json;

use super::*;
use crate::sink::{
    Outcome,
    webhook::testing::{Server, judged, letter, read, say, sent},
};

#[test]
fn answers() {
    for (status, expected) in
        [(200, 'd'), (204, 'd'), (400, 'x'), (401, 'r'), (404, 'r'), (429, 'r'), (500, 'f'), (502, 'f')]
    {
        assert_eq!(letter(&judged(&Discord, status, &[], "why")), expected, "{status}");
    }
}

#[test]
fn a_rate_limit_is_waited_for() {
    let limited = "{\"message\": \"You are being rate limited.\", \"retry_after\": 1.25, \"global\": false}";
    for (headers, text, millis) in [
        (&[][..], limited, Some(1250)),
        (&[("retry-after", "1")], limited, Some(1250)),
        (&[("retry-after", "2")], limited, Some(2000)),
        (&[("retry-after", "2")], "no JSON", Some(2000)),
        (&[], "{\"retry_after\": -1}", None),
        (&[], "{\"retry_after\": 1e300}", None),
        (&[], "", None),
    ] {
        let Answer::Retry { after, .. } = judged(&Discord, 429, headers, text) else { panic!("{text}") };
        assert_eq!(after.map(|after| after.as_millis()), millis, "{text}");
    }
}

#[tokio::test]
async fn discord_is_asked_to_wait() {
    let server = Server::start(|_| say(200, &[], "{}")).await;
    for (query, asked) in [("", "?wait=true"), ("?thread_id=7&wait=false", "?thread_id=7&wait=true")] {
        let url = format!("{}/api/webhooks/1/hush-hush-hush-hush-hush{query}", server.url);
        let config = read(settings::SETTINGS, &[("SINK_DISCORD_URL", &url)], settings::read).expect("valid");
        assert!(matches!(sent(&config, &json!("a")).await, Outcome::Delivered));
        let came = server.came().pop().expect("a request");
        assert_eq!(came.0, format!("/api/webhooks/1/hush-hush-hush-hush-hush{asked}"));
        assert_eq!(came.1["embeds"][0]["description"], "a");
    }
}
