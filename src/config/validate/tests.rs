mod arbitrary;
mod consul;
mod file;
mod nomad;
mod pipelines;
mod wrong;

use std::{ffi::OsString, io::Write as _};

use super::*;
use crate::{
    cli::{self, Exit},
    config::Nomad,
    dead_letter::Place,
    http::{Address, BasicAuth, Secret, Tls, TokenSource},
    position::RaftIndex,
    sink::{SINKS, registry::Listed},
    source::{Source, Start},
    telemetry::LogFormat,
};

fn load(arguments: &[&str], variables: &[(&str, &str)]) -> Result<(Settings, Vec<Warning>), Exit> {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let environment = Environment { variables, exists: &|path| path.ends_with("present/nomad_token") };
    let arguments = ["nomad-firehose"].iter().chain(arguments).map(OsString::from);
    carried(cli::load_from(arguments, &environment))
}

fn carried(loaded: Result<(cli::Task, Vec<Warning>), Exit>) -> Result<(Settings, Vec<Warning>), Exit> {
    loaded.map(|(task, warnings)| match task {
        cli::Task::Carry(settings, _) => (*settings, warnings),
        other => panic!("{other:?}"),
    })
}

#[track_caller]
fn settings(arguments: &[&str], variables: &[(&str, &str)]) -> Settings {
    load(&[arguments, &["--coordinator=none"]].concat(), variables).expect("a valid configuration").0
}

/// All problems except the one of the default coordinator.
#[track_caller]
fn problems(arguments: &[&str], variables: &[(&str, &str)]) -> Vec<String> {
    match load(&[arguments, &["--coordinator=none"]].concat(), variables) {
        Err(Exit::Configuration(problems)) => problems.0.iter().map(ToString::to_string).collect(),
        other => panic!("expected problems, got {other:?}"),
    }
}

fn shown(addresses: &[Address]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("it can be written");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("a temporary path is UTF-8")
}

#[test]
fn defaults_are_those_of_the_contract() {
    let shared = Shared {
        nomad: Nomad {
            addresses: vec!["http://127.0.0.1:4646".parse().expect("an address")],
            region: None,
            token: TokenSource::None,
            basic_auth: None,
            tls: Tls::default(),
            timeout: Duration::from_secs(10),
        },
        polling: Polling { source: Source::Auto, interval: Duration::from_secs(1), stale: None },
        shutdown_grace: Duration::from_secs(4),
        cluster: None,
        listen: None,
        log: Log { level: tracing::Level::INFO, format: LogFormat::Text },
        given: Given::default(),
        fixed: Fixed::default(),
    };
    let pipeline = Pipeline {
        name: None,
        kinds: vec![Kind::Nodes],
        topics: vec![Topic { name: "*".to_owned(), key: None }],
        namespaces: vec!["*".to_owned()],
        coordinator: coordinator::Config::None,
        own_variables: None,
        standby_buffer: 32 << 20,
        checkpoint_interval: Duration::from_secs(10),
        start: Start::All,
        index_file: None,
        max_in_flight: 32 << 20,
        retry_max: Duration::from_secs(30),
        stages: Stages { program: None, rules: None, envelope: envelope::Form::None, digest: None },
        sink: settings(&["nodes", "--sink-type=stdout"], &[]).pipelines.remove(0).sink,
        dead_letter: Place::Stop,
        given: Given::default(),
    };
    let expected = Settings { shared, pipelines: vec![pipeline] };
    let expected = format!("{expected:?}");
    assert_eq!(format!("{:?}", settings(&["nodes"], &[])), expected);
    // An empty variable is none.
    let empty = [("NOMAD_ADDR", ""), ("NOMAD_TOKEN", ""), ("SINK_TYPE", "")];
    assert_eq!(format!("{:?}", settings(&["nodes"], &empty)), expected);
}

#[test]
fn a_batch_that_the_window_cannot_hold_is_refused_with_both_settings() {
    let s3 = |window: &str, batch: &str| {
        let variables = [
            ("SINK_TYPE", "s3"),
            ("SINK_S3_URL", "s3://nomad"),
            ("NOMAD_FIREHOSE_MAX_IN_FLIGHT", window),
            ("SINK_S3_BATCH_SIZE", batch),
        ];
        load(&["nodes", "--coordinator=none"], &variables)
    };
    if cfg!(feature = "s3") {
        assert!(s3("32MiB", "8MiB").is_ok() && s3("16MiB", "8MiB").is_ok());
        let Err(Exit::Configuration(problems)) = s3("15MiB", "8MiB") else { panic!("it is refused") };
        let words = problems.to_string();
        for part in ["NOMAD_FIREHOSE_MAX_IN_FLIGHT", "to 16MiB or more", "SINK_S3_BATCH_SIZE to 7680KiB or less"] {
            assert!(words.contains(part), "{words}");
        }
    }
}

