use super::*;
use crate::settings::testing;

const GIVEN: (&str, &str) = ("SINK_OTLP_ADDRESS", "http://collector:4318");

fn otlp(variables: &[(&str, &str)]) -> Result<Config, String> {
    testing::read(SETTINGS, variables, read).map(|(config, _)| config).map_err(|problems| problems.join("\n"))
}

fn valid(variables: &[(&str, &str)]) -> Config {
    otlp(&[&[GIVEN], variables].concat()).expect("valid settings")
}

#[test]
fn the_defaults() {
    let config = valid(&[]);
    assert_eq!(config.push.url.url().as_str(), "http://collector:4318/v1/logs");
    assert_eq!((config.protocol, config.body, config.resource), (Protocol::Http, Body::Text, Vec::new()));
    assert_eq!(config.push.compression, crate::sink::http::Compression::Gzip);
    assert!(otlp(&[]).expect_err("no address").contains("the otlp sink needs the URL"));
}

#[test]
fn the_variables_of_opentelemetry_are_used_unless_ours_are_set() {
    let url = |variables: &[(&str, &str)]| otlp(variables).expect("valid").push.url.url().as_str().to_owned();
    let base = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/x/");
    let logs = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://b:4318/elsewhere");
    assert_eq!(url(&[base]), "http://a:4318/x/v1/logs");
    assert_eq!(url(&[base, logs]), "http://b:4318/elsewhere");
    assert_eq!(url(&[base, logs, GIVEN]), "http://collector:4318/v1/logs");
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b,X-Other=c");
    let found = valid(&[headers]).push.headers;
    assert_eq!(found, [("api-key".to_owned(), Secret::new("a b")), ("x-other".to_owned(), Secret::new("c"))]);
    let found = valid(&[headers, ("SINK_OTLP_HEADERS", "A: 1")]).push.headers;
    assert_eq!(found, [("a".to_owned(), Secret::new("1"))]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let found = valid(&[
        ("SINK_OTLP_RESOURCE", "nomad.region=eu"),
        ("OTEL_SERVICE_NAME", "firehose"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,nomad.region=us,team=a%2Cb"),
    ]);
    let wanted = [pair("nomad.region", "eu"), pair("service.name", "firehose"), pair("team", "a,b")];
    assert_eq!(found.resource, wanted);
}

#[test]
fn the_protocol_decides_on_the_path() {
    let found = |variables: &[(&str, &str)]| {
        let Config { protocol, push, .. } = otlp(variables).expect("valid");
        (protocol, push.url.url().as_str().to_owned())
    };
    let grpc =
        |base: &str| (Protocol::Grpc, format!("{base}/opentelemetry.proto.collector.logs.v1.LogsService/Export"));
    let ours = ("SINK_OTLP_PROTOCOL", "grpc");
    assert_eq!(found(&[ours, GIVEN]), grpc("http://collector:4318"));
    assert_eq!(found(&[ours, ("SINK_OTLP_ADDRESS", "https://a/x/")]), grpc("https://a/x"));
    let of_logs = ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc");
    let of_all = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    assert_eq!(found(&[of_all, of_logs, ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://b:1")]), grpc("http://b:1"));
    assert_eq!(found(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), GIVEN]).0, Protocol::Grpc);
    let http = ("SINK_OTLP_PROTOCOL", "http/protobuf");
    assert_eq!(found(&[http, of_logs, GIVEN]), (Protocol::Http, "http://collector:4318/v1/logs".to_owned()));
    let problem = otlp(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), GIVEN]).expect_err("a problem");
    assert!(problem.starts_with("OTEL_EXPORTER_OTLP_PROTOCOL") && problem.contains("or grpc"), "{problem}");
}

#[test]
fn all_problems_come_at_once_and_show_no_secret() {
    let bad = [
        ("SINK_OTLP_ADDRESS", "ftp://u:hush@a/x?token=hush"),
        ("SINK_OTLP_PROTOCOL", "http/json"),
        ("SINK_OTLP_BODY", "xml"),
        ("SINK_OTLP_RESOURCE", "x"),
        ("SINK_OTLP_COMPRESSION", "lzma"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hush"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
        ("SINK_OTLP_TOKEN", "hush hush"),
        ("SINK_OTLP_TIMEOUT", "10"),
    ];
    let problems = testing::read(SETTINGS, &bad, read).expect_err("problems");
    assert_eq!(problems.len(), bad.len(), "{problems:#?}");
    for (name, _) in bad {
        assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:#?}");
    }
    assert!(problems.iter().all(|problem| !problem.contains("hush")), "{problems:#?}");
}
