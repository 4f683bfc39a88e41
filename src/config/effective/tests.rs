mod original;

use proptest::prelude::*;

use super::*;
use crate::config::load;

const SECRET: &str = "hunter2-hunter2";

fn environment(variables: &[(&str, &str)]) -> Environment<'static> {
    Environment {
        variables: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        exists: &|_| false,
    }
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("it can be written");
    file
}

fn of(text: &str, variables: &[(&str, &str)]) -> Effective {
    let file = file(text);
    let named = [("NOMAD_FIREHOSE_CONFIG", file.path().to_str().expect("text"))];
    effective(Wanted::Listed, &Vec::new(), &environment(&[variables, &named[..]].concat()))
}

fn row(effective: &Effective, flag: &str) -> serde_json::Value {
    let report: serde_json::Value = serde_json::from_str(&effective.written(Form::Json, true, 80)).expect("JSON");
    let rows = report["settings"].as_array().expect("a list").clone();
    rows.into_iter().find(|row| row["setting"] == flag).expect("it is listed")
}

const BASE: &str = "resources = ['jobs']\ncoordinator = 'none'\n";

#[test]
fn each_value_has_its_origin() {
    let found = of(&format!("{BASE}retry-max = '1s'\n[pipeline.a]\nstart = 'now'\n"), &[("NOMAD_REGION", "west")]);
    assert!(found.problems.is_none(), "{:?}", found.problems);
    for (flag, value, origin) in [
        ("nomad-addr", serde_json::json!(["http://127.0.0.1:4646"]), "default"),
        ("nomad-region", "west".into(), "variable"),
        ("retry-max", "1s".into(), "file"),
        ("start", "now".into(), "pipeline"),
        ("nomad-token", serde_json::Value::Null, "unset"),
    ] {
        let row = row(&found, flag);
        assert_eq!((&row["value"], &row["origin"]), (&value, &origin.into()), "{flag}");
    }
    assert_eq!(
        (row(&found, "start")["pipeline"].as_str(), row(&found, "nomad-addr")["pipeline"].as_str()),
        (Some("a"), None)
    );
}

#[test]
fn only_what_applies_is_shown() {
    let shown = |text: &str| of(&format!("{BASE}{text}"), &[]).written(Form::Table, false, 100);
    let plain = shown("");
    for absent in
        ["consul-http-addr", "data-dir", "lease", "sink-http-timeout", "notify-window", "topic", "nomad-token"]
    {
        assert!(!plain.contains(&format!("  {absent} ")), "{absent}: {plain}");
    }
    let http = shown("sink-type = 'http'\nsink-http-address = 'http://a'\n");
    assert!(http.contains("sink-http-timeout") && !http.contains("sink-smtp"), "{http}");
    let slack = of(&format!("{BASE}sink-type = 'slack'\nsink-slack-url = 'https://h/{SECRET}'\n"), &[]);
    let slack = slack.written(Form::Table, false, 100);
    assert!(
        slack.contains("notify-window") && slack.contains("https://h/<hidden>") && !slack.contains(SECRET),
        "{slack}"
    );
    assert_eq!(slack.lines().filter(|line| *line == "Sink").count(), 1, "{slack}");
    let all = of(BASE, &[]).written(Form::Table, true, 100);
    assert!(catalogue::ALL.iter().all(|setting| all.contains(&format!("  {} ", setting.flag))), "{all}");
}

#[test]
fn no_form_shows_a_secret() {
    let text = format!(
        "{BASE}nomad-token = '{SECRET}'\nnomad-addr = 'https://me:{SECRET}@n:1'\nsink-type = 'http'\n\
         sink-http-address = 'http://me:{SECRET}@a/x'\nsink-http-headers = ['A: {SECRET}']\n\
         [pipeline.a]\nsink-http-headers = ['A: {SECRET}', 'B: {SECRET}']\n"
    );
    let found = of(&text, &[]);
    for form in [Form::Table, Form::Json, Form::Toml] {
        for all in [false, true] {
            let written = found.written(form, all, 1_000);
            assert!(!written.contains(SECRET), "{written}");
        }
    }
    assert!(!format!("{found:?}").contains(SECRET));
    let toml = found.written(Form::Toml, false, 80);
    assert!(
        toml.contains("nomad-addr = \"${NOMAD_ADDR}\"\n") && toml.contains("\"${SINK_HTTP_HEADERS_A}\"\n"),
        "{toml}"
    );
}

