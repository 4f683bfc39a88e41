use std::time::Duration;

use super::*;
use crate::sink::webhook::testing;

#[test]
fn the_defaults_and_the_bounds() {
    let read = |variables: &[(&str, &str)]| testing::read(SETTINGS, variables, read);
    let url = ("SINK_DISCORD_URL", "https://discord.com/api/webhooks/1/hush");
    let config = read(&[url]).expect("valid");
    assert_eq!(config.webhook.timeout, Duration::from_secs(10));
    assert!(!format!("{config:?}").contains("hush"));
    let problems = read(&[("SINK_DISCORD_TIMEOUT", "1h")]).expect_err("problems").join("\n");
    for part in ["(--sink-discord-url): the discord sink needs the URL", "SINK_DISCORD_TIMEOUT"] {
        assert!(problems.contains(part), "{problems}");
    }
}
