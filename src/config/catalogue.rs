//! Every setting, once: the ones of the program, and those of each sink in [`SINKS`]. The command line, the environment, the
//! configuration file, the warnings about misspelt names and `docs/configuration.md` ([`super::reference`]) all read [`ALL`].

use std::sync::LazyLock;

use crate::{
    digest, envelope, program, rules,
    settings::{Change, Form, Scope, Setting, settings},
    sink::{SINKS, registry},
};

/// All settings, in the order of the help.
pub static ALL: LazyLock<Vec<&'static Setting>> = LazyLock::new(|| {
    let sinks = SINKS.iter().flat_map(|sink| sink.settings());
    GENERAL.iter().chain(STAGES.iter().copied().flatten()).chain(sinks).chain(OPERATING).copied().collect()
});

/// The settings of the stages between source and delivery.
const STAGES: &[&[&Setting]] =
    &[program::settings::SETTINGS, rules::settings::SETTINGS, envelope::settings::SETTINGS, digest::settings::SETTINGS];

/// What the table of a pipeline can hold: everything about its records and its sink.
pub static OF_PIPELINES: LazyLock<Vec<&'static Setting>> = LazyLock::new(|| {
    let own: [&'static Setting; 9] = [
        &TOPIC,
        &RESOURCES,
        &NOMAD_NAMESPACE,
        &CHECKPOINT_INTERVAL,
        &START,
        &STANDBY_BUFFER,
        &MAX_IN_FLIGHT,
        &RETRY_MAX,
        &DEAD_LETTER,
    ];
    let stages = STAGES.iter().copied().flatten().copied();
    own.into_iter()
        .chain(stages)
        .chain([&SINK_TYPE])
        .chain(SINKS.iter().flat_map(|sink| sink.settings()).copied())
        .collect()
});

/// What the configuration file can hold.
pub(crate) fn of_files() -> Vec<&'static Setting> {
    ALL.iter().copied().filter(|setting| is_key(setting)).collect()
}

/// Whether the configuration file can hold this setting. It cannot name another file.
pub(super) fn is_key(setting: &Setting) -> bool {
    ![CONFIG.flag, NOMAD_EVENTS_SINK_CONFIG.flag].contains(&setting.flag)
}

/// What only a restart of the program changes.
pub(crate) fn fixed() -> Vec<&'static Setting> {
    ALL.iter().copied().filter(|setting| matches!(setting.change, Change::Program(_))).collect()
}

const RECORDS: &str = "Records";
const NOMAD: &str = "Nomad";
const COORDINATION: &str = "Coordination";
pub(super) const CONSUL: &str = "Consul";
const DELIVERY: &str = "Delivery";
const SINK: &str = "Sink";
const OPERATION: &str = "Logging and status";

/// Where leases and checkpoints are.
const ELSEWHERE: Change =
    Change::Program("leases and checkpoints would be in another place, and all replicas have to agree on it");

