//! The simulator as a program.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use nomad_sim::{GeneratorOptions, Policy, Sim};
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for a Nomad cluster's HTTP API: event stream, lists, blocking queries, tokens, faults.
///
/// Its history is a recording of a real cluster, that recording over and over, a generated cluster, or nothing but
/// what is appended through the control endpoint.
#[derive(Debug, Parser)]
#[command(name = "nomad-sim", version, after_long_help = concat!(
    "Examples:\n",
    "  nomad-sim --recording stream-complete.ndjson --speed 1x\n",
    "  nomad-sim --recording stream-complete.ndjson --repeat 1000 --speed max\n",
    "  nomad-sim --allocations 100000 --churn 50\n",
    "  curl -N '127.0.0.1:4646/v1/event/stream?namespace=*&index=1'\n",
    "  curl -X POST 127.0.0.1:4646/sim/drop      (curl 127.0.0.1:4646/sim/ lists all orders)\n",
))]
struct Options {
    /// Address of the first server; the others take the ports after it
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4646", help_heading = "Servers")]
    listen: SocketAddr,
    /// Number of servers; the first is the leader
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Servers")]
    servers: usize,
    /// Lines that a server's event buffer keeps (Nomad's event_buffer_size)
    #[arg(long, value_name = "LINES", default_value_t = 100, help_heading = "Servers")]
    buffer: usize,
    /// A token and what it may read: management, node, operator, or the names of namespaces. Turns access control on
    #[arg(long, value_name = "ID=RIGHT,...", help_heading = "Servers")]
    token: Vec<String>,

    /// Replay a recorded event stream
    #[arg(long, value_name = "FILE", conflicts_with = "allocations", help_heading = "History")]
    recording: Option<PathBuf>,
    /// How often to play the recording; each round has fresh ids and higher indexes
    #[arg(long, value_name = "TIMES", default_value_t = 1, requires = "recording", help_heading = "History")]
    repeat: u64,
    /// The raft index at which a namespace of the recording is created; those not named exist from the start
    #[arg(long, value_name = "NAME=INDEX", default_value = "late=13", help_heading = "History")]
    namespace: Vec<String>,
    /// Generate a live cluster with this many allocations
    #[arg(long, value_name = "N", help_heading = "History")]
    allocations: Option<u64>,
    /// Transactions a second of the generated cluster
    #[arg(long, value_name = "PER_SECOND", default_value_t = 20.0, requires = "allocations", help_heading = "History")]
    churn: f64,
    /// Seed of the generated identities
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "allocations", help_heading = "History")]
    seed: u64,

    /// How fast the history plays: a factor such as 1x or 10x, or max
    #[arg(long, value_name = "FACTOR", default_value = "1x", help_heading = "Pace")]
    speed: String,
    /// Play everything up to this raft index at once (all: the whole history) before serving
    #[arg(long, value_name = "INDEX", num_args = 0..=1, default_missing_value = "all", help_heading = "Pace")]
    preload: Option<String>,
    /// Start paused; POST /sim/step, /sim/play or /sim/resume continue
    #[arg(long, help_heading = "Pace")]
    paused: bool,

    /// Time between two heartbeats of a stream, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 30_000, help_heading = "Timing")]
    heartbeat: u64,
    /// Time until a refused stream is closed, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2_000, help_heading = "Timing")]
    refusal: u64,
    /// Time from the publish of an entry to its commit to the state store, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, help_heading = "Timing")]
    commit_delay: u64,
    /// How many times faster than in Nomad the locks of variables expire
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, help_heading = "Timing")]
    lock_speed: f64,
    /// Publish writes of variables, each with the log's next index (not for a history that plays in between)
    #[arg(long, help_heading = "Timing")]
    variable_events: bool,
    /// Bytes that the kernel holds for a slow reader (its own default is megabytes)
    #[arg(long, value_name = "BYTES", help_heading = "Timing")]
    send_buffer: Option<u32>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let options = Options::parse();
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    let sim = build(&options)?.start().await?;
    if let Err(error) = greet(&sim) {
        tracing::info!(%error, "nobody reads the standard output");
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    sim.stop().await;
    Ok(())
}

fn greet(sim: &Sim) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (number, server) in sim.servers().iter().enumerate() {
        writeln!(out, "server {number}: {}", server.url())?;
    }
    let url = sim.url(0);
    writeln!(out, "try:  curl -N '{url}/v1/event/stream?namespace=*&index=1'")?;
    writeln!(out, "      curl {url}/sim/            (faults, pace, a look inside)")?;
    writeln!(out, "      NOMAD_ADDR={url} nomad-firehose allocations")?;
    out.flush()
}

fn build(options: &Options) -> anyhow::Result<nomad_sim::Builder> {
    let mut builder = Sim::builder()
        .listen(options.listen)
        .servers(options.servers)
        .buffer(options.buffer)
        .heartbeat(Duration::from_millis(options.heartbeat))
        .refusal(Duration::from_millis(options.refusal))
        .commit_delay(Duration::from_millis(options.commit_delay));
    anyhow::ensure!(options.lock_speed > 0.0, "--lock-speed must be above 0");
    builder = builder.lock_speed(options.lock_speed);
    if options.variable_events {
        builder = builder.variable_events();
    }
    if let Some(bytes) = options.send_buffer {
        builder = builder.send_buffer(bytes);
    }
    if let Some(path) = &options.recording {
        // Remembering every line of a long run would eat the machine's memory.
        builder = builder.recording(path).rounds(options.repeat).keep_truth(options.repeat <= 10);
    }
    if let Some(allocations) = options.allocations {
        let (churn, seed) = (options.churn, options.seed);
        builder = builder.generated(GeneratorOptions { allocations, churn, seed });
    }
    let namespaces = options.recording.iter().flat_map(|_| &options.namespace);
    for namespace in namespaces {
        let (name, index) = namespace.split_once('=').context("--namespace wants NAME=INDEX")?;
        builder = builder.namespace(name, index.parse().context("--namespace wants NAME=INDEX")?);
    }
    for token in &options.token {
        let (id, rights) = token.split_once('=').context("--token wants ID=RIGHT,...")?;
        builder = builder.token(id, policy(rights));
    }
    let speed = match options.speed.as_str() {
        "max" => f64::INFINITY,
        text => text.trim_end_matches('x').parse().context("--speed wants a factor such as 10x, or max")?,
    };
    anyhow::ensure!(speed > 0.0, "--speed must be above 0");
    if !options.paused {
        builder = builder.speed(speed);
    }
    builder = match options.preload.as_deref() {
        None => builder,
        Some("all") => builder.preload(u64::MAX),
        Some(index) => builder.preload(index.parse().context("--preload wants an index")?),
    };
    anyhow::ensure!(
        options.allocations.is_none() || options.preload.as_deref() != Some("all"),
        "a generated history has no end to preload to"
    );
    Ok(builder)
}

fn policy(rights: &str) -> Policy {
    let mut policy = Policy::default();
    for right in rights.split(',') {
        match right {
            "management" => policy.management = true,
            "node" => policy.node = true,
            "operator" => policy.operator = true,
            namespace => policy.namespaces.push(namespace.to_owned()),
        }
    }
    policy
}
