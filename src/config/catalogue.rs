//! Every setting, once: its flag, its variable, its default and its help. The command line, the environment, the
//! configuration file, the warnings about misspelt names and the check of `docs/configuration.md` all read this table.

/// One setting. It can be given as a flag, as an environment variable, and as a key of the configuration file.
#[derive(Debug)]
pub struct Setting {
    /// The flag without its dashes, which is also the key in the configuration file.
    pub flag: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// What the help calls the value: `DURATION`.
    pub value: &'static str,
    /// The heading it stands under in the help.
    pub heading: &'static str,
    /// One or two sentences, with the unit.
    pub help: &'static str,
    /// The value that holds when it is not given.
    pub default: Option<&'static str>,
    /// The value must never be printed.
    pub secret: bool,
    /// How several values are given.
    pub form: Form,
    /// Which subcommands take the flag.
    pub scope: Scope,
}

/// How the values of a setting are given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One value.
    One,
    /// Several values, separated by commas wherever they are given.
    List,
    /// Several values: the flag is repeated, the variable separates them by commas.
    Repeated,
    /// `true` or `false`; the flag alone means `true`.
    Switch,
}

/// Which subcommands take a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// `events` and `run`.
    Topics,
    /// `run`.
    Run,
}

impl Setting {
    const fn new(
        heading: &'static str,
        flag: &'static str,
        variable: &'static str,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        let (default, secret, form, scope) = (None, false, Form::One, Scope::All);
        Setting { flag, variable, value, heading, help, default, secret, form, scope }
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    const fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }
}

const RECORDS: &str = "Records";
const NOMAD: &str = "Nomad";
const COORDINATION: &str = "Coordination";
const CONSUL: &str = "Consul";
const DELIVERY: &str = "Delivery";
const SINKS: &str = "Sink";
/// The heading of what [`SINK_TYPE`] `http` reads.
pub const HTTP_SINK: &str = "HTTP sink";
const OPERATION: &str = "Logging and status";

