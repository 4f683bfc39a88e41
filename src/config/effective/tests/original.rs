//! The variables of the original program, as its `sink/*.go` read them (<https://github.com/seatgeek/nomad-firehose>).

use super::*;
use crate::{
    config::Wanted,
    kind::Kind,
    sink::{SINKS, registry::Listed},
};

/// A sink of the original.
struct Original {
    /// The value of `SINK_TYPE`.
    name: &'static str,
    /// What it requires, and what it becomes here: as it is written, if the value is no secret.
    required: &'static [(&'static str, &'static str)],
    /// What it takes beside that, with the default here; `None` if there is none. Where the original has a default, it is that, but for one.
    optional: &'static [(&'static str, &'static str, Option<&'static str>)],
}

const SINKS_THERE: &[Original] = &[
    Original { name: "stdout", required: &[], optional: &[] },
    Original { name: "amqp", required: AMQP, optional: AMQP_TOO },
    Original { name: "rabbitmq", required: AMQP, optional: AMQP_TOO },
    Original {
        name: "http",
        required: &[("SINK_HTTP_ADDRESS", "http://miau.com:8080/biau")],
        optional: &[("SINK_WORKER_COUNT", "3", Some("1"))],
    },
    Original {
        name: "kafka",
        required: &[("SINK_KAFKA_BROKERS", "kafka1:9092,kafka2:9092,kafka3:9092"), ("SINK_KAFKA_TOPIC", "nomad")],
        optional: &[
            ("SINK_KAFKA_CA_CERT_PATH", "/ca.pem", None),
            ("SINK_KAFKA_USER", "me", None),
            ("SINK_KAFKA_PASSWORD", SECRET, None),
        ],
    },
    Original {
        name: "kinesis",
        required: &[("SINK_KINESIS_STREAM_NAME", "nomad"), ("SINK_KINESIS_PARTITION_KEY", "nomad")],
        optional: &[],
    },
    Original {
        name: "nsq",
        required: &[("SINK_NSQ_ADDR", "127.0.0.1:4150"), ("SINK_NSQ_TOPIC_NAME", "nomad-firehose")],
        optional: &[],
    },
    Original {
        name: "redis",
        required: &[("SINK_REDIS_URL", "redis://127.0.0.1:6379/0"), ("SINK_REDIS_KEY", "my-key")],
        optional: &[],
    },
    Original { name: "sqs", required: &[("SINK_SQS_QUEUE_NAME", "nomad.fifo")], optional: &[] },
    Original {
        name: "eventbridge",
        required: &[("SINK_EVENT_BUS_NAME", "nomad")],
        // It has no defaults there, and EventBridge takes no event without them.
        optional: &[
            ("SINK_EVENT_BUS_DETAIL_TYPE", "nomad", Some("{Kind}")),
            ("SINK_EVENT_BUS_SOURCE", "nomad", Some("nomad-firehose")),
        ],
    },
    Original {
        name: "mongodb",
        required: &[
            ("SINK_MONGODB_CONNECTION", "mongodb://localhost:27017"),
            ("SINK_MONGODB_DATABASE", "nomad"),
            ("SINK_MONGODB_COLLECTION", "events"),
        ],
        optional: &[("SINK_MONGODB_WORKERS", "3", Some("1"))],
    },
    Original {
        name: "syslog",
        required: &[],
        optional: &[
            ("SINK_SYSLOG_PROTO", "udp", None),
            ("SINK_SYSLOG_ADDR", "192.168.1.100:514", None),
            ("SINK_SYSLOG_TAG", "nomad", Some("nomad-firehose")),
        ],
    },
];

const AMQP: &[(&str, &str)] = &[
    ("SINK_AMQP_CONNECTION", "amqp://guest:guest@127.0.0.1:5672/"),
    ("SINK_AMQP_EXCHANGE", "nomad"),
    ("SINK_AMQP_ROUTING_KEY", "events"),
];
/// The default is 1 there. Here it is more, because each key stays in order with any number of them.
const AMQP_TOO: &[(&str, &str, Option<&str>)] = &[("SINK_AMQP_WORKERS", "3", Some("4"))];

