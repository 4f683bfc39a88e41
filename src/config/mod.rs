//! Configuration: what was given as flags, variables and keys of a file becomes [`Settings`], or all its problems.
//!
//! Start at [`load`]. [`catalogue`] names every setting once.

#[cfg(feature = "amqp")]
mod amqp;
pub mod catalogue;
mod consul;
mod duration;
mod exposure;
mod http;
mod http_sink;
#[cfg(feature = "kinesis")]
mod kinesis;
mod layers;
mod names;
mod nomad;
mod problem;
mod reader;
mod size;
mod validate;

use std::{net::SocketAddr, path::PathBuf, time::Duration as StdDuration};

pub use consul::Consul;
pub use duration::{Duration, Error as DurationError};
pub use http::{BasicAuth, Tls, Token};
pub use layers::{Environment, Flags};
pub use nomad::Nomad;
pub use problem::{Problem, Problems, Warning};
pub use size::{ByteSize, Error as ByteSizeError};

pub use crate::http::Secret;
pub use crate::source::Source;
use crate::{kind::Kind, position::RaftIndex, sink};

/// What the subcommand asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One kind, named by the subcommand.
    One(Kind),
    /// `run`: those that the resources setting names.
    Listed,
}

/// A valid configuration. Files that it names have not been opened yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What to carry: at least one, each once, in the order of [`Kind::ALL`].
    pub kinds: Vec<Kind>,
    /// What [`Kind::Events`] subscribes to: at least one.
    pub topics: Vec<Topic>,
    /// How to reach Nomad.
    pub nomad: Nomad,
    /// Where records come from.
    pub source: Source,
    /// The shortest pause between two lists of a kind: 100 ms to 10 min.
    pub poll_interval: StdDuration,
    /// How long ago the server that answers a list may have heard of its leader; only the leader answers where it is
    /// `None`.
    pub stale: Option<StdDuration>,
    /// Whose events to carry: `*` alone, or names, each once.
    pub namespaces: Vec<String>,
    /// Who keeps leases and checkpoints.
    pub coordinator: Coordinator,
    /// The folder in Consul's KV store, without `/` at either end.
    pub consul_prefix: String,
    /// How long a leader goes on without a heartbeat that Consul took: 1 s to 1 min.
    pub lease: StdDuration,
    /// How many bytes of the stream a standby keeps, at most 2 GiB; 0 is none.
    pub standby_buffer: usize,
    /// How often the checkpoint is stored: 100 ms to 1 h.
    pub checkpoint_interval: StdDuration,
    /// Where the first start begins.
    pub start: Start,
    /// Bytes of events that may be read and not yet delivered: 64 KiB to 2 GiB, so it fits 32 bits.
    pub max_in_flight: usize,
    /// How long a stop may take: 100 ms to 10 min.
    pub shutdown_grace: StdDuration,
    /// The longest pause between two tries: 100 ms to 10 min.
    pub retry_max: StdDuration,
    /// Where records go.
    pub sink: Sink,
    /// What becomes of records that the sink refuses.
    pub dead_letter: DeadLetter,
    /// The label of this cluster.
    pub cluster: Option<String>,
    /// Where the status page and the metrics are served.
    pub listen: Option<SocketAddr>,
    /// What is logged, and how.
    pub log: Log,
}

/// A topic of the event stream, and the filter key its events must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// `Job`, or `*` for all.
    pub name: String,
    /// The filter key: an id, or what Nomad lists in an event's `FilterKeys`. `None` is any.
    pub key: Option<String>,
}

/// Who keeps leases and checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coordinator {
    /// Consul's sessions and KV store: replicas anywhere.
    Consul(Box<Consul>),
    /// Files in a directory: replicas on one machine.
    File {
        /// The directory.
        data_dir: PathBuf,
    },
    /// Nobody: one process, which begins anew each time.
    None,
}

/// Where checkpoints are stored, for who looks at them from outside. Nothing else of a run need be set for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The place.
    pub keeper: Keeper,
    /// What is logged, and how.
    pub log: Log,
}

/// A coordinator that keeps something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// Consul's KV store.
    Consul {
        /// How to reach it.
        how: Box<Consul>,
        /// The folder, without `/` at either end.
        prefix: String,
    },
    /// Files in a directory.
    File {
        /// The directory.
        data_dir: PathBuf,
    },
}

