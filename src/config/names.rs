//! Variables whose names are almost right.

use super::catalogue;
use crate::settings::{Environment, Warning, nearest};

/// Variables of the original program's sinks. In the environment of a migration they are no mistake, with any sink.
const ORIGINAL: [&str; 20] = [
    "SINK_EVENT_BUS_DETAIL_TYPE",
    "SINK_EVENT_BUS_NAME",
    "SINK_EVENT_BUS_SOURCE",
    "SINK_KAFKA_BROKERS",
    "SINK_KAFKA_CA_CERT_PATH",
    "SINK_KAFKA_PASSWORD",
    "SINK_KAFKA_TOPIC",
    "SINK_KAFKA_USER",
    "SINK_MONGODB_COLLECTION",
    "SINK_MONGODB_CONNECTION",
    "SINK_MONGODB_DATABASE",
    "SINK_MONGODB_WORKERS",
    "SINK_NSQ_ADDR",
    "SINK_NSQ_TOPIC_NAME",
    "SINK_REDIS_KEY",
    "SINK_REDIS_URL",
    "SINK_SQS_QUEUE_NAME",
    "SINK_SYSLOG_ADDR",
    "SINK_SYSLOG_PROTO",
    "SINK_SYSLOG_TAG",
];

/// Variables that Nomad sets in its tasks, or that its command line reads, and that look like a misspelling.
const NOMADS_OWN: [&str; 3] = ["NOMAD_REGION", "NOMAD_UNIX_ADDR", "NOMAD_LICENSE"];

/// The topics of Nomad 2.0.5 (`nomad/structs/event.go`).
pub(super) const TOPICS: [&str; 18] = [
    "*",
    "ACLAuthMethod",
    "ACLBindingRule",
    "ACLPolicy",
    "ACLRole",
    "ACLToken",
    "Allocation",
    "CSIPlugin",
    "CSIVolume",
    "Deployment",
    "Evaluation",
    "HostVolume",
    "Job",
    "Node",
    "NodePool",
    "Operator",
    "Service",
    "Variable",
];

/// Unknown variables with our prefixes, and variables of Nomad and Consul that are probably misspelt.
pub(super) fn unknown_variables(environment: &Environment<'_>) -> Vec<Warning> {
    let known = || catalogue::ALL.iter().map(|setting| setting.variable);
    let names = environment.variables.iter().filter_map(|(name, _)| name.to_str());
    let mut warnings: Vec<_> = names
        .filter(|name| !known().any(|known| known == *name))
        .filter_map(|name| {
            if name.starts_with("NOMAD_FIREHOSE_") || name.starts_with("SINK_") {
                let foreign = ORIGINAL.contains(&name);
                let names = known().filter(|known| known.starts_with("NOMAD_FIREHOSE_") || known.starts_with("SINK_"));
                let nearest = nearest(name, names.chain(ORIGINAL));
                (!foreign).then(|| Warning::UnknownVariable { name: name.to_owned(), nearest })
            } else {
                let nearest = known().find(|known| misspells(name, known))?;
                Some(Warning::UnknownVariable { name: name.to_owned(), nearest: Some(nearest) })
            }
        })
        .collect();
    // The environment has no defined order; a stable one is easier to read.
    warnings.sort_by(|a, b| format!("{a:?}").cmp(&format!("{b:?}")));
    warnings
}