/// Those that this build has: the features of some can be off.
fn built() -> impl Iterator<Item = &'static Original> {
    SINKS_THERE.iter().filter(|there| {
        let is_it = |sink: &&Listed| sink.name == there.name || sink.alias == Some(there.name);
        SINKS.iter().find(is_it).is_some_and(|sink| sink.definition.is_some())
    })
}

/// What `nomad-firehose jobs` makes of these variables.
fn of_jobs(variables: &[(&str, &str)]) -> Effective {
    let consul = [("NOMAD_ADDR", "http://10.0.0.1:4646"), ("CONSUL_HTTP_ADDR", "10.0.0.1:8500")];
    effective(Wanted::One(Kind::Jobs), &Vec::new(), &environment(&[&consul[..], variables].concat()))
}

/// The values of a setting, as `config --json` shows them; none if it has none.
fn values(found: &Effective, variable: &str) -> Vec<String> {
    let setting = catalogue::ALL.iter().find(|setting| setting.variable == variable).expect(variable);
    match &row(found, setting.flag)["value"] {
        serde_json::Value::Array(all) => all.iter().map(|value| value.as_str().expect("text").to_owned()).collect(),
        serde_json::Value::Null => Vec::new(),
        value => vec![value.as_str().map_or_else(|| value.to_string(), str::to_owned)],
    }
}

/// What is no secret is taken as it is.
#[track_caller]
fn assert_value(found: &Effective, variable: &str, given: &str) {
    let shown = values(found, variable).join(",");
    let is_hidden = shown.contains("<hidden>") && !shown.contains(SECRET);
    assert!(is_hidden || shown == given, "{variable} is {shown:?}, not {given:?}");
}

#[test]
fn what_a_sink_requires_there_is_enough_here_with_the_same_defaults() {
    for Original { name, required, optional, .. } in built() {
        let variables: Vec<_> = [("SINK_TYPE", *name)].into_iter().chain(required.iter().copied()).collect();
        let found = of_jobs(&variables);
        assert!(found.problems.is_none(), "{name}: {:?}", found.problems);
        assert_eq!(found.warnings, [], "{name}");
        for (variable, value) in *required {
            assert_value(&found, variable, value);
        }
        for (variable, _, default) in *optional {
            assert_eq!(
                values(&found, variable),
                default.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>(),
                "{variable}"
            );
        }
    }
}

#[test]
fn what_a_sink_takes_there_it_takes_here() {
    for Original { name, required, optional, .. } in built() {
        let optional: Vec<_> = optional.iter().map(|(variable, value, _)| (*variable, *value)).collect();
        let variables: Vec<_> =
            [("SINK_TYPE", *name)].into_iter().chain(required.iter().copied()).chain(optional.clone()).collect();
        let found = of_jobs(&variables);
        assert!(found.problems.is_none(), "{name}: {:?}", found.problems);
        for (variable, value) in optional {
            assert_value(&found, variable, value);
        }
    }
}

#[test]
fn each_of_its_variables_is_required_or_optional_as_there() {
    for Original { name, required, .. } in built() {
        for (missing, _) in *required {
            // Without it, the record's own key is taken.
            if *missing == "SINK_KINESIS_PARTITION_KEY" {
                continue;
            }
            let given = required.iter().filter(|(variable, _)| variable != missing).copied();
            let found = of_jobs(&[("SINK_TYPE", *name)].into_iter().chain(given).collect::<Vec<_>>());
            let problems = found.problems.map(|problems| problems.to_string()).unwrap_or_default();
            assert!(problems.contains(missing), "{name} without {missing}: {problems}");
        }
    }
}

#[test]
fn the_table_for_a_migration_has_each_of_them_once() {
    let page = include_str!("../../../../docs/migration.md");
    for Original { required, optional, .. } in SINKS_THERE {
        let required = required.iter().map(|(variable, _)| format!("\n| `{variable}` |"));
        let optional = optional.iter().map(|(variable, ..)| format!("`{variable}`"));
        for row in
            required.chain(optional.filter(|name| name != "`SINK_SYSLOG_ADDR`").map(|name| format!("\n| [{name}] |")))
        {
            assert_eq!(page.matches(&row).count(), 1, "{row}");
        }
    }
}