settings! {
    pub GENERAL:

    TOPIC = Setting::new(RECORDS, "topic", "NOMAD_FIREHOSE_TOPICS", "TOPIC[:KEY]",
        "Topics of the event stream that `events` carries. With a filter key, only the events that have this key, which must not contain a colon. Repeat the flag; in the variable, separate by commas, and write `\\,` for a comma in a key")
        .default("*").form(Form::Repeated).scope(Scope::Topics);
    RESOURCES = Setting::new(RECORDS, "resources", "NOMAD_FIREHOSE_RESOURCES", "KIND,…",
        "Kinds that `run` carries, separated by commas. `all` means every kind, also raw events, for which Nomad requires a management token")
        .form(Form::List).scope(Scope::Run);

    NOMAD_ADDR = Setting::new(NOMAD, "nomad-addr", "NOMAD_ADDR", "URL,…",
        "Addresses of Nomad (http://, https:// or unix://). The next one is tried when one fails. A path is that of a reverse proxy: http://proxy/nomad")
        .default("http://127.0.0.1:4646").form(Form::List);
    NOMAD_REGION = Setting::new(NOMAD, "nomad-region", "NOMAD_REGION", "NAME",
        "Region to ask. Without it, the region of the agent at the address");
    NOMAD_NAMESPACE = Setting::new(NOMAD, "nomad-namespace", "NOMAD_NAMESPACE", "NAME,…",
        "Namespaces to carry. Name them if the token may not read all; `*` means all, also those created later")
        .default("*").form(Form::List);
    NOMAD_TOKEN = Setting::new(NOMAD, "nomad-token", "NOMAD_TOKEN", "SECRET",
        "ACL token. Other users can see flags in the process list: prefer the variable or the file").secret();
    NOMAD_TOKEN_FILE = Setting::new(NOMAD, "nomad-token-file", "NOMAD_TOKEN_FILE", "FILE",
        "File with the ACL token, read again for each request. Without a token, ${NOMAD_SECRETS_DIR}/nomad_token is used if it exists").secret_file().renewed();
    NOMAD_HTTP_AUTH = Setting::new(NOMAD, "nomad-http-auth", "NOMAD_HTTP_AUTH", "USER[:PASSWORD]",
        "Basic authentication, for a proxy in front of Nomad").secret();
    NOMAD_CACERT = Setting::new(NOMAD, "nomad-cacert", "NOMAD_CACERT", "FILE",
        "PEM file with the certificate authority that signed Nomad's certificate").renewed();
    NOMAD_CAPATH = Setting::new(NOMAD, "nomad-capath", "NOMAD_CAPATH", "DIR",
        "Directory with such PEM files. NOMAD_CACERT overrides it").renewed();
    NOMAD_CLIENT_CERT = Setting::new(NOMAD, "nomad-client-cert", "NOMAD_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to Nomad. Requires the key").renewed();
    NOMAD_CLIENT_KEY = Setting::new(NOMAD, "nomad-client-key", "NOMAD_CLIENT_KEY", "FILE",
        "PEM file with the key of that certificate").secret_file().renewed();
    NOMAD_TLS_SERVER_NAME = Setting::new(NOMAD, "nomad-tls-server-name", "NOMAD_TLS_SERVER_NAME", "NAME",
        "Name expected in Nomad's certificate, if it is not the host of the address: server.global.nomad");
    NOMAD_SKIP_VERIFY = Setting::new(NOMAD, "nomad-skip-verify", "NOMAD_SKIP_VERIFY", "BOOL",
        "Do not verify Nomad's certificate. Only for tests").default("false").form(Form::Switch);
    SOURCE = Setting::new(NOMAD, "source", "NOMAD_FIREHOSE_SOURCE", "auto|stream|poll",
        "Source of records: stream is the event stream; poll reads lists whenever something changed (no `events`, no purges, no versions in between); auto is the stream if there is one, otherwise lists until there is")
        .default("auto");
    POLL_INTERVAL = Setting::new(NOMAD, "poll-interval", "NOMAD_FIREHOSE_POLL_INTERVAL", "DURATION",
        "Shortest pause between two lists of a kind while polling (100ms–10m). If a list takes longer, the pause is as long as the list took")
        .default("1s");
    STALE = Setting::new(NOMAD, "stale", "NOMAD_FIREHOSE_STALE", "DURATION",
        "While polling, allow stale lists from servers that have heard from the leader within this time (100ms–10m). Without it, only the leader answers");
    NOMAD_TIMEOUT = Setting::new(NOMAD, "nomad-timeout", "NOMAD_FIREHOSE_NOMAD_TIMEOUT", "DURATION",
        "How long one call to Nomad may make no progress (1s–5m). The event stream has its own limit, 40s of silence")
        .default("10s");

    COORDINATOR = Setting::new(COORDINATION, "coordinator", "NOMAD_FIREHOSE_COORDINATOR", "NAME",
        "Coordinator that keeps leases and checkpoints: consul (replicas anywhere), nomad (replicas anywhere, in Variables of the cluster itself), file (replicas on one machine, requires a data directory), none (one process, keeps nothing), auto (nomad inside of a Nomad job without any setting of Consul, otherwise consul)")
        .default("consul").change(ELSEWHERE);
    DATA_DIR = Setting::new(COORDINATION, "data-dir", "NOMAD_FIREHOSE_DATA_DIR", "DIR",
        "Directory in which the file coordinator keeps its checkpoints. It is created if it does not exist").change(ELSEWHERE);
    CHECKPOINT_INTERVAL = Setting::new(COORDINATION, "checkpoint-interval", "NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "DURATION",
        "How often the file coordinator stores the checkpoint (100ms–1h). Consul and Nomad store it with each heartbeat, three times in a lease. After a crash, records delivered since the last checkpoint are sent again")
        .default("10s");
    START = Setting::new(COORDINATION, "start", "NOMAD_FIREHOSE_START", "all|now|INDEX",
        "Where the first start begins: all (everything that the cluster holds), now, or a raft index. A checkpoint overrides it")
        .default("all");
    LEASE = Setting::new(COORDINATION, "lease", "NOMAD_FIREHOSE_LEASE", "DURATION",
        "How long a leader may go without renewing its lease in Consul or Nomad before a standby takes over (1s–60s). A shorter lease costs more writes")
        .default("4s");
    INDEX_FILE = Setting::new(COORDINATION, "index-file", "NOMAD_FIREHOSE_INDEX_FILE", "FILE",
        "Index file of nomad-events-sink, for `events`: what it has more than the checkpoint is taken over at the start, and it is kept up to date, so that you can go back")
        .scope(Scope::Topics);
    STANDBY_BUFFER = Setting::new(COORDINATION, "standby-buffer", "NOMAD_FIREHOSE_STANDBY_BUFFER", "SIZE",
        "Bytes of the event stream that a standby keeps in memory (at most 2GiB), so that a take-over misses nothing if Nomad's own buffer is short. Only with Consul and Nomad; 0 turns it off")
        .default("32MiB");

    NOMAD_VAR_PREFIX = Setting::new(COORDINATION, "nomad-var-prefix", "NOMAD_FIREHOSE_NOMAD_VAR_PREFIX", "PATH",
        "Folder of the Variables that the coordinator nomad writes. Names of letters, digits, -, _ and ~ with / between them. A trailing / is ignored").default("nomad-firehose").change(ELSEWHERE);
    NOMAD_VAR_NAMESPACE = Setting::new(COORDINATION, "nomad-var-namespace", "NOMAD_FIREHOSE_NOMAD_VAR_NAMESPACE", "NAME",
        "Namespace of these Variables").default("default").change(ELSEWHERE);

    CONSUL_HTTP_ADDR = Setting::new(CONSUL, "consul-http-addr", "CONSUL_HTTP_ADDR", "ADDRESS",
        "Address of Consul: HOST:PORT, optionally with http:// or https:// before it and the path of a reverse proxy after it, or unix:///SOCKET").default("127.0.0.1:8500");
    CONSUL_HTTP_TOKEN = Setting::new(CONSUL, "consul-http-token", "CONSUL_HTTP_TOKEN", "SECRET",
        "ACL token. Other users can see flags in the process list: prefer the variable or the file").secret();
    CONSUL_HTTP_TOKEN_FILE = Setting::new(CONSUL, "consul-http-token-file", "CONSUL_HTTP_TOKEN_FILE", "FILE",
        "File with the ACL token, read again for each request").secret_file().renewed();
    CONSUL_HTTP_AUTH = Setting::new(CONSUL, "consul-http-auth", "CONSUL_HTTP_AUTH", "USER[:PASSWORD]",
        "Basic authentication, for a proxy in front of Consul").secret();
    CONSUL_HTTP_SSL = Setting::new(CONSUL, "consul-http-ssl", "CONSUL_HTTP_SSL", "BOOL",
        "Use HTTPS, even if the address says http://").default("false").form(Form::Switch);
    CONSUL_HTTP_SSL_VERIFY = Setting::new(CONSUL, "consul-http-ssl-verify", "CONSUL_HTTP_SSL_VERIFY", "BOOL",
        "Verify Consul's certificate. false is only for tests").default("true").form(Form::Switch);
    CONSUL_CACERT = Setting::new(CONSUL, "consul-cacert", "CONSUL_CACERT", "FILE",
        "PEM file with the certificate authority that signed Consul's certificate").renewed();
    CONSUL_CAPATH = Setting::new(CONSUL, "consul-capath", "CONSUL_CAPATH", "DIR",
        "Directory with such PEM files. CONSUL_CACERT overrides it").renewed();
    CONSUL_CLIENT_CERT = Setting::new(CONSUL, "consul-client-cert", "CONSUL_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to Consul. Requires the key").renewed();
    CONSUL_CLIENT_KEY = Setting::new(CONSUL, "consul-client-key", "CONSUL_CLIENT_KEY", "FILE",
        "PEM file with the key of that certificate").secret_file().renewed();
    CONSUL_TLS_SERVER_NAME = Setting::new(CONSUL, "consul-tls-server-name", "CONSUL_TLS_SERVER_NAME", "NAME",
        "Name expected in Consul's certificate, if it is not the host of the address: server.dc1.consul");
    CONSUL_NAMESPACE = Setting::new(CONSUL, "consul-namespace", "CONSUL_NAMESPACE", "NAME",
        "Namespace of keys and sessions. Only for Consul Enterprise").change(ELSEWHERE);
    CONSUL_PARTITION = Setting::new(CONSUL, "consul-partition", "CONSUL_PARTITION", "NAME",
        "Admin partition of keys and sessions. Only for Consul Enterprise").change(ELSEWHERE);
    CONSUL_DATACENTER = Setting::new(CONSUL, "consul-datacenter", "CONSUL_DATACENTER", "NAME",
        "Datacenter that keeps keys and sessions, the same for all replicas. Without it, the datacenter of the agent").change(ELSEWHERE);
    CONSUL_PREFIX = Setting::new(CONSUL, "consul-prefix", "NOMAD_FIREHOSE_CONSUL_PREFIX", "PATH",
        "Folder in Consul's KV store. A trailing / is ignored").default("nomad-firehose").change(ELSEWHERE);
    CONSUL_SESSION_TTL = Setting::new(CONSUL, "consul-session-ttl", "NOMAD_FIREHOSE_CONSUL_SESSION_TTL", "DURATION",
        "How long Consul keeps the session of a silent replica at least (10s–24h). It must not be shorter than the lease")
        .default("10s");
    CONSUL_NODE_CHECK = Setting::new(CONSUL, "consul-node-check", "NOMAD_FIREHOSE_CONSUL_NODE_CHECK", "BOOL",
        "Also end the session when Consul believes that the agent's node is dead (serfHealth), as the original program does. A short network failure then costs the lease")
        .default("false").form(Form::Switch);

    MAX_IN_FLIGHT = Setting::new(DELIVERY, "max-in-flight", "NOMAD_FIREHOSE_MAX_IN_FLIGHT", "SIZE",
        "Bytes of events that may be read and not yet delivered (64KiB–2GiB). A single larger event passes alone")
        .default("32MiB");
    SHUTDOWN_GRACE = Setting::new(DELIVERY, "shutdown-grace", "NOMAD_FIREHOSE_SHUTDOWN_GRACE", "DURATION",
        "How long a stop may take to deliver what was read and to store the checkpoint (100ms–10m). Nomad kills a task 5s after it asks it to stop")
        .default("4s");
    RETRY_MAX = Setting::new(DELIVERY, "retry-max", "NOMAD_FIREHOSE_RETRY_MAX", "DURATION",
        "Longest pause between two attempts while the sink is unavailable (100ms–10m). Pauses are random, up to a bound that starts at 100ms and doubles. Attempts never end")
        .default("30s");
    DEAD_LETTER = Setting::new(DELIVERY, "dead-letter", "NOMAD_FIREHOSE_DEAD_LETTER", "stop|log|file:PATH",
        "What to do with a record that the sink rejects: stop (hold everything and keep trying), log (log it and go on), or file:PATH (append it to a file and go on)")
        .default("stop");

    SINK_TYPE = Setting::new(SINK, "sink-type", "SINK_TYPE", "NAME",
        "Sink that records go to").choices(registry::choices).default("stdout");
    CLUSTER = Setting::new(SINK, "cluster", "NOMAD_FIREHOSE_CLUSTER", "LABEL",
        "Label for this cluster. It is sent with each record if the sink has a place for it, and stored in the checkpoint, which tells clusters apart").change(Change::Program("checkpoints carry the label, and a pipeline refuses those of another one"));
}