/// Whether `name` is one of Nomad's or Consul's variables with a slip in it. Nomad sets dozens of variables in every
/// task (`NOMAD_ADDR_http`, `NOMAD_TOKEN_aws`, `NOMAD_META_…`): only a name that is too near to be one of those counts.
fn misspells(name: &str, known: &str) -> bool {
    let of = |prefix| name.starts_with(prefix) && known.starts_with(prefix);
    if !(of("NOMAD_") || of("CONSUL_")) || NOMADS_OWN.contains(&name) {
        return false;
    }
    // A port label can make any name: NOMAD_ADDR_x is one edit from nothing, but NOMAD_IP_a is near NOMAD_CAPATH.
    let longer = name.strip_prefix(known).is_some_and(|rest| rest.len() <= 4 && !rest.starts_with('_'));
    longer || strsim::osa_distance(name, known) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(names: &[&str]) -> Vec<(String, Option<&'static str>)> {
        let variables = names.iter().map(|name| (name.into(), "x".into())).collect();
        unknown_variables(&Environment { variables, exists: &|_| false })
            .into_iter()
            .map(|warning| match warning {
                Warning::UnknownVariable { name, nearest } => (name, nearest),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn our_prefixes_are_warned_of_with_the_nearest_name() {
        for (name, nearest) in [
            ("NOMAD_FIREHOSE_COORDINATER", Some("NOMAD_FIREHOSE_COORDINATOR")),
            ("NOMAD_FIREHOSE_DATADIR", Some("NOMAD_FIREHOSE_DATA_DIR")),
            ("NOMAD_FIREHOSE_TOPIC", Some("NOMAD_FIREHOSE_TOPICS")),
            ("SINK_TYP", Some("SINK_TYPE")),
            ("SINK_AMPQ_CONNECTION", Some("SINK_AMQP_CONNECTION")),
        ] {
            assert_eq!(warned(&[name]), [(name.to_owned(), nearest)]);
        }
    }

    #[test]
    fn slips_in_the_names_of_nomad_and_consul_are_warned_of() {
        for (name, nearest) in [
            ("NOMAD_ADDRESS", "NOMAD_ADDR"),
            ("NOMAD_TOKN", "NOMAD_TOKEN"),
            ("NOMAD_CA_CERT", "NOMAD_CACERT"),
            ("NOMAD_NAMESPACES", "NOMAD_NAMESPACE"),
            ("NOMAD_TLS_SERVERNAME", "NOMAD_TLS_SERVER_NAME"),
            ("CONSUL_HTTP_ADDRESS", "CONSUL_HTTP_ADDR"),
            ("CONSUL_CA_CERT", "CONSUL_CACERT"),
            ("CONSUL_HTTPS_SSL", "CONSUL_HTTP_SSL"),
        ] {
            assert_eq!(warned(&[name]), [(name.to_owned(), Some(nearest))]);
        }
    }

    #[test]
    fn what_nomad_sets_in_its_tasks_is_no_mistake() {
        let names = [
            "CONSUL_GRPC_ADDR",
            "CONSUL_GRPC_CACERT",
            "CONSUL_HTTP_TOKEN",
            "CONSUL_LICENSE",
            "CONSUL_TOKEN",
            "NOMAD_ADDR_http",
            "NOMAD_ADDR_x",
            "NOMAD_ALLOC_ADDR_http",
            "NOMAD_ALLOC_DIR",
            "NOMAD_ALLOC_ID",
            "NOMAD_ALLOC_INDEX",
            "NOMAD_ALLOC_NAME",
            "NOMAD_ALLOC_PORT_http",
            "NOMAD_CLI_NO_COLOR",
            "NOMAD_CPU_CORES",
            "NOMAD_CPU_LIMIT",
            "NOMAD_DC",
            "NOMAD_GROUP_NAME",
            "NOMAD_HOST_ADDR_http",
            "NOMAD_HOST_PORT_http",
            "NOMAD_IP_a",
            "NOMAD_JOB_ID",
            "NOMAD_JOB_NAME",
            "NOMAD_JOB_PARENT_ID",
            "NOMAD_LICENSE",
            "NOMAD_LICENSE_PATH",
            "NOMAD_MEMORY_LIMIT",
            "NOMAD_MEMORY_MAX_LIMIT",
            "NOMAD_META_token",
            "NOMAD_NAMESPACE",
            "NOMAD_PARENT_CGROUP",
            "NOMAD_PORT_a",
            "NOMAD_REGION",
            "NOMAD_SECRETS_DIR",
            "NOMAD_SHORT_ALLOC_ID",
            "NOMAD_TASK_DIR",
            "NOMAD_TASK_NAME",
            "NOMAD_TOKEN_aws",
            "NOMAD_UNIX_ADDR",
            "NOMAD_UPSTREAM_ADDR_redis",
            "NOMAD_VAR_region",
            "PATH",
            "SINK_KAFKA_BROKERS",
            "SINK_WORKER_COUNT",
            "SINK_HTTP_ADDRESS",
        ];
        assert_eq!(warned(&names), []);
    }
}