/// A sink and what goes with it, for who sends records that are there already. Nothing else of a run need be set for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlet {
    /// Where records go.
    pub sink: Sink,
    /// The label of this cluster.
    pub cluster: Option<String>,
    /// Bytes of records that may be read and not yet delivered: 64 KiB to 2 GiB.
    pub max_in_flight: usize,
    /// How long a stop may take: 100 ms to 10 min.
    pub shutdown_grace: StdDuration,
    /// The longest pause between two tries: 100 ms to 10 min.
    pub retry_max: StdDuration,
    /// What is logged, and how.
    pub log: Log,
}

/// Where the first start begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With everything that the cluster holds.
    All,
    /// With what comes from now on.
    Now,
    /// With what happened at this index or later.
    Index(RaftIndex),
}

/// Where records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output, one record a line.
    Stdout,
    /// An HTTP server.
    Http(Box<sink::http::Config>),
    /// An exchange of RabbitMQ.
    #[cfg(feature = "amqp")]
    Amqp(Box<sink::amqp::Config>),
    /// A stream of Amazon Kinesis.
    #[cfg(feature = "kinesis")]
    Kinesis(Box<sink::kinesis::Config>),
}

/// What becomes of a record that the sink refuses as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadLetter {
    /// Hold everything behind it, and keep trying.
    Stop,
    /// Log it and go on.
    Log,
    /// Append it to a file and go on.
    File(PathBuf),
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important level that is logged.
    pub level: tracing::Level,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level, message, fields.
    Text,
    /// One JSON object a line, with `time`, `level` and `msg`.
    Json,
    /// The same with `@timestamp`, `@level` and `@message`.
    SeatgeekJson,
}

/// Reads the configuration file where one is named, lays flags over variables over it, and checks the whole.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(
    wanted: Wanted,
    flags: &Flags,
    environment: &Environment<'_>,
) -> Result<(Settings, Vec<Warning>), Problems> {
    let (layers, problems) = gather(flags, environment);
    let valid = validate::validate(wanted, &layers, environment, problems);
    valid.map(|(settings, warnings)| (settings, with_exposure(&layers, warnings)))
}

/// As [`load`], for the settings that [`Storage`] is made of; the others are not looked at.
///
/// # Errors
/// Everything that is wrong with these, at once.
pub fn load_storage(flags: &Flags, environment: &Environment<'_>) -> Result<(Storage, Vec<Warning>), Problems> {
    let (layers, problems) = gather(flags, environment);
    let valid = validate::validate_storage(&layers, environment, problems);
    valid.map(|(storage, warnings)| (storage, with_exposure(&layers, warnings)))
}

/// As [`load`], for the settings that [`Outlet`] is made of; the others are not looked at, but for the resources: where
/// they are set, the sink formats records as `run` does with them. Otherwise it does as with `kinds`, which are asked for
/// only then.
///
/// # Errors
/// Everything that is wrong with these, at once. No sink being chosen is wrong, too.
pub fn load_outlet(
    kinds: impl FnOnce() -> Vec<Kind>,
    flags: &Flags,
    environment: &Environment<'_>,
) -> Result<(Outlet, Vec<Warning>), Problems> {
    let (layers, problems) = gather(flags, environment);
    let valid = validate::validate_outlet(kinds, &layers, environment, problems);
    valid.map(|(outlet, warnings)| (outlet, with_exposure(&layers, warnings)))
}

fn with_exposure(layers: &layers::Layers, mut warnings: Vec<Warning>) -> Vec<Warning> {
    warnings.extend(exposure::warnings(layers));
    warnings
}

/// Lays flags over variables over the file.
fn gather(flags: &Flags, environment: &Environment<'_>) -> (layers::Layers, Vec<Problem>) {
    let (mut layers, mut problems) = (layers::Layers::default(), Vec::new());
    layers.flags(flags, &mut problems);
    layers.variables(environment, &mut problems);
    let named = layers.get(&catalogue::CONFIG).cloned();
    if let Some(named) = named
        && let [path] = named.values.as_slice()
    {
        match std::fs::read_to_string(path) {
            Ok(text) => layers.file(path.as_ref(), &text, &mut problems),
            Err(error) => {
                let place = named.origin.place(&catalogue::CONFIG);
                problems.push(Problem::new(
                    place,
                    Some(path),
                    format!("the file cannot be read: {error}; name a TOML file that this program may read"),
                ));
            }
        }
    }
    (layers, problems)
}
