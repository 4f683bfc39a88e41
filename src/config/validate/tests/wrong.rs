//! Values that are wrong in one way or another: the message names the variable, and what to write.

use super::*;

/// The warnings about a valid configuration.
#[track_caller]
fn warnings(variables: &[(&str, &str)]) -> Vec<Warning> {
    load(&["events", "--coordinator=none"], variables).expect("a valid configuration").1
}

#[test]
fn an_address_keeps_its_path() {
    let addresses = |text: &str| shown(&settings(&["nodes", "--nomad-addr", text], &[]).shared.nomad.addresses);
    assert_eq!(
        addresses("http://h/nomad/,http://h/nomad,https://u:p@h:1/a%20b/c/,http://h/"),
        ["http://h/nomad", "https://h:1/a%20b/c", "http://h",]
    );
    for (wrong, part) in [
        ("http://h/nomad/?x=1", "before ? and #"),
        ("http://h/nomad#x", "before ? and #"),
        ("http://h/ui/jobs", "before /ui"),
        ("http://h/nomad/v1/", "before /v1"),
    ] {
        let problems = problems(&["nodes"], &[("NOMAD_ADDR", wrong)]);
        assert!(problems.len() == 1 && problems[0].contains(part), "{wrong}: {problems:?}");
    }
}

#[test]
fn quotes_around_a_value_are_warned_of_without_the_value() {
    for (variable, value) in [
        ("NOMAD_TOKEN", "\"hush\""),
        ("NOMAD_TOKEN", "'hush'"),
        ("NOMAD_HTTP_AUTH", "\"u:hush\""),
        ("NOMAD_REGION", "'hush'"),
        ("NOMAD_FIREHOSE_CLUSTER", "\"hush\""),
        ("NOMAD_CACERT", "'/hush'"),
        ("NOMAD_FIREHOSE_TOPICS", "Job:\"hush\",'Node'"),
    ] {
        let warnings = warnings(&[(variable, value)]);
        let shown = format!("{warnings:?}");
        assert!(warnings.iter().any(|warning| matches!(warning, Warning::Quoted { .. })), "{shown}");
        assert!(shown.contains(variable) && !shown.contains("hush"), "{shown}");
    }
    assert_eq!(warnings(&[("NOMAD_TOKEN", "it's"), ("NOMAD_FIREHOSE_CLUSTER", "\"")]), []);
    for (variable, value) in [
        ("NOMAD_ADDR", "\"http://h:4646\""),
        ("NOMAD_NAMESPACE", "'team'"),
        ("SINK_TYPE", "\"stdout\""),
        ("NOMAD_FIREHOSE_LEASE", "'4s'"),
        ("NOMAD_SKIP_VERIFY", "\"true\""),
    ] {
        let problems = problems(&["nodes"], &[(variable, value)]);
        assert!(problems.len() == 1 && problems[0].contains("without the quotes"), "{variable}: {problems:?}");
    }
}

#[test]
fn blanks_around_a_value_are_left_out() {
    let padded = [
        ("NOMAD_ADDR", " http://h:1 "),
        ("NOMAD_REGION", " eu"),
        ("NOMAD_TOKEN", "hush\n"),
        ("NOMAD_HTTP_AUTH", "u:hush\r\n"),
        ("NOMAD_FIREHOSE_SOURCE", "stream "),
    ];
    let (settings, warnings) = load(&["nodes", "--coordinator=none"], &padded).expect("a valid configuration");
    assert_eq!(shown(&settings.shared.nomad.addresses), ["http://h:1"]);
    assert_eq!(settings.shared.nomad.region.as_deref(), Some("eu"));
    assert_eq!(settings.shared.nomad.token, TokenSource::Fixed(Secret::new("hush")));
    assert_eq!(settings.shared.nomad.basic_auth.expect("given").password, Secret::new("hush"));
    // A file ends with a line break; a blank can be intended.
    let shown = format!("{warnings:?}");
    assert_eq!(warnings.len(), 2, "{shown}");
    assert!(shown.contains("NOMAD_REGION") && shown.contains("NOMAD_FIREHOSE_SOURCE"), "{shown}");
    let problems = problems(&["nodes"], &[("NOMAD_TOKEN", " \t")]);
    assert!(problems[0].starts_with("NOMAD_TOKEN") && problems[0].contains("empty"), "{problems:?}");
}