#[test]
fn flags_go_before_variables_and_variables_before_the_file() {
    let file = file("start = 1\ncluster = 'file'\nlog-level = 'debug'\n[nomad]\nregion = 'file'\n");
    let arguments = ["nodes", "--config", path(&file), "--start=3"];
    let variables = [("NOMAD_FIREHOSE_START", "2"), ("NOMAD_FIREHOSE_CLUSTER", "variable")];
    let settings = settings(&arguments, &variables);
    assert_eq!(settings.pipelines[0].start, Start::Index(RaftIndex(3)));
    assert_eq!(settings.shared.cluster.as_deref(), Some("variable"));
    assert_eq!(settings.shared.nomad.region.as_deref(), Some("file"));
    assert_eq!(settings.shared.log.level, tracing::Level::DEBUG);
}

#[test]
fn a_setting_can_stand_before_and_behind_the_subcommand() {
    assert_eq!(settings(&["--cluster=a", "nodes"], &[]).shared.cluster.as_deref(), Some("a"));
    assert_eq!(settings(&["nodes", "--cluster=a"], &[]).shared.cluster.as_deref(), Some("a"));
}

#[test]
fn every_setting_is_read_from_all_three_places() {
    let values = [
        ("topic", "Job:a"),
        ("resources", "nodes,events"),
        ("nomad-addr", "https://a:1"),
        ("nomad-region", "eu"),
        ("nomad-namespace", "a"),
        ("nomad-token", "t"),
        ("nomad-token-file", "/t"),
        ("nomad-http-auth", "u:p"),
        ("nomad-cacert", "/c"),
        ("nomad-capath", "/d"),
        ("nomad-client-cert", "/e"),
        ("nomad-client-key", "/f"),
        ("nomad-tls-server-name", "n"),
        ("nomad-skip-verify", "true"),
        ("source", "stream"),
        ("poll-interval", "2s"),
        ("stale", "5s"),
        ("nomad-timeout", "11s"),
        ("data-dir", "/x"),
        ("checkpoint-interval", "11s"),
        ("start", "now"),
        ("index-file", "/i"),
        ("lease", "5s"),
        ("standby-buffer", "0"),
        ("consul-http-addr", "a:1"),
        ("consul-http-token", "t"),
        ("consul-http-token-file", "/t"),
        ("consul-http-auth", "u:p"),
        ("consul-http-ssl", "true"),
        ("consul-http-ssl-verify", "false"),
        ("consul-cacert", "/c"),
        ("consul-capath", "/d"),
        ("consul-client-cert", "/e"),
        ("consul-client-key", "/f"),
        ("consul-tls-server-name", "n"),
        ("consul-namespace", "n"),
        ("consul-partition", "p"),
        ("consul-datacenter", "d"),
        ("consul-prefix", "p"),
        ("nomad-var-prefix", "p"),
        ("nomad-var-namespace", "n"),
        ("consul-session-ttl", "11s"),
        ("consul-node-check", "true"),
        ("max-in-flight", "1MiB"),
        ("shutdown-grace", "5s"),
        ("retry-max", "5s"),
        ("dead-letter", "log"),
        ("jq", "."),
        ("redact", "..Env"),
        ("jq-memory", "64MiB"),
        ("by", ".JobID"),
        ("every", "10m"),
        ("at-least", "5"),
        ("sink-envelope", "firehose"),
        ("cluster", "c"),
        ("log-level", "error"),
        ("log-format", "json"),
        ("listen", "127.0.0.1:1"),
    ];
    // Only a sink for people has use for the last two.
    let rest = ["coordinator", "sink-type", "config", "nomad-events-sink-config", "notify-window", "notify-limit"];
    // The settings of a sink are read with that sink alone: see the tests of the sinks.
    let of_sinks = SINKS.iter().flat_map(Listed::settings).count();
    assert_eq!(values.len() + rest.len(), catalogue::ALL.len() - of_sinks, "a setting is missing from this test");
    let pairs = |names: &[&str]| -> Vec<(String, String)> {
        let chosen = values.iter().filter(|(flag, _)| names.is_empty() || names.contains(flag));
        chosen.map(|(flag, value)| ((*flag).to_owned(), (*value).to_owned())).collect()
    };
    let given = |by: &str, pairs: &[(String, String)]| {
        let variable =
            |flag: &str| catalogue::ALL.iter().find(|setting| setting.flag == flag).expect("a known flag").variable;
        // Only the coordinator that a setting belongs to reads it.
        let coordinator = match pairs {
            [(flag, _)] if flag == "data-dir" => "file",
            [(flag, _)] if flag.starts_with("nomad-var-") => "nomad",
            _ => "consul",
        };
        let mut arguments = vec!["run".to_owned(), format!("--coordinator={coordinator}")];
        if !pairs.iter().any(|(flag, _)| flag == "resources") {
            arguments.push("--resources=all".to_owned());
        }
        let mut variables = Vec::new();
        let toml: String = pairs.iter().map(|(flag, value)| format!("{flag} = '{value}'\n")).collect();
        let file = file(&toml);
        match by {
            "flag" => arguments.extend(pairs.iter().map(|(flag, value)| format!("--{flag}={value}"))),
            "variable" => variables.extend(pairs.iter().map(|(flag, value)| (variable(flag), value.as_str()))),
            _ => arguments.push(format!("--config={}", path(&file))),
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        format!("{:?}", load(&arguments, &variables).expect("a valid configuration").0)
    };
    let bare = given("flag", &[]);
    let all = given("flag", &pairs(&[]));
    assert_eq!(given("variable", &pairs(&[])), all);
    assert_eq!(given("file", &pairs(&[])), all);
    // Each setting by itself changes something: none is read and forgotten.
    for (flag, _) in values {
        let names = match flag {
            "nomad-client-cert" | "nomad-client-key" => vec!["nomad-client-cert", "nomad-client-key"],
            "consul-client-cert" | "consul-client-key" => vec!["consul-client-cert", "consul-client-key"],
            "jq-memory" => vec!["jq", "jq-memory"],
            "every" | "at-least" => vec!["every", "at-least"],
            flag => vec![flag],
        };
        assert_ne!(given("variable", &pairs(&names)), bare, "{flag}");
    }
}

#[test]
fn raw_events_cannot_be_polled() {
    let poll = [("NOMAD_FIREHOSE_SOURCE", "poll")];
    for (arguments, mend) in [
        (&["events"][..], "--resources allocations,nodes,evaluations,jobs,jobliststubs,deployments)"),
        (&["run", "--resources", "jobs,events,nodes"], "--resources nodes,jobs)"),
    ] {
        let problems = problems(arguments, &poll);
        assert!(problems.len() == 1 && problems[0].contains(mend), "{problems:?}");
    }
}

#[test]
fn a_misspelt_variable_stands_beside_the_problems_it_may_cause() {
    let problems = problems(&["nodes"], &[("NOMAD_FIREHOSE_STRAT", "now"), ("NOMAD_FIREHOSE_START", "yesterday")]);
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[1], "NOMAD_FIREHOSE_STRAT: no such variable; did you mean NOMAD_FIREHOSE_START?");
}