macro_rules! settings {
    ($($name:ident = $setting:expr;)*) => {
        $(#[doc = concat!("`", stringify!($name), "`.")] pub static $name: Setting = $setting;)*
        /// All settings, in the order of the help.
        pub static ALL: &[&Setting] = &[$(&$name),*];
    };
}

settings! {
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
        "A file with the ACL token, read again for each request. Without a token, ${NOMAD_SECRETS_DIR}/nomad_token is used where it exists");
    NOMAD_HTTP_AUTH = Setting::new(NOMAD, "nomad-http-auth", "NOMAD_HTTP_AUTH", "USER[:PASSWORD]",
        "Basic authentication, for a proxy in front of Nomad").secret();
    NOMAD_CACERT = Setting::new(NOMAD, "nomad-cacert", "NOMAD_CACERT", "FILE",
        "The certificate authority that signed Nomad's certificate, PEM");
    NOMAD_CAPATH = Setting::new(NOMAD, "nomad-capath", "NOMAD_CAPATH", "DIR",
        "A directory of such PEM files. NOMAD_CACERT goes first");
    NOMAD_CLIENT_CERT = Setting::new(NOMAD, "nomad-client-cert", "NOMAD_CLIENT_CERT", "FILE",
        "The certificate to present to Nomad, PEM; needs the key");
    NOMAD_CLIENT_KEY = Setting::new(NOMAD, "nomad-client-key", "NOMAD_CLIENT_KEY", "FILE",
        "The key of that certificate, PEM");
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
        "A file with the ACL token, read again for each request");
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
        "The key of that certificate, PEM");
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

    SINK_TYPE = Setting::new(SINKS, "sink-type", "SINK_TYPE", "NAME",
        "Where records go: stdout (one a line), amqp (also rabbitmq), http (to a server), kinesis (to a stream of Amazon Kinesis)").default("stdout");
    SINK_AMQP_CONNECTION = Setting::new(SINKS, "sink-amqp-connection", "SINK_AMQP_CONNECTION", "URL",
        "The broker: amqp:// or amqps://USER:PASSWORD@HOST:PORT/VHOST, with ?heartbeat=SECONDS (10 to 30) or ?auth_mechanism=external where wanted").secret();
    SINK_AMQP_EXCHANGE = Setting::new(SINKS, "sink-amqp-exchange", "SINK_AMQP_EXCHANGE", "TEMPLATE",
        "The exchange to publish to, which has to exist. Fields of the record can stand in it: {Kind}");
    SINK_AMQP_ROUTING_KEY = Setting::new(SINKS, "sink-amqp-routing-key", "SINK_AMQP_ROUTING_KEY", "TEMPLATE",
        "The routing key. Fields of the record can stand in it: nomad.{Namespace}.{JobID}.{TaskEvent.Type}");
    SINK_AMQP_WORKERS = Setting::new(SINKS, "sink-amqp-workers", "SINK_AMQP_WORKERS", "COUNT",
        "How many connections publish side by side, from 1 to 64; records of one key always take the same one").default("1");
    SINK_AMQP_MANDATORY = Setting::new(SINKS, "sink-amqp-mandatory", "SINK_AMQP_MANDATORY", "BOOL",
        "Have the broker return what no queue is bound for, which makes it a dead letter; with false the broker drops it in silence")
        .default("true").form(Form::Switch);
    SINK_AMQP_CACERT = Setting::new(SINKS, "sink-amqp-cacert", "SINK_AMQP_CACERT", "FILE",
        "The certificate authority that signed the broker's certificate, PEM; without it those of the system");
    SINK_AMQP_CLIENT_CERT = Setting::new(SINKS, "sink-amqp-client-cert", "SINK_AMQP_CLIENT_CERT", "FILE",
        "The certificate to present to the broker, PEM; needs the key");
    SINK_AMQP_CLIENT_KEY = Setting::new(SINKS, "sink-amqp-client-key", "SINK_AMQP_CLIENT_KEY", "FILE",
        "The key of that certificate, PEM");
    SINK_KINESIS_STREAM_NAME = Setting::new(SINKS, "sink-kinesis-stream-name", "SINK_KINESIS_STREAM_NAME", "NAME|ARN",
        "The stream to write to, which has to exist. Region and credentials come from where AWS's own tools take them: AWS_REGION, AWS_PROFILE and the like");
    SINK_KINESIS_PARTITION_KEY = Setting::new(SINKS, "sink-kinesis-partition-key", "SINK_KINESIS_PARTITION_KEY", "TEMPLATE",
        "The partition key. Fields of the record can stand in it: {Namespace}/{JobID}. Without it the record's own key, so that what is about one object stays in one shard");
    SINK_KINESIS_MAX_RECORD_SIZE = Setting::new(SINKS, "sink-kinesis-max-record-size", "SINK_KINESIS_MAX_RECORD_SIZE", "SIZE",
        "The most that the stream takes as one record, its partition key included, from 1MiB to 10MiB; a larger one is a dead letter")
        .default("1MiB");
    CLUSTER = Setting::new(SINKS, "cluster", "NOMAD_FIREHOSE_CLUSTER", "LABEL",
        "A label for this cluster, passed on beside each record where the sink has a place for it, and \
         stored in the checkpoint to tell it from another cluster's");

    SINK_HTTP_ADDRESS = Setting::new(HTTP_SINK, "sink-http-address", "SINK_HTTP_ADDRESS", "URL",
        "Where records are sent, with path and query: http://vector:8080/nomad. A user and a password in it become basic authentication").secret();
    SINK_HTTP_FORMAT = Setting::new(HTTP_SINK, "sink-http-format", "SINK_HTTP_FORMAT", "FORMAT",
        "How records lie in a request: single (one a request), array (a batch as a JSON array), ndjson (a batch, one a line). Without it array for `events` alone, else single");
    SINK_WORKER_COUNT = Setting::new(HTTP_SINK, "sink-worker-count", "SINK_WORKER_COUNT", "NUMBER",
        "With the format single: how many requests are under way at a time, from 1 to 256; never two of one key")
        .default("1");
    SINK_BATCH_COUNT = Setting::new(HTTP_SINK, "sink-batch-count", "SINK_BATCH_COUNT", "NUMBER",
        "The most records in a batch, from 1 to 10000").default("500");
    SINK_BATCH_BYTES = Setting::new(HTTP_SINK, "sink-batch-bytes", "SINK_BATCH_BYTES", "SIZE",
        "The most bytes of records in a batch before it is compressed, from 1KiB to 64MiB; a single larger record goes alone")
        .default("1MiB");
    SINK_BATCH_LINGER = Setting::new(HTTP_SINK, "sink-batch-linger", "SINK_BATCH_LINGER", "DURATION",
        "How long a batch that is not full waits for more, up to 1m. With 0s nothing waits: what comes while one batch is under way leaves with the next")
        .default("0s");
    SINK_HTTP_TIMEOUT = Setting::new(HTTP_SINK, "sink-http-timeout", "SINK_HTTP_TIMEOUT", "DURATION",
        "How long the server may take to answer one request, from 100ms to 10m").default("10s");
    SINK_HTTP_METHOD = Setting::new(HTTP_SINK, "sink-http-method", "SINK_HTTP_METHOD", "METHOD",
        "POST, PUT or PATCH").default("POST");
    SINK_HTTP_HEADERS = Setting::new(HTTP_SINK, "sink-http-headers", "SINK_HTTP_HEADERS", "NAME: VALUE",
        "Further headers. Values of four or more characters are removed from all that is logged or shown; shorter ones only where they look like credentials. Repeat the flag; in the variable, separate by commas, and write \\, for a comma within a value")
        .form(Form::Repeated).secret();
    SINK_HTTP_AUTH = Setting::new(HTTP_SINK, "sink-http-auth", "SINK_HTTP_AUTH", "USER[:PASSWORD]",
        "Basic authentication. A flag can be seen in the list of processes: prefer the variable").secret();
    SINK_HTTP_TOKEN = Setting::new(HTTP_SINK, "sink-http-token", "SINK_HTTP_TOKEN", "SECRET",
        "A bearer token. A flag can be seen in the list of processes: prefer the variable or the file").secret();
    SINK_HTTP_TOKEN_FILE = Setting::new(HTTP_SINK, "sink-http-token-file", "SINK_HTTP_TOKEN_FILE", "FILE",
        "A file with the bearer token, read again for each request");
    SINK_HTTP_CACERT = Setting::new(HTTP_SINK, "sink-http-cacert", "SINK_HTTP_CACERT", "FILE",
        "The certificate authority that signed the server's certificate, PEM");
    SINK_HTTP_CAPATH = Setting::new(HTTP_SINK, "sink-http-capath", "SINK_HTTP_CAPATH", "DIR",
        "A directory of such PEM files. SINK_HTTP_CACERT goes first");
    SINK_HTTP_CLIENT_CERT = Setting::new(HTTP_SINK, "sink-http-client-cert", "SINK_HTTP_CLIENT_CERT", "FILE",
        "The certificate to present to the server, PEM; needs the key");
    SINK_HTTP_CLIENT_KEY = Setting::new(HTTP_SINK, "sink-http-client-key", "SINK_HTTP_CLIENT_KEY", "FILE",
        "The key of that certificate, PEM");
    SINK_HTTP_TLS_SERVER_NAME = Setting::new(HTTP_SINK, "sink-http-tls-server-name", "SINK_HTTP_TLS_SERVER_NAME", "NAME",
        "The name expected in the server's certificate, where it is not that of the address");
    SINK_HTTP_SKIP_VERIFY = Setting::new(HTTP_SINK, "sink-http-skip-verify", "SINK_HTTP_SKIP_VERIFY", "BOOL",
        "Do not verify the server's certificate. For tests only").default("false").form(Form::Switch);
    SINK_HTTP_COMPRESSION = Setting::new(HTTP_SINK, "sink-http-compression", "SINK_HTTP_COMPRESSION", "NAME",
        "How requests are compressed: none, gzip or zstd. The server has to take it").default("none");
    SINK_HTTP_HEALTH_URL = Setting::new(HTTP_SINK, "sink-http-health-url", "SINK_HTTP_HEALTH_URL", "URL",
        "Asked with GET before the first record is sent, until it answers as it should; credentials go with it to the host of the address alone").secret();
    SINK_HTTP_HEALTH_STATUS = Setting::new(HTTP_SINK, "sink-http-health-status", "SINK_HTTP_HEALTH_STATUS", "STATUS",
        "The status that it has to answer with, from 100 to 599").default("200");

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
        for setting in ALL {
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
        for Setting { flag, variable, default, .. } in ALL {
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
