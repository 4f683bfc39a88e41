//! From what was given to [`Settings`]: pure, and all problems at once.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration as StdDuration,
};

use super::{
    ByteSize, Coordinator, DeadLetter, Duration, Environment, Keeper, Log, LogFormat, Outlet, Problem, Problems,
    Settings, Sink, Source, Start, Storage, Topic, Wanted, Warning, catalogue, consul, http_sink,
    layers::{Layers, Origin},
    names, nomad,
    reader::{Broken, Reader, between},
};
use crate::{kind::Kind, position::RaftIndex};

/// The original's other sinks.
const SINKS_TO_COME: [&str; 8] = ["eventbridge", "kafka", "mongo", "mongodb", "nsq", "redis", "sqs", "syslog"];

/// The kinds that lists give.
const POLLED: [Kind; 6] =
    [Kind::Allocations, Kind::Nodes, Kind::Evaluations, Kind::Jobs, Kind::JobListStubs, Kind::Deployments];

/// The shortest interval that anything is to be done in, and the longest that a stop or a pause may take.
const SHORT: Duration = Duration::from_millis(100);
const TEN_MINUTES: Duration = Duration::from_millis(600_000);

pub(super) fn validate(
    wanted: Wanted,
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
) -> Result<(Settings, Vec<Warning>), Problems> {
    all_or_problems(layers, environment, problems, |reader, warnings| settings(wanted, reader, environment, warnings))
}

pub(super) fn validate_storage(
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
) -> Result<(Storage, Vec<Warning>), Problems> {
    all_or_problems(layers, environment, problems, storage)
}

pub(super) fn validate_outlet(
    kinds: impl FnOnce() -> Vec<Kind>,
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
) -> Result<(Outlet, Vec<Warning>), Problems> {
    all_or_problems(layers, environment, problems, |reader, warnings| outlet(kinds, reader, warnings))
}