#[test]
fn all_problems_come_at_once_and_name_setting_value_and_mend() {
    let variables = [
        ("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "10"),
        ("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "1KiB"),
        ("NOMAD_ADDR", "localhost:4646"),
        ("NOMAD_CLIENT_CERT", "/cert.pem"),
        ("SINK_TYPE", "kafak"),
        ("LOG_FORMAT", "gelf"),
    ];
    let problems = problems(&["nodes", "--start=yesterday", "--nomad-skip-verify=maybe"], &variables);
    let sinks: Vec<&str> = SINKS.iter().filter(|sink| sink.definition.is_some()).flat_map(Listed::names).collect();
    let wrong_sink = format!(
        "SINK_TYPE (--sink-type) is \"kafak\": no such sink, did you mean kafka?; choose one of {}",
        sinks.join(", ")
    );
    let expected: [&str; 8] = [
        "NOMAD_ADDR (--nomad-addr) is \"localhost:4646\": the scheme is missing; begin with http://, https:// or unix://",
        "NOMAD_CLIENT_KEY (--nomad-client-key): NOMAD_CLIENT_CERT is set and needs its key; set both or neither",
        "--nomad-skip-verify (NOMAD_SKIP_VERIFY) is \"maybe\": write true or false",
        "LOG_FORMAT (--log-format) is \"gelf\": the program does not write GELF; choose json, and let the log shipper convert it",
        "NOMAD_FIREHOSE_CHECKPOINT_INTERVAL (--checkpoint-interval) is \"10\": the number has no unit; write 10s for seconds or 10ms for milliseconds",
        "--start (NOMAD_FIREHOSE_START) is \"yesterday\": write all, now, or a raft index such as 4711",
        "NOMAD_FIREHOSE_MAX_IN_FLIGHT (--max-in-flight) is \"1KiB\": out of bounds; write a size from 64KiB to 2GiB",
        &wrong_sink,
    ];
    assert_eq!(problems, expected);
}

#[test]
fn the_coordinator_is_consul_unless_another_is_chosen() {
    for (arguments, needle) in [
        (["nodes", "--coordinator=fil"], "did you mean file?"),
        (["nodes", "--coordinator="], "the value is empty"),
        (
            ["nodes", "--coordinator=file"],
            "NOMAD_FIREHOSE_DATA_DIR (--data-dir): the file coordinator needs a directory",
        ),
    ] {
        // Consul's variables are read only for the Consul coordinator.
        match load(&arguments, &[("CONSUL_HTTP_ADDR", "ftp://x")]) {
            Err(Exit::Configuration(problems)) => {
                assert_eq!(problems.0.len(), 1, "{problems}");
                assert!(problems.to_string().contains(needle), "{problems}");
            }
            other => panic!("{arguments:?}: {other:?}"),
        }
    }
    let chosen =
        |arguments: &[&str]| load(arguments, &[]).expect("a valid configuration").0.pipelines.remove(0).coordinator;
    assert_eq!(
        chosen(&["nodes", "--coordinator=file", "--data-dir=/d"]),
        coordinator::Config::File { data_dir: "/d".into() }
    );
    assert_eq!(chosen(&["nodes"]), chosen(&["nodes", "--coordinator=consul"]));
}

#[test]
fn run_names_its_kinds() {
    let kinds = |text| settings(&["run", "--resources", text], &[]).pipelines.remove(0).kinds;
    assert_eq!(kinds("jobs,allocations,jobs"), [Kind::Allocations, Kind::Jobs]);
    assert_eq!(kinds("all"), Kind::ALL);
    assert_eq!(kinds("all,events"), Kind::ALL);
    assert_eq!(
        settings(&["run"], &[("NOMAD_FIREHOSE_RESOURCES", "nodes, jobs")]).pipelines.remove(0).kinds,
        [Kind::Nodes, Kind::Jobs]
    );
    assert!(problems(&["run"], &[])[0].starts_with("NOMAD_FIREHOSE_RESOURCES (--resources): run has no default"));
    assert!(problems(&["run", "--resources=job"], &[])[0].contains("did you mean jobs?"));
    assert!(problems(&["run", "--resources=jobs,,nodes"], &[])[0].contains("empty"));
}

#[test]
fn topics_are_repeated_flags_or_one_variable() {
    let job = Topic { name: "Job".to_owned(), key: Some("a/b,c".to_owned()) };
    let node = Topic { name: "Node".to_owned(), key: None };
    assert_eq!(
        settings(&["events", "--topic", "Job:a/b,c", "--topic", "Node:*"], &[]).pipelines.remove(0).topics,
        [job, node.clone()]
    );
    assert_eq!(settings(&["events"], &[("NOMAD_FIREHOSE_TOPICS", "Node")]).pipelines.remove(0).topics, [node]);
    assert!(problems(&["events", "--topic", "Job:"], &[])[0].contains("write TOPIC or TOPIC:KEY"));
    let (_, warnings) = load(&["events", "--topic=job", "--coordinator=none"], &[]).expect("a valid configuration");
    assert_eq!(warnings, [Warning::UnknownTopic { topic: "job".to_owned(), nearest: Some("Job") }]);
}

#[test]
fn no_message_shows_a_secret() {
    const WORD: &str = "hunter2";
    let broken = file(&format!("start = 'now'\nnomad-token = '{WORD}\n"));
    let wrong_type = file(&format!("nomad-token = ['{WORD}']\nnomad-http-auth = 1.5\n"));
    let token = format!("{WORD} with spaces");
    let auth = format!("user:{WORD}\u{7}");
    let in_address = format!("ftp://user:{WORD}@host,http://u:{WORD}@h?x,user:{WORD}@host,http://a:{WORD}/x@b:xx");
    for (arguments, variables) in [
        (vec!["nodes", "--config", path(&broken)], vec![]),
        (vec!["nodes", "--config", path(&wrong_type)], vec![]),
        (vec!["nodes"], vec![("NOMAD_TOKEN", token.as_str()), ("NOMAD_HTTP_AUTH", auth.as_str())]),
        (vec!["nodes"], vec![("NOMAD_ADDR", in_address.as_str())]),
    ] {
        let problems = problems(&arguments, &variables);
        assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.contains(WORD)), "{problems:#?}");
    }
    let all = [("NOMAD_TOKEN", WORD), ("NOMAD_HTTP_AUTH", "u:hunter2"), ("NOMAD_ADDR", "http://u:hunter2@h")];
    let shown = format!("{:?}", settings(&["nodes"], &all));
    assert!(shown.contains("[redacted]") && !shown.contains(WORD), "{shown}");
}

