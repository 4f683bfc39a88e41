use std::time::Duration;

use super::*;
use crate::sink::webhook::testing;

#[test]
fn the_defaults_and_the_bounds() {
    let read = |variables: &[(&str, &str)]| testing::read(SETTINGS, variables, read);
    let url = ("SINK_TEAMS_URL", "https://a.example.com/workflows/1/hush");
    let config = read(&[url]).expect("valid");
    assert_eq!(config.webhook.timeout, Duration::from_secs(10));
    assert!(!format!("{config:?}").contains("hush"));
    let problems = read(&[("SINK_TEAMS_TIMEOUT", "1h")]).expect_err("problems").join("\n");
    for part in ["(--sink-teams-url): the teams sink needs the URL", "SINK_TEAMS_TIMEOUT"] {
        assert!(problems.contains(part), "{problems}");
    }
}