fn all_or_problems<T>(
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
    read: impl FnOnce(&mut Reader<'_>, &mut Vec<Warning>) -> Result<T, Broken>,
) -> Result<(T, Vec<Warning>), Problems> {
    let mut reader = Reader { layers, problems, doubts: Vec::new() };
    let mut warnings = names::unknown_variables(environment);
    match read(&mut reader, &mut warnings) {
        Ok(settings) if reader.problems.is_empty() => {
            warnings.append(&mut reader.doubts);
            Ok((settings, warnings))
        }
        // A variable that is wrong can be a misspelt one that is missing.
        _ => {
            reader.problems.extend(warnings.iter().filter_map(Warning::problem));
            Err(Problems(reader.problems))
        }
    }
}

/// Reads every setting before it gives up on any, so that all problems are noted.
fn settings(
    wanted: Wanted,
    reader: &mut Reader<'_>,
    environment: &Environment<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Settings, Broken> {
    let kinds = kinds(wanted, reader);
    let topics = reader.list(&catalogue::TOPIC, topic);
    let nomad = nomad::read(reader, environment, warnings);
    let source = reader.value(&catalogue::SOURCE, source);
    if matches!(source, Ok(Source::Poll)) && kinds.contains(&Kind::Events) {
        let others = kinds.iter().filter(|kind| **kind != Kind::Events);
        let others =
            if kinds.len() > 1 { others.map(|kind| kind.name()).collect() } else { POLLED.map(Kind::name).to_vec() };
        let what = format!("no list gives raw events; carry others (run --resources {}) or use auto", others.join(","));
        reader.wrong(&catalogue::SOURCE, what);
    }
    let poll_interval = reader.value(&catalogue::POLL_INTERVAL, between(SHORT, TEN_MINUTES));
    let stale = reader.optional(&catalogue::STALE, between(SHORT, TEN_MINUTES));
    let namespaces = namespaces(reader, environment, warnings);
    let coordinator = coordinator(reader, warnings);
    let consul_prefix = reader.value(&catalogue::CONSUL_PREFIX, folder);
    let lease = reader.value(&catalogue::LEASE, between(Duration::from_millis(1_000), Duration::from_millis(60_000)));
    let standby_buffer = reader.value(&catalogue::STANDBY_BUFFER, between(ByteSize::new(0), ByteSize::new(2 << 30)));
    if let (Ok(Coordinator::Consul(consul)), Ok(lease)) = (&coordinator, &lease)
        && StdDuration::from(*lease) > consul.session_ttl
    {
        let what = "it is longer than NOMAD_FIREHOSE_CONSUL_SESSION_TTL: Consul could end the session of a leader that \
            still holds its lease; shorten the one or lengthen the other";
        reader.wrong(&catalogue::LEASE, what);
    }
    let hour = Duration::from_millis(3_600_000);
    let checkpoint_interval = reader.value(&catalogue::CHECKPOINT_INTERVAL, between(SHORT, hour));
    let start = reader.value(&catalogue::START, start);
    let max_in_flight = max_in_flight(reader);
    let shutdown_grace = shutdown_grace(reader);
    let retry_max = retry_max(reader);
    let sink = sink(reader, &kinds, warnings);
    let dead_letter = reader.value(&catalogue::DEAD_LETTER, dead_letter);
    let cluster = reader.optional(&catalogue::CLUSTER, label);
    let listen = reader.optional(&catalogue::LISTEN, listen);
    let level = reader.value(&catalogue::LOG_LEVEL, level);
    let format = reader.value(&catalogue::LOG_FORMAT, format);

    if kinds.contains(&Kind::Events) {
        let unknown = topics.iter().filter(|topic| !names::TOPICS.contains(&topic.name.as_str()));
        warnings.extend(unknown.map(|topic| Warning::UnknownTopic {
            topic: topic.name.clone(),
            nearest: names::nearest(&topic.name, names::TOPICS),
        }));
    }
    Ok(Settings {
        kinds,
        topics,
        nomad: nomad?,
        source: source?,
        poll_interval: poll_interval?.into(),
        stale: stale.map(StdDuration::from),
        namespaces,
        coordinator: coordinator?,
        consul_prefix: consul_prefix?,
        lease: lease?.into(),
        standby_buffer: usize::try_from(standby_buffer?.bytes()).map_err(|_| Broken)?,
        checkpoint_interval: checkpoint_interval?.into(),
        start: start?,
        max_in_flight: max_in_flight?,
        shutdown_grace: shutdown_grace?,
        retry_max: retry_max?,
        sink: sink?,
        dead_letter: dead_letter?,
        cluster,
        listen,
        log: Log { level: level?, format: format? },
    })
}

/// The settings of [`Storage`] alone.
fn storage(reader: &mut Reader<'_>, warnings: &mut Vec<Warning>) -> Result<Storage, Broken> {
    let coordinator = coordinator(reader, warnings);
    let prefix = reader.value(&catalogue::CONSUL_PREFIX, folder);
    let level = reader.value(&catalogue::LOG_LEVEL, level);
    let format = reader.value(&catalogue::LOG_FORMAT, format);
    let keeper = match coordinator? {
        Coordinator::Consul(how) => Keeper::Consul { how, prefix: prefix? },
        Coordinator::File { data_dir } => Keeper::File { data_dir },
        Coordinator::None => {
            reader.wrong(&catalogue::COORDINATOR, "it is none, which stores nothing: there is no state to look at");
            return Err(Broken);
        }
    };
    Ok(Storage { keeper, log: Log { level: level?, format: format? } })
}

/// The settings of [`Outlet`] alone.
fn outlet(
    kinds: impl FnOnce() -> Vec<Kind>,
    reader: &mut Reader<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Outlet, Broken> {
    // The default would print the records, and call that delivered.
    if reader.layers.get(&catalogue::SINK_TYPE).is_none() {
        reader.missing(&catalogue::SINK_TYPE, "name the sink that the records are to go to, with its settings");
    }
    // They decide on nothing but a format that is not set.
    let asks =
        reader.text(&catalogue::SINK_TYPE) == Some("http") && reader.text(&catalogue::SINK_HTTP_FORMAT).is_none();
    let kinds = match reader.layers.get(&catalogue::RESOURCES) {
        _ if !asks => Vec::new(),
        Some(_) => self::kinds(Wanted::Listed, reader),
        None => kinds(),
    };
    let sink = sink(reader, &kinds, warnings);
    let cluster = reader.optional(&catalogue::CLUSTER, label);
    let max_in_flight = max_in_flight(reader);
    let shutdown_grace = shutdown_grace(reader);
    let retry_max = retry_max(reader);
    let level = reader.value(&catalogue::LOG_LEVEL, level);
    let format = reader.value(&catalogue::LOG_FORMAT, format);
    Ok(Outlet {
        sink: sink?,
        cluster,
        max_in_flight: max_in_flight?,
        shutdown_grace: shutdown_grace?,
        retry_max: retry_max?,
        log: Log { level: level?, format: format? },
    })
}

fn max_in_flight(reader: &mut Reader<'_>) -> Result<usize, Broken> {
    let size = reader.value(&catalogue::MAX_IN_FLIGHT, between(ByteSize::new(64 << 10), ByteSize::new(2 << 30)))?;
    usize::try_from(size.bytes()).map_err(|_| Broken)
}

fn shutdown_grace(reader: &mut Reader<'_>) -> Result<StdDuration, Broken> {
    reader.value(&catalogue::SHUTDOWN_GRACE, between(SHORT, TEN_MINUTES)).map(StdDuration::from)
}

fn retry_max(reader: &mut Reader<'_>) -> Result<StdDuration, Broken> {
    reader.value(&catalogue::RETRY_MAX, between(SHORT, TEN_MINUTES)).map(StdDuration::from)
}

fn kinds(wanted: Wanted, reader: &mut Reader<'_>) -> Vec<Kind> {
    if let Wanted::One(kind) = wanted {
        return vec![kind];
    }
    if reader.layers.get(&catalogue::RESOURCES).is_none() {
        reader.missing(&catalogue::RESOURCES, "run needs to know what to carry: allocations,jobs,… or all");
        return Vec::new();
    }
    let named = reader.list(&catalogue::RESOURCES, |text| match text {
        "all" => Ok(None),
        name => name.parse::<Kind>().map(Some).map_err(|_| {
            let names = Kind::ALL.iter().map(|kind| kind.name()).chain(["all"]);
            let nearest = names::nearest(name, names.clone()).map(|nearest| format!(", did you mean {nearest}?"));
            format!("no such kind{}; there are {}", nearest.unwrap_or_default(), names.collect::<Vec<_>>().join(", "))
        }),
    });
    let wanted = |kind: &Kind| named.contains(&Some(*kind)) || named.contains(&None);
    Kind::ALL.into_iter().filter(wanted).collect()
}

fn topic(text: &str) -> Result<Topic, &'static str> {
    let (name, key) = text.split_once(':').map_or((text, None), |(name, key)| (name, Some(key)));
    if name.is_empty() || key == Some("") {
        return Err("write TOPIC or TOPIC:KEY, such as Job or Job:web");
    }
    // Nomad's own rule (`parseTopic`): it answers 400 to a second one, however it is written.
    if key.is_some_and(|key| key.contains(':')) {
        return Err(
            "Nomad takes one colon only, between topic and key; choose a key without a colon, or the whole topic",
        );
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("a topic is one word, such as Job");
    }
    Ok(Topic { name: name.to_owned(), key: key.filter(|key| *key != "*").map(str::to_owned) })
}

fn namespaces(reader: &mut Reader<'_>, environment: &Environment<'_>, warnings: &mut Vec<Warning>) -> Vec<String> {
    let namespaces = reader.list(&catalogue::NOMAD_NAMESPACE, |text| {
        // Nomad's own rule (`validNamespaceName`).
        let valid = text.len() <= 128 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if valid || text == "*" {
            Ok(text.to_owned())
        } else {
            Err("no name of a namespace: letters, digits and - only")
        }
    });
    if namespaces.len() > 1 && namespaces.iter().any(|name| name == "*") {
        reader.wrong(&catalogue::NOMAD_NAMESPACE, "* already is every namespace; write it alone, or only names");
    }
    let by_variable = reader.layers.get(&catalogue::NOMAD_NAMESPACE).is_some_and(|it| it.origin == Origin::Variable);
    if let [only] = namespaces.as_slice()
        && by_variable
        && only != "*"
        && environment.get("NOMAD_ALLOC_ID").is_some()
    {
        warnings.push(Warning::InjectedNamespace { namespace: only.clone() });
    }
    namespaces
}

fn coordinator(reader: &mut Reader<'_>, warnings: &mut Vec<Warning>) -> Result<Coordinator, Broken> {
    const NAMES: [&str; 3] = ["consul", "file", "none"];
    let given = reader.text(&catalogue::COORDINATOR).is_some();
    let name = reader.optional(&catalogue::COORDINATOR, |text| {
        NAMES.into_iter().find(|name| *name == text).ok_or_else(|| {
            let nearest = names::nearest(text, NAMES);
            let nearest = nearest.map(|nearest| format!(", did you mean {nearest}?")).unwrap_or_default();
            format!("no such coordinator{nearest}; there are consul, file and none")
        })
    });
    let data_dir = reader.optional(&catalogue::DATA_DIR, |text| Ok::<_, String>(PathBuf::from(text)));
    match (name.or(if given { None } else { catalogue::COORDINATOR.default }), data_dir) {
        // Only here are the settings of Consul read: what a machine says about it is no concern of the others.
        (Some("consul"), _) => consul::read(reader, warnings).map(|consul| Coordinator::Consul(Box::new(consul))),
        (Some("none"), _) => Ok(Coordinator::None),
        (Some(_), Some(data_dir)) => Ok(Coordinator::File { data_dir }),
        (Some(_), None) => {
            if reader.text(&catalogue::DATA_DIR).is_none() {
                reader.missing(&catalogue::DATA_DIR, "the file coordinator needs a directory for its checkpoints");
            }
            Err(Broken)
        }
        (None, _) => Err(Broken),
    }
}

/// A folder whose keys Consul takes as they are: it cleans paths, and what it cleans away is another key.
fn folder(text: &str) -> Result<String, &'static str> {
    let text = text.trim_end_matches('/');
    if text.is_empty() {
        return Err("it names no folder");
    }
    if text.split('/').any(|part| matches!(part, "" | "." | "..")) || text.chars().any(char::is_control) {
        return Err("write names with one / between them: not at the start, not two together, and no . or ..");
    }
    Ok(text.to_owned())
}

fn source(text: &str) -> Result<Source, &'static str> {
    match text {
        "auto" => Ok(Source::Auto),
        "stream" => Ok(Source::Stream),
        "poll" => Ok(Source::Poll),
        _ => Err("write auto, stream, or poll"),
    }
}

