use super::*;
use crate::settings::testing;

const GIVEN: (&str, &str) = ("SINK_ELASTICSEARCH_ADDRESS", "http://elasticsearch:9200/");

fn elasticsearch(variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = [&[GIVEN], variables].concat();
    testing::read(SETTINGS, &variables, read).map(|(config, _)| config).map_err(|problems| problems.join("\n"))
}

#[test]
fn the_defaults() {
    let config = elasticsearch(&[]).expect("valid");
    assert_eq!(config.push.url.url().as_str(), "http://elasticsearch:9200/_bulk");
    assert_eq!((config.layout, config.push.scheme), (Layout::Nested, Scheme::ApiKey));
    assert_eq!(config.index, "nomad-{Kind}".parse().expect("a template"));
    assert!(testing::read(SETTINGS, &[], read).expect_err("no address")[0].contains("the elasticsearch sink needs"));
}

#[test]
fn an_index_is_checked_as_far_as_it_is_known() {
    for index in ["nomad", "nomad-{Kind}", "{Kind}", "logs-nomad.{Kind}-default", "nomad-{Namespace}"] {
        elasticsearch(&[("SINK_ELASTICSEARCH_INDEX", index)]).expect(index);
    }
    for (index, wanted) in [
        ("Nomad", "no index may have this name"),
        ("a b", "no index may have this name"),
        ("{JobID}", "begin with a letter"),
        ("nomad-{ID}", "an index of its own"),
        ("nomad-{", "a { has no }"),
    ] {
        let problem = elasticsearch(&[("SINK_ELASTICSEARCH_INDEX", index)]).expect_err(index);
        assert!(problem.contains("SINK_ELASTICSEARCH_INDEX") && problem.contains(wanted), "{problem}");
    }
}

#[test]
fn all_problems_come_at_once_and_show_no_secret() {
    let bad = [
        ("SINK_ELASTICSEARCH_ADDRESS", "ftp://u:hush@a/x?token=hush"),
        ("SINK_ELASTICSEARCH_BODY", "xml"),
        ("SINK_ELASTICSEARCH_COMPRESSION", "lzma"),
        ("SINK_ELASTICSEARCH_TOKEN", "hush hush"),
        ("SINK_ELASTICSEARCH_TOKEN_TYPE", "x"),
        ("SINK_ELASTICSEARCH_TIMEOUT", "10"),
    ];
    let problems = testing::read(SETTINGS, &bad, read).expect_err("problems");
    assert_eq!(problems.len(), bad.len(), "{problems:#?}");
    for (name, _) in bad {
        assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:#?}");
    }
    assert!(problems.iter().all(|problem| !problem.contains("hush")), "{problems:#?}");
    let zstd = elasticsearch(&[("SINK_ELASTICSEARCH_COMPRESSION", "zstd")]).expect_err("not known");
    assert!(zstd.contains("choose none or gzip"), "{zstd}");
}
