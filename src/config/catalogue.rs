//! Every setting, once: the ones of the program, and those of each sink in [`SINKS`]. The command line, the environment, the
//! configuration file, the warnings about misspelt names and the check of `docs/configuration.md` all read [`ALL`].

use std::sync::LazyLock;

use crate::{
    settings::{Form, Scope, Setting, settings},
    sink::{SINKS, registry},
};

/// All settings, in the order of the help.
pub static ALL: LazyLock<Vec<&'static Setting>> = LazyLock::new(|| {
    let sinks = SINKS.iter().flat_map(|sink| sink.settings());
    GENERAL.iter().chain(sinks).chain(OPERATING).copied().collect()
});

const RECORDS: &str = "Records";
const NOMAD: &str = "Nomad";
const COORDINATION: &str = "Coordination";
const CONSUL: &str = "Consul";
const DELIVERY: &str = "Delivery";
const SINK: &str = "Sink";
const OPERATION: &str = "Logging and status";

settings! {
    pub GENERAL:

    TOPIC = Setting::new(RECORDS, "topic", "NOMAD_FIREHOSE_TOPICS", "TOPIC[:KEY]",
        "Which topics of the event stream `events` carries, and of each only those with this filter key, which holds no colon. Repeat the flag; in the variable, separate by commas, and write \\, for a comma within a key")
        .default("*").form(Form::Repeated).scope(Scope::Topics);
    RESOURCES = Setting::new(RECORDS, "resources", "NOMAD_FIREHOSE_RESOURCES", "KIND,…",
        "What `run` carries, separated by commas. `all` is every kind, raw events too, for which Nomad wants a management token")
        .form(Form::List).scope(Scope::Run);

    NOMAD_ADDR = Setting::new(NOMAD, "nomad-addr", "NOMAD_ADDR", "URL,…",
        "Nomad's addresses (http://, https:// or unix://), tried in turn when one fails. A path is that of a reverse proxy: http://proxy/nomad")
        .default("http://127.0.0.1:4646").form(Form::List);
    NOMAD_REGION = Setting::new(NOMAD, "nomad-region", "NOMAD_REGION", "NAME",
        "The region to ask; without it that of the agent at the address");
    NOMAD_NAMESPACE = Setting::new(NOMAD, "nomad-namespace", "NOMAD_NAMESPACE", "NAME,…",
        "The namespaces to carry, for a token that may not read all; `*` is every one, those created later included")
        .default("*").form(Form::List);
    NOMAD_TOKEN = Setting::new(NOMAD, "nomad-token", "NOMAD_TOKEN", "SECRET",
        "The ACL token. A flag can be seen in the list of processes: prefer the variable or the file").secret();
    NOMAD_TOKEN_FILE = Setting::new(NOMAD, "nomad-token-file", "NOMAD_TOKEN_FILE", "FILE",
        "A file with the ACL token, read again for each request. Without a token, ${NOMAD_SECRETS_DIR}/nomad_token is used where it exists").secret_file();
    NOMAD_HTTP_AUTH = Setting::new(NOMAD, "nomad-http-auth", "NOMAD_HTTP_AUTH", "USER[:PASSWORD]",
        "Basic authentication, for a proxy in front of Nomad").secret();
    NOMAD_CACERT = Setting::new(NOMAD, "nomad-cacert", "NOMAD_CACERT", "FILE",
        "The certificate authority that signed Nomad's certificate, PEM");
    NOMAD_CAPATH = Setting::new(NOMAD, "nomad-capath", "NOMAD_CAPATH", "DIR",
        "A directory of such PEM files. NOMAD_CACERT goes first");
    NOMAD_CLIENT_CERT = Setting::new(NOMAD, "nomad-client-cert", "NOMAD_CLIENT_CERT", "FILE",
        "The certificate to present to Nomad, PEM; needs the key");
    NOMAD_CLIENT_KEY = Setting::new(NOMAD, "nomad-client-key", "NOMAD_CLIENT_KEY", "FILE",
        "The key of that certificate, PEM").secret_file();
    NOMAD_TLS_SERVER_NAME = Setting::new(NOMAD, "nomad-tls-server-name", "NOMAD_TLS_SERVER_NAME", "NAME",
        "The name expected in Nomad's certificate, where it is not that of the address: server.global.nomad");
    NOMAD_SKIP_VERIFY = Setting::new(NOMAD, "nomad-skip-verify", "NOMAD_SKIP_VERIFY", "BOOL",
        "Do not verify Nomad's certificate. For tests only").default("false").form(Form::Switch);
    SOURCE = Setting::new(NOMAD, "source", "NOMAD_FIREHOSE_SOURCE", "auto|stream|poll",
        "Where records come from: the event stream, lists that are read whenever something changed (no `events`; no purges and no versions in between), or auto: the stream where there is one, else lists until there is")
        .default("auto");
    POLL_INTERVAL = Setting::new(NOMAD, "poll-interval", "NOMAD_FIREHOSE_POLL_INTERVAL", "DURATION",
        "The shortest pause between two lists of a kind where there is no event stream, from 100ms to 10m; a list that takes longer is followed by as long a pause")
        .default("1s");
    STALE = Setting::new(NOMAD, "stale", "NOMAD_FIREHOSE_STALE", "DURATION",
        "Where there is no event stream: have any server answer lists, if it heard of its leader within this time, from 100ms to 10m. Without it only the leader answers");
    NOMAD_TIMEOUT = Setting::new(NOMAD, "nomad-timeout", "NOMAD_FIREHOSE_NOMAD_TIMEOUT", "DURATION",
        "How long one call to Nomad may stand still, from 1s to 5m; the event stream has its own limit of 40s of silence")
        .default("10s");

    COORDINATOR = Setting::new(COORDINATION, "coordinator", "NOMAD_FIREHOSE_COORDINATOR", "NAME",
        "Who keeps leases and checkpoints: consul (replicas anywhere), file (replicas on one machine, needs a data directory), none (one process, nothing kept)")
        .default("consul");
    DATA_DIR = Setting::new(COORDINATION, "data-dir", "NOMAD_FIREHOSE_DATA_DIR", "DIR",
        "Where the file coordinator keeps its checkpoints; made where it is missing");
    CHECKPOINT_INTERVAL = Setting::new(COORDINATION, "checkpoint-interval", "NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "DURATION",
        "With files: how often the checkpoint is stored, from 100ms to 1h. With Consul it goes with each heartbeat, three times in a lease. After a crash, what was delivered since the last one is sent again")
        .default("10s");
    START = Setting::new(COORDINATION, "start", "NOMAD_FIREHOSE_START", "all|now|INDEX",
        "Where the very first start begins: with all that the cluster holds, now, or at a raft index. A checkpoint goes before it")
        .default("all");
    LEASE = Setting::new(COORDINATION, "lease", "NOMAD_FIREHOSE_LEASE", "DURATION",
        "With Consul: how long a leader goes on without a heartbeat, from 1s to 60s. When it crashes, a standby takes over a little later than this; a shorter one costs more writes")
        .default("4s");
    STANDBY_BUFFER = Setting::new(COORDINATION, "standby-buffer", "NOMAD_FIREHOSE_STANDBY_BUFFER", "SIZE",
        "With Consul: how much of the event stream a standby keeps in memory, up to 2GiB, so that a take-over misses nothing where Nomad's own buffer is short; 0 turns it off")
        .default("32MiB");

    CONSUL_HTTP_ADDR = Setting::new(CONSUL, "consul-http-addr", "CONSUL_HTTP_ADDR", "ADDRESS",
        "Consul's address: HOST:PORT, with http:// or https:// before it and the path of a reverse proxy after it, or unix:///SOCKET").default("127.0.0.1:8500");
    CONSUL_HTTP_TOKEN = Setting::new(CONSUL, "consul-http-token", "CONSUL_HTTP_TOKEN", "SECRET",
        "The ACL token. A flag can be seen in the list of processes: prefer the variable or the file").secret();
    CONSUL_HTTP_TOKEN_FILE = Setting::new(CONSUL, "consul-http-token-file", "CONSUL_HTTP_TOKEN_FILE", "FILE",
        "A file with the ACL token, read again for each request").secret_file();
    CONSUL_HTTP_AUTH = Setting::new(CONSUL, "consul-http-auth", "CONSUL_HTTP_AUTH", "USER[:PASSWORD]",
        "Basic authentication, for a proxy in front of Consul").secret();
    CONSUL_HTTP_SSL = Setting::new(CONSUL, "consul-http-ssl", "CONSUL_HTTP_SSL", "BOOL",
        "Speak HTTPS where the address does not say so").default("false").form(Form::Switch);
    CONSUL_HTTP_SSL_VERIFY = Setting::new(CONSUL, "consul-http-ssl-verify", "CONSUL_HTTP_SSL_VERIFY", "BOOL",
        "Verify Consul's certificate; false is for tests only").default("true").form(Form::Switch);
    CONSUL_CACERT = Setting::new(CONSUL, "consul-cacert", "CONSUL_CACERT", "FILE",
        "The certificate authority that signed Consul's certificate, PEM");
    CONSUL_CAPATH = Setting::new(CONSUL, "consul-capath", "CONSUL_CAPATH", "DIR",
        "A directory of such PEM files. CONSUL_CACERT goes first");
    CONSUL_CLIENT_CERT = Setting::new(CONSUL, "consul-client-cert", "CONSUL_CLIENT_CERT", "FILE",
        "The certificate to present to Consul, PEM; needs the key");
    CONSUL_CLIENT_KEY = Setting::new(CONSUL, "consul-client-key", "CONSUL_CLIENT_KEY", "FILE",
        "The key of that certificate, PEM").secret_file();
    CONSUL_TLS_SERVER_NAME = Setting::new(CONSUL, "consul-tls-server-name", "CONSUL_TLS_SERVER_NAME", "NAME",
        "The name expected in Consul's certificate, where it is not that of the address: server.dc1.consul");
    CONSUL_NAMESPACE = Setting::new(CONSUL, "consul-namespace", "CONSUL_NAMESPACE", "NAME",
        "The namespace of keys and sessions; Consul Enterprise only");
    CONSUL_PARTITION = Setting::new(CONSUL, "consul-partition", "CONSUL_PARTITION", "NAME",
        "The admin partition of keys and sessions; Consul Enterprise only");
    CONSUL_DATACENTER = Setting::new(CONSUL, "consul-datacenter", "CONSUL_DATACENTER", "NAME",
        "The datacenter that keeps keys and sessions; without it that of the agent. The same for all replicas");
    CONSUL_PREFIX = Setting::new(CONSUL, "consul-prefix", "NOMAD_FIREHOSE_CONSUL_PREFIX", "PATH",
        "The folder in Consul's KV store; a trailing / is left out").default("nomad-firehose");
    CONSUL_SESSION_TTL = Setting::new(CONSUL, "consul-session-ttl", "NOMAD_FIREHOSE_CONSUL_SESSION_TTL", "DURATION",
        "How long Consul keeps the session of a replica that it hears nothing of, at least: from 10s to 24h, and no shorter than the lease")
        .default("10s");
    CONSUL_NODE_CHECK = Setting::new(CONSUL, "consul-node-check", "NOMAD_FIREHOSE_CONSUL_NODE_CHECK", "BOOL",
        "End the session, too, when the agent's node is thought dead (serfHealth), as the original does. A short loss of the network then costs the lease")
        .default("false").form(Form::Switch);

    MAX_IN_FLIGHT = Setting::new(DELIVERY, "max-in-flight", "NOMAD_FIREHOSE_MAX_IN_FLIGHT", "SIZE",
        "How many bytes of events may be read and not yet delivered, from 64KiB to 2GiB; a single larger event still passes, alone")
        .default("32MiB");
    SHUTDOWN_GRACE = Setting::new(DELIVERY, "shutdown-grace", "NOMAD_FIREHOSE_SHUTDOWN_GRACE", "DURATION",
        "How long a stop may take to deliver what was read and store the checkpoint, from 100ms to 10m. Nomad kills a task 5s after it asked it to stop")
        .default("4s");
    RETRY_MAX = Setting::new(DELIVERY, "retry-max", "NOMAD_FIREHOSE_RETRY_MAX", "DURATION",
        "The longest pause between two tries while the sink takes nothing, from 100ms to 10m. Pauses are drawn at random, up to a bound that begins at 100ms and doubles; there is no last try")
        .default("30s");
    DEAD_LETTER = Setting::new(DELIVERY, "dead-letter", "NOMAD_FIREHOSE_DEAD_LETTER", "stop|log|file:PATH",
        "What becomes of a record that the sink refuses as data: hold everything and keep trying, log it and go on, or append it to a file and go on")
        .default("stop");

    SINK_TYPE = Setting::new(SINK, "sink-type", "SINK_TYPE", "NAME",
        "Where records go").choices(registry::choices).default("stdout");
    CLUSTER = Setting::new(SINK, "cluster", "NOMAD_FIREHOSE_CLUSTER", "LABEL",
        "A label for this cluster, passed on beside each record where the sink has a place for it, and \
         stored in the checkpoint to tell it from another cluster's");
}

