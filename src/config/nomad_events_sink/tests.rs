//! What its configuration becomes.

use std::io::Write as _;

use tempfile::NamedTempFile;

use crate::{
    config::{Environment, Settings, Wanted, Warning, load},
    coordinator,
    kind::Kind,
    settings::Flags,
};

/// Its own sample.
const SAMPLE: &str = r#"
[app]
log = "debug"
data_dir = "./data/events"
commit_index_interval = "30s"

[stream]
topics = ["Deployment", "Allocation", "Evaluation", "Job", "Node"]
max_reconnect_attempts = 5

[sinks]
[sinks.batch]
workers = 10
queue_size = 100
idle_timeout = "5s"
events_count = 5

[sinks.http]
root_url = "http://localhost:3333"
timeout = "7s"
max_idle_conns = 100

[sinks.http.healthcheck]
enabled = true
url = "http://localhost:3333"
status = 405
"#;

fn read(text: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<(Settings, Vec<Warning>), String> {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("writable");
    let path = file.path().to_str().expect("UTF-8");
    let all = [("nomad-events-sink-config", path)];
    let flags: Flags =
        all.iter().chain(flags).map(|(flag, value)| (super::setting(flag), vec![(*value).into()])).collect();
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    load(Wanted::One(Kind::Events), &flags, &Environment { variables, exists: &|_| false })
        .map_err(|problems| problems.to_string().replace(path, "FILE"))
}

fn shown(settings: &Settings) -> String {
    format!("{settings:?}")
}

#[test]
fn its_sample_becomes_our_settings() {
    let (settings, warnings) = read(SAMPLE, &[], &[]).expect("valid");
    let [pipeline] = &settings.pipelines[..] else { panic!("one pipeline") };
    let topics: Vec<_> = pipeline.topics.iter().map(ToString::to_string).collect();
    assert_eq!(topics, ["Deployment", "Allocation", "Evaluation", "Job", "Node"]);
    assert_eq!(pipeline.namespaces, ["default"]);
    assert_eq!(pipeline.coordinator, coordinator::Config::File { data_dir: "./data/events".into() });
    assert_eq!(pipeline.index_file.as_deref(), Some("./data/events/index.json".as_ref()));
    assert_eq!(pipeline.checkpoint_interval.as_secs(), 30);
    assert_eq!(settings.shared.log.level, tracing::Level::DEBUG);
    let text = shown(&settings);
    for part in
        ["format: Array", "batch_count: 5", "batch_linger: 5s", "timeout: 7s", "status: 405", "batch_bytes: 67108864"]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let [Warning::WithoutEffect { keys }] = &warnings[..] else { panic!("{warnings:?}") };
    assert_eq!(keys.len(), 4);
}

#[test]
fn it_needs_no_subcommand_to_carry_events() {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(SAMPLE.as_bytes()).expect("writable");
    let flags: Flags = vec![(super::setting("nomad-events-sink-config"), vec![file.path().into()])];
    let environment = Environment { variables: Vec::new(), exists: &|_| false };
    let (settings, _) = load(Wanted::Listed, &flags, &environment).expect("valid");
    assert_eq!(settings.pipelines[0].kinds, [Kind::Events]);
}

#[test]
fn its_variables_override_its_file_and_ours_override_both() {
    let its = [
        ("NOMAD_EVENTS_SINK_app__data_dir", "/alloc/data/"),
        ("NOMAD_EVENTS_SINK_SINKS__BATCH__EVENTS_COUNT", "7"),
        ("NOMAD_EVENTS_SINK_STREAM__TOPICS", "Job, Node:n1"),
        ("NOMAD_EVENTS_SINK_SINKS__HTTP__HEALTHCHECK__ENABLED", "0"),
        ("NOMAD_EVENTS_SINK_APP__LOG", ""),
    ];
    let (settings, _) = read(SAMPLE, &its, &[]).expect("valid");
    let text = shown(&settings);
    for part in
        ["data_dir: \"/alloc/data/\"", "batch_count: 7", "key: Some(\"n1\")", "health: None", "level: Level(Debug)"]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    let ours = [("SINK_BATCH_COUNT", "8"), ("NOMAD_NAMESPACE", "*"), its[1]];
    let (settings, _) = read(SAMPLE, &ours, &[("sink-batch-linger", "1s")]).expect("valid");
    let text = shown(&settings);
    for part in ["batch_count: 8", "batch_linger: 1s", "namespaces: [\"*\"]"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn what_it_takes_as_unset_has_its_default() {
    let text = SAMPLE.replace("\"5s\"", "\"0s\"").replace("events_count = 5", "events_count = 0");
    let text = shown(&read(&text, &[], &[]).expect("valid").0);
    assert!(text.contains("batch_count: 5") && text.contains("batch_linger: 5s"), "{text}");
    let bare =
        "[app]\ndata_dir = 'd'\n[stream]\ntopics = ['*']\n[sinks.http]\nroot_url = 'http://u:p@a/b'\ntimeout='1.5s'";
    let (settings, warnings) = read(bare, &[], &[]).expect("valid");
    let text = shown(&settings);
    for part in ["batch_count: 5", "batch_linger: 5s", "timeout: 1.5s", "basic_auth: Some"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!warnings.iter().any(|warning| matches!(warning, Warning::WithoutEffect { .. })));
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_no_secret() {
    let text = r#"
[app]
log = "loud"
data_dirs = "d"
commit_index_interval = 30
[stream]
topics = "Job"
max_reconnect_attempts = "5"
[sinks.batch]
workers = -1
idle_timeout = "5"
events_count = 1.5
[sinks.http]
root_url = ["http://user:secret@host"]
timeout = "20m"
[sinks.http.healthcheck]
enabled = "yes"
[sinks.kafka]
brokers = "b"
"#;
    let variables =
        [("NOMAD_EVENTS_SINK_APP__LOGS", "debug"), ("NOMAD_EVENTS_SINK_SINKS__HTTP__MAX_IDLE_CONNS", "many")];
    let problems = read(text, &variables, &[]).expect_err("much is wrong");
    for part in [
        "app.log in FILE is \"loud\": write debug or info",
        "app.data_dirs in FILE: nomad-events-sink has no such key; did you mean app.data_dir?",
        "app.commit_index_interval in FILE is \"30\": write a duration with its unit",
        "stream.topics in FILE is \"Job\": write a list of topics, such as [\"Job\", \"Node\"]",
        "stream.max_reconnect_attempts in FILE is \"5\": write a whole number from -1",
        "sinks.batch.workers in FILE is \"-1\": write a whole number from 0",
        "sinks.batch.idle_timeout in FILE is \"5\": write a duration with its unit",
        "sinks.batch.events_count in FILE is \"1.5\": write a whole number from 0",
        "sinks.http.root_url in FILE: write a text in quotes",
        "sinks.http.timeout in FILE (SINK_HTTP_TIMEOUT) is \"20m\": out of bounds",
        "sinks.http.healthcheck.enabled in FILE is \"yes\": write true or false",
        "sinks.kafka.brokers in FILE: nomad-events-sink has no such key; ",
        "NOMAD_EVENTS_SINK_APP__LOGS: nomad-events-sink has no such key; did you mean app.log?",
        "NOMAD_EVENTS_SINK_SINKS__HTTP__MAX_IDLE_CONNS is \"many\": write a whole number from 0",
        "app.data_dir in FILE: it is missing; name the directory of index.json",
    ] {
        assert!(problems.contains(part), "{part} is missing in {problems}");
    }
    assert!(!problems.contains("secret"), "{problems}");
}

#[test]
fn a_file_that_is_no_toml_is_named_with_its_line() {
    let problems = read("[app]\nlog = 'debug'\nroot = secret\n", &[], &[]).expect_err("no TOML");
    assert!(problems.contains("FILE: line 3 is not valid TOML") && !problems.contains("secret"), "{problems}");
    let missing = [("nomad-events-sink-config", "/nowhere/config.toml")];
    let flags: Flags = missing.iter().map(|(flag, value)| (super::setting(flag), vec![(*value).into()])).collect();
    let environment = Environment { variables: Vec::new(), exists: &|_| false };
    let problems = load(Wanted::One(Kind::Events), &flags, &environment).expect_err("no file").to_string();
    assert!(problems.contains("--nomad-events-sink-config") && problems.contains("/nowhere/config.toml"), "{problems}");
}

#[test]
fn every_key_becomes_a_setting_that_exists() {
    for (_, _, meaning) in super::KEYS.iter().chain([&super::STATUS]) {
        if let super::Meaning::Is(flag) | super::Meaning::OfHealthCheck(flag) = meaning {
            super::setting(flag);
        }
    }
    for (flag, _) in super::ALWAYS {
        super::setting(flag);
    }
}