#[test]
fn of_an_address_the_host_is_shown_and_nothing_that_could_be_a_secret() {
    let setting = |flag: &str| *catalogue::ALL.iter().find(|setting| setting.flag == flag).expect("it exists");
    for (flag, value, shown) in [
        ("nomad-addr", "https://nomad:4646", "https://nomad:4646"),
        ("nomad-addr", "https://me:pa/ss@w@nomad:4646", "https://<hidden>@nomad:4646"),
        ("consul-http-addr", "me:pass@consul:8500", "<hidden>@consul:8500"),
        ("sink-http-address", "http://vector:8080", "http://vector:8080"),
        ("sink-http-address", "http://me:p@ss@vector:8080/nomad?key=1", "http://<hidden>@vector:8080/<hidden>"),
        ("sink-http-address", "http://pass word/x", "<hidden>"),
        ("sink-http-address", "pass", "<hidden>"),
        ("sink-http-address", "https://h/T@secret", "<hidden>"),
        ("sink-http-address", "https://me:pa/ss@h", "<hidden>"),
        ("sink-http-token", "http://token/x", "<hidden>"),
        ("cluster", "a:b@c", "a:b@c"),
    ] {
        assert_eq!(hidden(setting(flag), value), shown, "{flag}");
    }
}

#[test]
fn what_is_wrong_is_part_of_it() {
    let found = of(&format!("{BASE}retry-max = 'never'\n"), &[]);
    assert!(found.problems.as_ref().expect("a problem").to_string().contains("retry-max"));
    assert_eq!(row(&found, "retry-max")["value"], "never");
}

/// The settings that come out are those that went in.
fn same_through_toml(text: &str, variables: &[(&str, &str)]) {
    let read = |text: &str| {
        let file = file(text);
        let named = [("NOMAD_FIREHOSE_CONFIG", file.path().to_str().expect("text"))];
        let environment = environment(&[variables, &named[..]].concat());
        format!("{:?}", load(Wanted::Listed, &Vec::new(), &environment).expect("valid").0)
    };
    let written = of(text, variables).written(Form::Toml, false, 80);
    assert_eq!(read(&written), read(text), "{written}");
}

#[test]
fn the_file_that_it_writes_says_the_same() {
    same_through_toml(BASE, &[]);
    let token = [("NOMAD_TOKEN", "a-secret-token"), ("SINK_HTTP_HEADERS", "A: one\\, two,B: three")];
    let text = format!(
        "{BASE}nomad-token = '${{NOMAD_TOKEN}}'\nnomad-addr = ['http://a', 'http://b']\nmax-in-flight = 65536\n\
         sink-type = 'http'\nsink-http-address = '${{SINK_HTTP_ADDRESS}}'\nnomad-skip-verify = true\n"
    );
    let address = [("SINK_HTTP_ADDRESS", "http://me:secret-word@collector/x")];
    same_through_toml(&text, &[&token[..], &address[..]].concat());
    let jq = "select(.Name == \"a\\\\b\")\n| {text: \"\\(.Name)\"}";
    let text = format!(
        "{BASE}retry-max = '2s'\n[pipeline.a]\njq = '''\n{jq}'''\n[pipeline.b-c]\nsink-type = 'http'\nsink-http-address = '${{SINK_HTTP_ADDRESS_B_C}}'\n"
    );
    same_through_toml(&text, &[("SINK_HTTP_ADDRESS_B_C", "http://collector/y")]);
}

proptest! {
    #[test]
    fn any_label_is_written_as_it_is(label in "[^\\x00-\\x1f\\x7f\u{80}-\u{9f}]{1,20}") {
        prop_assume!(!label.trim().is_empty());
        let text = format!("{BASE}cluster = {}\n", serde_json::to_string(&label).expect("JSON"));
        same_through_toml(&text, &[]);
    }
}