settings! {
    pub OPERATING:

    LOG_LEVEL = Setting::new(OPERATION, "log-level", "LOG_LEVEL", "LEVEL",
        "The least that is logged: trace, debug, info, warn (warning), error; fatal and panic mean error").default("info");
    LOG_FORMAT = Setting::new(OPERATION, "log-format", "LOG_FORMAT", "FORMAT",
        "How log lines on stderr look: text, json, or seatgeek-json (@timestamp, @level, @message)").default("text");
    LISTEN = Setting::new(OPERATION, "listen", "NOMAD_FIREHOSE_LISTEN", "ADDRESS:PORT",
        "Serve a status page, /metrics, /healthz and /readyz there: 127.0.0.1:9090. Off without it");
    CONFIG = Setting::new(OPERATION, "config", "NOMAD_FIREHOSE_CONFIG", "FILE",
        "A TOML file with any of these settings, by the names of their flags. Flags go before variables, variables before the file");
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
    fn the_manual_has_a_row_for_every_setting() {
        for Setting { flag, variable, default, .. } in ALL.iter() {
            let key = if *flag == CONFIG.flag { "–".to_owned() } else { format!("`{flag}`") };
            let default = default.map_or("–".to_owned(), |default| format!("`{default}`"));
            let row = format!("| `{variable}` | `--{flag}` | {key} | {default} | ");
            assert!(MANUAL.contains(&row), "docs/configuration.md lacks: {row}");
        }
    }

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
