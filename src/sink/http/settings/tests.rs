use std::path::Path;

use super::*;
use crate::{
    http::Tls,
    settings::{Environment, File, Layers, testing},
};

const GIVEN: (&str, &str) = ("SINK_HTTP_ADDRESS", "http://vector:8080/nomad?x=1");

#[track_caller]
fn http_of(kinds: &[Kind], variables: &[(&str, &str)]) -> Config {
    let own = variables.iter().any(|(name, _)| *name == GIVEN.0);
    let address: &[_] = if own { &[] } else { &[GIVEN] };
    let read = |reader: &mut Reader<'_>| read(reader, &|_| kinds.to_vec());
    testing::read(SETTINGS, &[address, variables].concat(), read).expect("valid settings").0
}

#[track_caller]
fn http(variables: &[(&str, &str)]) -> Config {
    http_of(&[Kind::Jobs], variables)
}

#[track_caller]
fn problems_of(variables: &[(&str, &str)]) -> Vec<String> {
    testing::read(SETTINGS, variables, |reader| read(reader, &|_| vec![Kind::Jobs])).expect_err("problems")
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let http = http(&[]);
    assert_eq!(http.url.url().as_str(), GIVEN.1);
    assert_eq!((http.format, http.workers, http.method.as_str()), (Format::Single, 1, "POST"));
    assert_eq!((http.batch_count, http.batch_bytes, http.batch_linger), (500, 1 << 20, Duration::ZERO));
    assert_eq!((http.timeout, http.compression), (Duration::from_secs(10), Compression::None));
    assert_eq!((http.basic_auth, http.token, http.tls, http.health), (None, TokenSource::None, Tls::default(), None));
    assert!(http.headers.is_empty());
}

#[test]
fn the_format_follows_the_kinds_unless_it_is_given() {
    let format = |kinds: &[Kind], variables: &[(&str, &str)]| http_of(kinds, variables).format;
    assert_eq!(format(&[Kind::Events], &[]), Format::Array);
    assert_eq!(format(&Kind::ALL, &[]), Format::Single);
    assert_eq!(format(&[Kind::Events], &[("SINK_HTTP_FORMAT", "single")]), Format::Single);
    assert_eq!(format(&[Kind::Jobs], &[("SINK_HTTP_FORMAT", "ndjson")]), Format::Ndjson);
}

#[test]
fn every_setting_of_the_sink_is_read() {
    let values = [
        ("SINK_HTTP_FORMAT", "array"),
        ("SINK_WORKER_COUNT", "7"),
        ("SINK_BATCH_COUNT", "8"),
        ("SINK_BATCH_BYTES", "2MiB"),
        ("SINK_BATCH_LINGER", "1s"),
        ("SINK_HTTP_TIMEOUT", "11s"),
        ("SINK_HTTP_METHOD", "put"),
        ("SINK_HTTP_HEADERS", "X-A: b"),
        ("SINK_HTTP_AUTH", "u:p"),
        ("SINK_HTTP_TOKEN", "t"),
        ("SINK_HTTP_TOKEN_FILE", "/t"),
        ("SINK_HTTP_CACERT", "/c"),
        ("SINK_HTTP_CAPATH", "/d"),
        ("SINK_HTTP_CLIENT_CERT", "/e"),
        ("SINK_HTTP_CLIENT_KEY", "/f"),
        ("SINK_HTTP_TLS_SERVER_NAME", "n"),
        ("SINK_HTTP_SKIP_VERIFY", "true"),
        ("SINK_HTTP_COMPRESSION", "gzip"),
        ("SINK_HTTP_HEALTH_URL", "http://a/"),
        ("SINK_HTTP_HEALTH_STATUS", "204"),
    ];
    assert_eq!(values.len() + 1, SETTINGS.len(), "a setting is missing from this test");
    let bare = http(&[]);
    for pair in values {
        let with = match pair.0 {
            "SINK_HTTP_CLIENT_CERT" => vec![pair, ("SINK_HTTP_CLIENT_KEY", "/f")],
            "SINK_HTTP_CLIENT_KEY" => vec![pair, ("SINK_HTTP_CLIENT_CERT", "/e")],
            "SINK_HTTP_HEALTH_STATUS" => vec![pair, ("SINK_HTTP_HEALTH_URL", "http://a/")],
            _ => vec![pair],
        };
        assert_ne!(http(&with), bare, "{}", pair.0);
    }
    let health = |variables| http(variables).health.map(|Health { status, .. }| status.as_u16());
    assert_eq!(health(&[("SINK_HTTP_HEALTH_URL", "http://a/")]), Some(200));
    assert_eq!(health(&[("SINK_HTTP_HEALTH_URL", "http://a/"), ("SINK_HTTP_HEALTH_STATUS", "204")]), Some(204));
}

#[test]
fn a_user_in_the_address_is_taken_out() {
    let http = http(&[("SINK_HTTP_ADDRESS", "https://us%40er:pass@a/b")]);
    assert_eq!(http.url.url().as_str(), "https://a/b");
    assert_eq!(http.basic_auth, Some(BasicAuth { user: "us@er".to_owned(), password: Secret::new("pass") }));
}