#[test]
fn a_topic_that_nomad_never_accepts_is_refused_at_the_start() {
    for text in ["Job:a:b", "Job:", ":a", "Job:a:*", "J ob"] {
        let by_flag = problems(&["events", "--topic", text], &[]);
        assert!(by_flag.len() == 1 && by_flag[0].contains("--topic"), "{text}: {by_flag:?}");
        assert_eq!(problems(&["events"], &[("NOMAD_FIREHOSE_TOPICS", text)]).len(), 1, "{text}");
    }
    let colon = &problems(&["events", "--topic", "Job:a:b"], &[])[0];
    assert!(colon.contains("one colon"), "{colon}");
}

#[test]
fn names_that_would_be_refused_for_ever_are_refused_at_the_start() {
    let long = "x".repeat(129);
    for (variable, value) in [
        ("NOMAD_REGION", "eu west"),
        ("NOMAD_REGION", "eu\u{7}"),
        ("NOMAD_NAMESPACE", long.as_str()),
        ("NOMAD_TOKEN", "a;\u{1}"),
        ("NOMAD_TOKEN", "ä"),
        ("NOMAD_HTTP_AUTH", "u:\u{1}"),
    ] {
        let problems = problems(&["nodes"], &[(variable, value)]);
        assert!(problems.len() == 1 && problems[0].starts_with(variable), "{variable}: {problems:?}");
    }
    for (variable, value) in [
        ("CONSUL_DATACENTER", "eu/west"),
        ("CONSUL_DATACENTER", "eu west"),
        ("CONSUL_NAMESPACE", "a.b"),
        ("CONSUL_HTTP_TOKEN", "a b"),
        ("NOMAD_FIREHOSE_CONSUL_PREFIX", "a//b"),
    ] {
        match load(&["nodes"], &[(variable, value)]) {
            Err(Exit::Configuration(Problems(problems))) => {
                assert_eq!(problems.len(), 1, "{problems:?}");
                assert!(problems[0].to_string().starts_with(variable), "{problems:?}");
            }
            other => panic!("{variable}: {other:?}"),
        }
    }
}