fn start(text: &str) -> Result<Start, &'static str> {
    match text {
        "all" | "0" => Ok(Start::All),
        "now" => Ok(Start::Now),
        text => match text.parse() {
            Ok(index) => Ok(Start::Index(RaftIndex(index))),
            Err(_) => Err("write all, now, or a raft index such as 4711"),
        },
    }
}

/// The sink that is chosen, with its own settings: what stands there about the others is no concern of this one.
fn sink(reader: &mut Reader<'_>, kinds: &[Kind], warnings: &mut Vec<Warning>) -> Result<Sink, Broken> {
    const NAMES: [&str; 5] = ["stdout", "amqp", "rabbitmq", "http", "kinesis"];
    let name = reader.value(&catalogue::SINK_TYPE, |text| {
        if matches!(text, "amqp" | "rabbitmq") && !cfg!(feature = "amqp") {
            return Err("this program was built without it (the feature amqp)".to_owned());
        }
        if text == "kinesis" && !cfg!(feature = "kinesis") {
            return Err("this program was built without it (the feature kinesis)".to_owned());
        }
        if let Some(name) = NAMES.into_iter().find(|name| *name == text) {
            return Ok(name);
        }
        let names = NAMES.join(", ");
        if SINKS_TO_COME.contains(&text) {
            return Err(format!("this sink is not built in yet; there are {names}"));
        }
        let nearest = names::nearest(text, SINKS_TO_COME.into_iter().chain(NAMES));
        let nearest = nearest.map(|nearest| format!(", did you mean {nearest}?")).unwrap_or_default();
        Err(format!("no such sink{nearest}; there are {names}"))
    });
    match name? {
        #[cfg(feature = "amqp")]
        "amqp" | "rabbitmq" => super::amqp::read(reader).map(|amqp| Sink::Amqp(Box::new(amqp))),
        "http" => http_sink::read(reader, kinds, warnings).map(|http| Sink::Http(Box::new(http))),
        #[cfg(feature = "kinesis")]
        "kinesis" => super::kinesis::read(reader).map(|kinesis| Sink::Kinesis(Box::new(kinesis))),
        _ => Ok(Sink::Stdout),
    }
}

