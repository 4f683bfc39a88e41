use super::*;
use crate::sink::webhook::testing;

const URL: (&str, &str) = ("SINK_ALERTMANAGER_URL", "http://a:9093,https://me:hush@b/prefix/,http://c/api/v2/alerts");

#[test]
fn the_defaults_and_the_bounds() {
    let read = |variables: &[(&str, &str)]| testing::read(SETTINGS, variables, read);
    let config = read(&[URL]).expect("valid");
    let urls: Vec<_> = config.webhook.links.iter().map(|(link, _)| link.url().as_str()).collect();
    assert_eq!(urls, ["http://a:9093/api/v2/alerts", "https://b/prefix/api/v2/alerts", "http://c/api/v2/alerts"]);
    assert_eq!((config.ttl, config.labels.len()), (Duration::from_secs(300), 0));
    assert!(!format!("{config:?}").contains("hush"));
    let config = read(&[URL, ("SINK_ALERTMANAGER_LABELS", "team=web,env=a=b")]).expect("valid");
    assert_eq!(
        config.labels,
        [("team", "web"), ("env", "a=b")].map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    let problems =
        read(&[("SINK_ALERTMANAGER_TTL", "0s"), ("SINK_ALERTMANAGER_LABELS", "a-b=c")]).expect_err("problems");
    for part in
        ["(--sink-alertmanager-url): the alertmanager sink needs", "SINK_ALERTMANAGER_TTL", "SINK_ALERTMANAGER_LABELS"]
    {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{problems:?}");
    }
    for labels in ["a", "a=", "1a=b", "a=1,a=2"] {
        assert!(read(&[URL, ("SINK_ALERTMANAGER_LABELS", labels)]).is_err(), "{labels}");
    }
}