/// Every setting with every kind of slip: it is taken, or refused by its name.
#[test]
fn no_slip_in_any_setting_goes_without_its_name() {
    const WORD: &str = "hush";
    let slips = [
        "   ",
        "\"hush\"",
        "hush hush",
        "-1",
        "99999999999999999999",
        "hush\u{1}hush",
        "hush,,hush",
        "http://hush:hush@/hush",
        "unix://hush",
        "1d",
        "tr ue",
        "{hush",
    ];
    let sinks: &[&[&str]] = &[
        &["run", "--resources=all", "--sink-type=syslog", "--sink-syslog-proto=tcp", "--sink-syslog-addr=h:1"],
        &["run", "--resources=all", "--sink-type=http", "--sink-http-address=http://h/"],
        #[cfg(feature = "amqp")]
        &[
            "run",
            "--resources=all",
            "--sink-type=amqp",
            "--sink-amqp-connection=amqp://h",
            "--sink-amqp-exchange=x",
            "--sink-amqp-routing-key=k",
        ],
        #[cfg(feature = "eventbridge")]
        &["run", "--resources=all", "--sink-type=eventbridge", "--sink-event-bus-name=b"],
        #[cfg(feature = "kinesis")]
        &["run", "--resources=all", "--sink-type=kinesis", "--sink-kinesis-stream-name=s"],
        #[cfg(feature = "mongodb")]
        &[
            "run",
            "--resources=all",
            "--sink-type=mongodb",
            "--sink-mongodb-connection=mongodb://h",
            "--sink-mongodb-database=d",
            "--sink-mongodb-collection=c",
        ],
        #[cfg(feature = "postgres")]
        &["run", "--resources=all", "--sink-type=postgres", "--sink-postgres-url=postgres://u@h/d"],
        #[cfg(feature = "redis")]
        &["run", "--resources=all", "--sink-type=redis", "--sink-redis-url=redis://h", "--sink-redis-key=k"],
        #[cfg(feature = "sns")]
        &["run", "--resources=all", "--sink-type=sns", "--sink-sns-topic-arn=arn:aws:sns:eu:123456789012:t.fifo"],
        &["run", "--resources=all", "--sink-type=file", "--sink-file-directory=/d"],
        #[cfg(feature = "s3")]
        &["run", "--resources=all", "--sink-type=s3", "--sink-s3-url=s3://nomad"],
        #[cfg(feature = "sqs")]
        &["run", "--resources=all", "--sink-type=sqs", "--sink-sqs-queue-name=q.fifo"],
    ];
    for setting in catalogue::ALL.iter().filter(|setting| setting.flag != catalogue::CONFIG.flag) {
        for slip in slips {
            for sink in which(setting, sinks, slip == slips[0]) {
                // The flag of the set would override the variable.
                let own = format!("--{}=", setting.flag);
                let arguments: Vec<_> = sink.iter().copied().filter(|argument| !argument.starts_with(&own)).collect();
                match load(&arguments, &[(setting.variable, slip)]) {
                    Ok((settings, warnings)) => {
                        let shown = format!("{settings:?}{warnings:?}");
                        // A name alone is the user's name, which is not a secret.
                        let secret = setting.secret && !setting.variable.ends_with("_AUTH");
                        assert!(!secret || !shown.contains(WORD), "{}: {shown}", setting.variable);
                        let odd = slip.trim() != slip || slip.starts_with('"');
                        // A text in quotes is a whole program.
                        let odd = odd && !matches!(setting.flag, "jq" | "by");
                        let told = shown.contains(&format!("\"{}", setting.variable)) || !is_read(setting, sink);
                        assert!(!odd || told, "{} {slip:?} is taken without a word: {shown}", setting.variable);
                    }
                    Err(Exit::Configuration(problems)) => {
                        let shown = problems.to_string();
                        let named = problems.0.iter().any(|problem| problem.to_string().contains(setting.variable));
                        assert!(named, "{} {slip:?}: {shown}", setting.variable);
                        assert!(!setting.secret || !shown.contains(WORD), "{}: {shown}", setting.variable);
                    }
                    Err(other) => panic!("{} {slip:?}: {other:?}", setting.variable),
                }
            }
        }
    }
}

/// The sinks to try a setting with: its own, and once the first one, which ignores it. A setting of no sink is read the same with each.
fn which<'a>(setting: &'a Setting, sinks: &'a [&'a [&'a str]], once: bool) -> impl Iterator<Item = &'a &'a [&'a str]> {
    let is_of = |listed: &Listed| listed.settings().iter().any(|own| own.flag == setting.flag);
    let is_of_a_sink = SINKS.iter().any(is_of);
    let is_own = move |sink: &[&str]| SINKS.iter().any(|listed| chosen(sink) == listed.name && is_of(listed));
    let is_first = once || !is_of_a_sink;
    sinks
        .iter()
        .enumerate()
        .filter(move |(number, sink)| *number == 0 && is_first || is_own(sink))
        .map(|(_, sink)| sink)
}

fn chosen<'a>(sink: &[&'a str]) -> &'a str {
    sink.iter().find_map(|argument| argument.strip_prefix("--sink-type=")).unwrap_or_default()
}

/// Whether the chosen sink reads the setting: it ignores the settings of other sinks.
fn is_read(setting: &Setting, sink: &[&str]) -> bool {
    let chosen = chosen(sink);
    let has = |sink: &Listed| sink.settings().iter().any(|own| own.flag == setting.flag);
    SINKS.iter().all(|sink| sink.name == chosen || !has(sink))
}
