use std::time::Duration;

use super::*;
use crate::sink::webhook::testing;

#[test]
fn the_defaults_and_the_bounds() {
    let read = |variables: &[(&str, &str)]| testing::read(SETTINGS, variables, read);
    let url = ("SINK_SLACK_URL", "https://hooks.slack.com/services/T0/B0/hush");
    let config = read(&[url]).expect("valid");
    assert_eq!(config.webhook.timeout, Duration::from_secs(10));
    assert!(!format!("{config:?}").contains("hush"));
    let problems = read(&[("SINK_SLACK_TIMEOUT", "1h")]).expect_err("problems").join("\n");
    for part in ["(--sink-slack-url): the slack sink needs the URL", "SINK_SLACK_TIMEOUT"] {
        assert!(problems.contains(part), "{problems}");
    }
}
