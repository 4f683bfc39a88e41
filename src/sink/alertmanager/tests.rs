use serde_json::json;

use super::*;
use crate::sink::{
    Outcome,
    webhook::testing::{Server, read, say, sent},
};

#[tokio::test]
async fn an_alert_goes_to_every_alertmanager() {
    let (one, two) = (Server::start(|_| say(200, &[], "")).await, Server::start(|_| say(200, &[], "")).await);
    let urls = format!("{},{}/prefix", one.url, two.url);
    let config = read(settings::SETTINGS, &[("SINK_ALERTMANAGER_URL", &urls)], settings::read).expect("valid");
    assert!(matches!(sent(&config, &json!("a")).await, Outcome::Delivered));
    assert_eq!(one.came()[0].0, "/api/v2/alerts");
    assert_eq!(two.came()[0].0, "/prefix/api/v2/alerts");
    assert_eq!(one.came()[0].1[0]["annotations"]["summary"], "a");
}