#[test]
fn headers_are_names_and_values() {
    let headers = http(&[("SINK_HTTP_HEADERS", "X-Scope-OrgID: web, x-b:1:2")]).headers;
    assert_eq!(headers, [("x-scope-orgid".to_owned(), Secret::new("web")), ("x-b".to_owned(), Secret::new("1:2"))]);
}

#[test]
fn all_problems_of_the_sink_come_at_once_and_show_no_secret() {
    assert!(problems_of(&[])[0].starts_with("SINK_HTTP_ADDRESS (--sink-http-address): the http sink needs the URL"));
    let bad = [
        ("SINK_HTTP_ADDRESS", "ftp://u:hush@a/x?token=hush"),
        ("SINK_HTTP_FORMAT", "xml"),
        ("SINK_WORKER_COUNT", "0"),
        ("SINK_BATCH_COUNT", "10001"),
        ("SINK_BATCH_BYTES", "1MB"),
        ("SINK_BATCH_LINGER", "2m"),
        ("SINK_HTTP_TIMEOUT", "10"),
        ("SINK_HTTP_METHOD", "GET"),
        ("SINK_HTTP_HEADERS", "hush"),
        ("SINK_HTTP_AUTH", "u:hush\u{7}"),
        ("SINK_HTTP_TOKEN", "hush hush"),
        ("SINK_HTTP_SKIP_VERIFY", "no"),
        ("SINK_HTTP_COMPRESSION", "lzma"),
        ("SINK_HTTP_HEALTH_URL", "http://u:hush@a/"),
        ("SINK_HTTP_HEALTH_STATUS", "20"),
    ];
    let problems = problems_of(&bad);
    assert_eq!(problems.len(), bad.len(), "{problems:#?}");
    for (name, _) in bad {
        assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:#?}");
    }
    assert!(problems.iter().all(|problem| !problem.contains("hush")), "{problems:#?}");
}

#[test]
fn one_way_to_authenticate_is_enough() {
    for given in [
        vec![GIVEN, ("SINK_HTTP_AUTH", "u:hush"), ("SINK_HTTP_TOKEN", "hush")],
        vec![("SINK_HTTP_ADDRESS", "http://u:hush@a"), ("SINK_HTTP_TOKEN_FILE", "/t")],
        vec![GIVEN, ("SINK_HTTP_HEADERS", "authorization: hush"), ("SINK_HTTP_TOKEN", "hush")],
        vec![GIVEN, ("SINK_HTTP_HEADERS", "Host: hush")],
    ] {
        let problems = problems_of(&given);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(!problems[0].contains("hush"), "{problems:?}");
    }
}

#[test]
fn settings_of_the_sink_show_no_secret() {
    let http = http(&[
        ("SINK_HTTP_ADDRESS", "http://u:hush@a/hush?token=hush"),
        ("SINK_HTTP_HEADERS", "X-Key: hush"),
        ("SINK_HTTP_HEALTH_URL", "http://a/hush?token=hush"),
    ]);
    let shown = format!("{http:?}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_comma_in_a_header_is_explained_and_can_be_written() {
    let problems = problems_of(&[GIVEN, ("SINK_HTTP_HEADERS", "A: 1, 2")]);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("commas separate") && problems[0].contains("\\,"), "{problems:?}");
    let one = [("a".to_owned(), Secret::new("1, 2"))];
    let both = [one[0].clone(), ("b".to_owned(), Secret::new("3"))];
    let headers = |value| http(&[("SINK_HTTP_HEADERS", value)]).headers;
    assert_eq!(headers("A: 1\\, 2"), one);
    assert_eq!(headers("A: 1\\, 2, B: 3"), both);
    assert_eq!(headers("A: 1\\, 2, B: 3\n"), both);
    let read = |layers: &Layers| {
        let read = testing::read_layers(layers, |reader| read(reader, &|_| vec![Kind::Jobs]));
        read.expect("valid settings").0.headers
    };
    let flags = vec![(&ADDRESS, vec![GIVEN.1.into()]), (&HEADERS, vec!["A: 1, 2".into(), "B: 3".into()])];
    let (mut layers, mut problems) = (Layers::default(), Vec::new());
    layers.flags(&flags, &mut problems);
    assert_eq!(read(&layers), both);
    for text in ["headers = ['A: 1, 2', 'B: 3']", "headers = \"A: 1\\\\, 2, B: 3\""] {
        let text = format!("[sink.http]\naddress = 'http://h/'\n{text}\n");
        let mut layers = Layers::default();
        let environment = Environment { variables: Vec::new(), exists: &|_| false };
        let (path, text) = (Path::new("file"), &text);
        let file = File { path, text, settings: SETTINGS, of_pipelines: SETTINGS, environment: &environment };
        layers.file(&file, &mut problems);
        assert_eq!(read(&layers), both, "{text}");
    }
    assert!(problems.is_empty(), "{problems:?}");
}