settings! {
    pub OPERATING:

    LOG_LEVEL = Setting::new(OPERATION, "log-level", "LOG_LEVEL", "LEVEL",
        "Least important level to log: trace, debug, info, warn (or warning), error (or fatal, panic)").default("info").change(Change::AtOnce);
    LOG_FORMAT = Setting::new(OPERATION, "log-format", "LOG_FORMAT", "FORMAT",
        "Format of log lines on stderr: text, json, or seatgeek-json (@timestamp, @level, @message)").default("text").change(Change::AtOnce);
    LISTEN = Setting::new(OPERATION, "listen", "NOMAD_FIREHOSE_LISTEN", "ADDRESS:PORT",
        "Address to serve a status page, /status, /metrics and /health on: 127.0.0.1:9090. Without it, none is served").change(Change::Program("the port is opened once, before the first pipeline starts"));
    CONFIG = Setting::new(OPERATION, "config", "NOMAD_FIREHOSE_CONFIG", "FILE",
        "TOML file with any of these settings; the keys are the names of the flags. Flags override variables, and variables override the file").change(Change::Program("flags and variables of a running program cannot change"));
    NOMAD_EVENTS_SINK_CONFIG = Setting::new(OPERATION, "nomad-events-sink-config", "NOMAD_FIREHOSE_NOMAD_EVENTS_SINK_CONFIG", "FILE",
        "config.toml of nomad-events-sink, for `events`. It and the variables NOMAD_EVENTS_SINK_* count where no setting of this program is given")
        .scope(Scope::Topics).change(Change::Program("flags and variables of a running program cannot change"));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_stands_for_two_settings() {
        for name in [|setting: &Setting| setting.flag, |setting: &Setting| setting.variable] {
            let names: HashSet<_> = ALL.iter().map(|setting| name(setting)).collect();
            assert_eq!(names.len(), ALL.len());
        }
    }

    #[test]
    fn whatever_holds_a_secret_by_name_is_marked_as_one() {
        for setting in ALL.iter() {
            let name = setting.variable;
            if ["TOKEN", "AUTH", "PASSWORD", "SECRET"].iter().any(|word| name.ends_with(word)) {
                assert!(setting.secret, "{name}");
            }
        }
    }

    const MANUAL: &str = include_str!("../../docs/configuration.md");
    const README: &str = include_str!("../../README.md");

    #[test]
    fn the_documents_name_no_setting_that_does_not_exist() {
        for text in [MANUAL, README] {
            let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
            for word in words.filter(|word| word.starts_with("NOMAD_FIREHOSE_") && !word.ends_with('_')) {
                assert!(ALL.iter().any(|setting| setting.variable == word), "{word}");
            }
        }
    }
}