fn dead_letter(text: &str) -> Result<DeadLetter, &'static str> {
    match text {
        "stop" => Ok(DeadLetter::Stop),
        "log" => Ok(DeadLetter::Log),
        text => match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() => Ok(DeadLetter::File(path.into())),
            _ => Err("write stop, log, or file:PATH"),
        },
    }
}

fn label(text: &str) -> Result<String, &'static str> {
    if text.len() > 255 || text.chars().any(char::is_control) {
        return Err("a label has at most 255 bytes and no control characters");
    }
    Ok(text.to_owned())
}

fn listen(text: &str) -> Result<SocketAddr, &'static str> {
    let mend = "write an address and a port, such as 127.0.0.1:9090, [::1]:9090, or :9090 for every address";
    match text.strip_prefix(':') {
        Some(port) => port.parse().map(|port: u16| (Ipv4Addr::UNSPECIFIED, port).into()).map_err(|_| mend),
        None => text.parse().map_err(|_| mend),
    }
}

fn level(text: &str) -> Result<tracing::Level, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "trace" => Ok(tracing::Level::TRACE),
        "debug" => Ok(tracing::Level::DEBUG),
        "info" => Ok(tracing::Level::INFO),
        "warn" | "warning" => Ok(tracing::Level::WARN),
        "error" | "fatal" | "panic" => Ok(tracing::Level::ERROR),
        _ => Err("no such level; there are trace, debug, info, warn, error"),
    }
}

fn format(text: &str) -> Result<LogFormat, &'static str> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        "seatgeek-json" => Ok(LogFormat::SeatgeekJson),
        "gelf" => Err("GELF is not written here; choose json, and let the log shipper turn it into GELF"),
        _ => Err("no such format; there are text, json, seatgeek-json"),
    }
}

#[cfg(test)]
mod tests;