#[test]
fn a_value_that_is_not_utf8_is_a_problem_and_no_panic() {
    use std::os::unix::ffi::OsStringExt as _;
    let bad = || OsString::from_vec(vec![0xff]);
    let variables = vec![("NOMAD_REGION".into(), bad()), ("OTHER".into(), bad()), (bad(), "x".into())];
    let environment = Environment { variables, exists: &|_| false };
    let arguments = ["nomad-firehose".into(), "nodes".into(), "--coordinator=none".into(), "--cluster".into(), bad()];
    match cli::load_from(arguments, &environment) {
        Err(Exit::Configuration(problems)) => assert_eq!(problems.0.len(), 2, "{problems}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_rest_of_the_values_are_checked() {
    let bad = [
        ("NOMAD_FIREHOSE_LISTEN", "localhost"),
        ("NOMAD_FIREHOSE_DEAD_LETTER", "file:"),
        ("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "1ms"),
        ("NOMAD_FIREHOSE_RETRY_MAX", "1h"),
        ("NOMAD_FIREHOSE_NOMAD_TIMEOUT", "1h"),
        ("NOMAD_FIREHOSE_CONSUL_PREFIX", "/"),
        ("NOMAD_FIREHOSE_LEASE", "61s"),
        ("NOMAD_FIREHOSE_STANDBY_BUFFER", "3GiB"),
        ("NOMAD_REGION", "a b"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("SINK_TYPE", "stdot"),
    ];
    let problems = problems(&["nodes"], &bad);
    assert_eq!(problems.len(), bad.len(), "{problems:#?}");
    let good = [
        ("NOMAD_FIREHOSE_LISTEN", ":9090"),
        ("NOMAD_FIREHOSE_DEAD_LETTER", "file:/x/y"),
        ("NOMAD_FIREHOSE_CONSUL_PREFIX", "a/b/"),
        ("LOG_LEVEL", "Fatal"),
        ("LOG_FORMAT", "seatgeek-json"),
    ];
    let settings = settings(&["nodes"], &good);
    assert_eq!(settings.shared.listen, Some(([0, 0, 0, 0], 9090).into()));
    assert_eq!(settings.pipelines[0].dead_letter, Place::File("/x/y".into()));
    assert_eq!(settings.shared.log, Log { level: tracing::Level::ERROR, format: LogFormat::SeatgeekJson });
}

#[test]
fn the_settings_of_a_sink_that_is_not_chosen_are_not_read() {
    let wrong = [
        ("SINK_AMQP_CONNECTION", "nonsense"),
        ("SINK_EVENT_BUS_NAME", "no bus"),
        ("SINK_KINESIS_STREAM_NAME", "no stream"),
        ("SINK_SNS_TOPIC_ARN", "no topic"),
        ("SINK_SQS_QUEUE_NAME", "no queue"),
        ("SINK_WORKER_COUNT", "many"),
    ];
    assert_eq!(settings(&["nodes"], &wrong).pipelines.remove(0).sink.name(), "stdout");
}

#[cfg(feature = "amqp")]
#[test]
fn a_sink_can_have_another_name() {
    let needed = [
        ("SINK_AMQP_CONNECTION", "amqp://rabbit"),
        ("SINK_AMQP_EXCHANGE", "nomad"),
        ("SINK_AMQP_ROUTING_KEY", "nomad"),
    ];
    assert_eq!(settings(&["nodes", "--sink-type=rabbitmq"], &needed).pipelines.remove(0).sink.name(), "amqp");
}

#[test]
fn a_switch_needs_no_value() {
    assert!(settings(&["--nomad-skip-verify", "nodes"], &[]).shared.nomad.tls.skip_verify);
    assert!(
        !settings(&["nodes", "--nomad-skip-verify=false"], &[("NOMAD_SKIP_VERIFY", "1")]).shared.nomad.tls.skip_verify
    );
}
