use super::*;
use crate::sink::webhook::testing;

#[test]
fn the_defaults_and_the_bounds() {
    let read = |variables: &[(&str, &str)]| testing::read(SETTINGS, variables, read);
    let config = read(&[("SINK_PAGERDUTY_ROUTING_KEY", "hush")]).expect("valid");
    assert_eq!(config.webhook.links[0].0.url().as_str(), "https://events.pagerduty.com/v2/enqueue");
    assert!(!format!("{config:?}").contains("hush"));
    let problems = read(&[("SINK_PAGERDUTY_TIMEOUT", "1h")]).expect_err("problems").join("\n");
    for part in ["(--sink-pagerduty-routing-key): the pagerduty sink needs", "SINK_PAGERDUTY_TIMEOUT"] {
        assert!(problems.contains(part), "{problems}");
    }
    let problems = read(&[("SINK_PAGERDUTY_ROUTING_KEY", "hush hush")]).expect_err("problems").join("\n");
    assert!(problems.contains("write only the integration key") && !problems.contains("hush"), "{problems}");
    assert!(read(&[("SINK_PAGERDUTY_ROUTING_KEY_FILE", "/key")]).is_ok());
}
