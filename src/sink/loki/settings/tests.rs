use super::*;
use crate::{http::TokenSource, settings::testing};

const GIVEN: (&str, &str) = ("SINK_LOKI_ADDRESS", "http://loki:3100/");

fn loki(variables: &[(&str, &str)]) -> Result<(Config, Vec<Warning>), String> {
    let own = variables.iter().any(|(name, _)| *name == GIVEN.0);
    let address: &[_] = if own { &[] } else { &[GIVEN] };
    testing::read(SETTINGS, &[address, variables].concat(), read).map_err(|problems| problems.join("\n"))
}

fn valid(variables: &[(&str, &str)]) -> Config {
    loki(variables).expect("valid settings").0
}

#[test]
fn the_defaults() {
    let config = valid(&[]);
    assert_eq!(config.push.url.url().as_str(), "http://loki:3100/loki/api/v1/push");
    let names: Vec<_> = config.labels.iter().map(|label| label.name.as_str()).collect();
    assert_eq!(names, ["job", "kind", "namespace"]);
    assert_eq!((config.max_streams, config.max_age), (1000, Duration::from_secs(1800)));
    assert!(config.structured_metadata && config.push.headers.is_empty());
    assert_eq!(
        (config.push.batches.count, config.push.batches.bytes, config.push.batches.under_way),
        (1000, 1 << 20, 4)
    );
    assert_eq!(config.push.token, TokenSource::None);
    assert!(loki(&[]).expect("valid").1.is_empty());
}

#[test]
fn every_setting_changes_something() {
    let values = [
        ("SINK_LOKI_TENANT", "t"),
        ("SINK_LOKI_LABELS", "job=x"),
        ("SINK_LOKI_MAX_STREAMS", "7"),
        ("SINK_LOKI_MAX_AGE", "0s"),
        ("SINK_LOKI_STRUCTURED_METADATA", "false"),
        ("SINK_LOKI_AUTH", "u:p"),
        ("SINK_LOKI_TOKEN", "t"),
        ("SINK_LOKI_TOKEN_FILE", "/t"),
        ("SINK_LOKI_HEADERS", "X-A: b"),
        ("SINK_LOKI_TIMEOUT", "11s"),
        ("SINK_LOKI_REQUESTS", "1"),
        ("SINK_LOKI_BATCH_COUNT", "7"),
        ("SINK_LOKI_BATCH_BYTES", "2MiB"),
        ("SINK_LOKI_BATCH_LINGER", "1s"),
        ("SINK_LOKI_CACERT", "/c"),
        ("SINK_LOKI_CLIENT_CERT", "/e"),
        ("SINK_LOKI_CLIENT_KEY", "/f"),
        ("SINK_LOKI_TLS_SERVER_NAME", "n"),
        ("SINK_LOKI_SKIP_VERIFY", "true"),
    ];
    assert_eq!(values.len() + 1, SETTINGS.len(), "a setting is missing from this test");
    let bare = valid(&[]);
    for pair in values {
        let with = match pair.0 {
            "SINK_LOKI_CLIENT_CERT" => vec![pair, ("SINK_LOKI_CLIENT_KEY", "/f")],
            "SINK_LOKI_CLIENT_KEY" => vec![pair, ("SINK_LOKI_CLIENT_CERT", "/e")],
            _ => vec![pair],
        };
        assert_ne!(valid(&with), bare, "{}", pair.0);
    }
}

#[test]
fn the_path_of_the_api_is_added_unless_it_is_there() {
    let url = |text| valid(&[("SINK_LOKI_ADDRESS", text)]).push.url.url().as_str().to_owned();
    assert_eq!(url("https://a/tenants/1"), "https://a/tenants/1/loki/api/v1/push");
    assert_eq!(url("https://a/loki/api/v1/push"), "https://a/loki/api/v1/push");
    assert_eq!(url("https://a/insert?x=1"), "https://a/insert/loki/api/v1/push?x=1");
}

#[test]
fn labels_are_bounded_and_a_wide_one_is_warned_of() {
    for (labels, wanted) in [
        ("kind", "NAME=TEMPLATE"),
        ("9a=x", "not the name of a label"),
        ("__a=x", "not the name of a label"),
        ("a={ID}", "a stream of its own"),
        ("a={Key}", "a stream of its own"),
        ("a={", "a { has no }"),
        ("a=", "has no value"),
        ("a=x,a=y", "is there twice"),
        ("task={TaskName}", "Loki needs a label"),
        ("a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1,j=1,k=1,l=1,m=1,n=1,o=1", "at most 14"),
    ] {
        let problem = loki(&[("SINK_LOKI_LABELS", labels)]).expect_err(labels);
        assert!(problem.contains("SINK_LOKI_LABELS") && problem.contains(wanted), "{problem}");
    }
    let (_, warnings) = loki(&[("SINK_LOKI_LABELS", "job=nomad,kind={Kind},nomad_job={JobID}")]).expect("valid");
    assert_eq!(warnings, [Warning::ManyLabels { setting: "SINK_LOKI_LABELS", label: "nomad_job".to_owned() }]);
}

#[test]
fn all_problems_come_at_once_and_show_no_secret() {
    let bad = [
        ("SINK_LOKI_ADDRESS", "ftp://u:hush@a/x?token=hush"),
        ("SINK_LOKI_TENANT", "a b"),
        ("SINK_LOKI_LABELS", "x"),
        ("SINK_LOKI_MAX_STREAMS", "0"),
        ("SINK_LOKI_MAX_AGE", "31d"),
        ("SINK_LOKI_STRUCTURED_METADATA", "no"),
        ("SINK_LOKI_AUTH", "u:hush\u{7}"),
        ("SINK_LOKI_TOKEN", "hush hush"),
        ("SINK_LOKI_HEADERS", "hush"),
        ("SINK_LOKI_TIMEOUT", "10"),
        ("SINK_LOKI_REQUESTS", "65"),
        ("SINK_LOKI_BATCH_COUNT", "0"),
        ("SINK_LOKI_BATCH_BYTES", "1MB"),
        ("SINK_LOKI_BATCH_LINGER", "2m"),
        ("SINK_LOKI_SKIP_VERIFY", "no"),
    ];
    let problems = testing::read(SETTINGS, &bad, read).expect_err("problems");
    assert_eq!(problems.len(), bad.len(), "{problems:#?}");
    for (name, _) in bad {
        assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:#?}");
    }
    assert!(problems.iter().all(|problem| !problem.contains("hush")), "{problems:#?}");
    let problems = testing::read(SETTINGS, &[], read).expect_err("no address");
    assert!(problems[0].contains("the loki sink needs the URL"), "{problems:?}");
    let both = [("SINK_LOKI_TENANT", "a"), ("SINK_LOKI_HEADERS", "X-Scope-OrgID: b")];
    assert!(loki(&both).expect_err("twice").contains("set only one of them"));
    let both = [("SINK_LOKI_AUTH", "a:hush"), ("SINK_LOKI_TOKEN_FILE", "/t")];
    assert!(loki(&both).expect_err("twice").contains("set only one of the two"));
}
