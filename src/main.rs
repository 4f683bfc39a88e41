//! The binary: configuration in, exit code out.

use std::{
    io::{BufWriter, Write as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
#[cfg(any(feature = "amqp", feature = "kinesis"))]
use nomad_firehose::sink;
use nomad_firehose::{
    cli::{self, Task},
    cluster::Known,
    config::{self, Settings, Warning},
    consul,
    coordinator::{
        Coordinator,
        consul::{Consul, Options},
        file, none,
    },
    dead_letter::{self, DeadLetters, Place},
    delivery::{self, Counters, Policy},
    kind::Kind,
    nomad::{Client, Topic},
    replay::{self, Replay, Replayed},
    sink::{Sink, http::Http, stdout::Stdout},
    source, state,
    supervisor::{self, Ending, Plan, Shutdown},
    telemetry::{self, Metrics, Status},
    window::Window,
};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

fn main() -> ExitCode {
    let (task, warnings) = match cli::load() {
        Ok(loaded) => loaded,
        Err(exit) => return exit.report(),
    };
    let outcome = match task {
        Task::Carry(settings) => start(*settings, &warnings),
        Task::State(command) => look(&command, &warnings),
        Task::DeadLetters(list) => Ok(letters(&list)),
        Task::Replay(replay) => send_again(*replay, &warnings),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            error!(error = format!("{error:#}"), "nomad-firehose cannot go on");
            ExitCode::FAILURE
        }
    }
}

/// One thread for all tasks, beside those that block: on the way from the stream to the sink each line passes from task to task,
/// and waking another thread for it costs more than the work that is done there.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.context("start the runtime")
}

fn start(settings: Settings, warnings: &[Warning]) -> anyhow::Result<ExitCode> {
    telemetry::init(settings.log).context("start the log")?;
    raise_descriptor_limit();
    let runtime = runtime()?;
    let code = runtime.block_on(run(settings, warnings));
    // A write that the far side never takes must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

/// Takes all the descriptors that the system gives: connections to Nomad, Consul and the sink need them after an outage.
fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        debug!(%error, "the limit on open files stays as it is");
    }
}

/// `state`: what it finds goes to stdout, why it cannot to stderr, as one line for people.
fn look(command: &state::Command, warnings: &[Warning]) -> anyhow::Result<ExitCode> {
    telemetry::init(command.storage.log).context("start the log")?;
    warnings.iter().for_each(Warning::log);
    let keeper = match state::open(&command.storage) {
        Ok(keeper) => keeper,
        Err(error) => {
            error!(%error, "the configuration does not work");
            return Ok(ExitCode::from(cli::USAGE));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let said = runtime.block_on(state::run(&command.action, &*keeper));
    // Whoever does not read to the end has seen what was wanted.
    std::io::stdout().write_all(said.text.as_bytes()).ok();
    if let Some(error) = &said.error {
        cli::tell(error);
    }
    Ok(if said.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `dead-letters list`: as [`look`].
fn letters(list: &cli::List) -> ExitCode {
    let mut out = BufWriter::new(std::io::stdout().lock());
    match dead_letter::list::list(&list.path, list.json, &mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever does not read to the end has seen what was wanted.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            cli::tell(&format!("cannot read {}: {error}", list.path.display()));
            ExitCode::FAILURE
        }
    }
}

/// `dead-letters replay`: records go to the sink, what becomes of them to the log, and their sum to stderr.
fn send_again(replay: cli::Replay, warnings: &[Warning]) -> anyhow::Result<ExitCode> {
    telemetry::init(replay.outlet.log).context("start the log")?;
    let runtime = runtime()?;
    let code = runtime.block_on(replay_letters(&replay, warnings));
    // A write that the far side never takes must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn replay_letters(
    cli::Replay { path, any_sink, outlet }: &cli::Replay,
    warnings: &[Warning],
) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::default();
    listen_to_signals(shutdown.clone()).context("listen to signals")?;
    warnings.iter().for_each(Warning::log);
    let (sink, policy) = match sink(&outlet.sink, outlet.cluster.as_deref()) {
        Ok(opened) => opened,
        Err(error) => {
            error!(error = format!("{error:#}"), "the configuration does not work");
            return Ok(ExitCode::from(cli::USAGE));
        }
    };
    let policy = Policy { retry_max: outlet.retry_max, ..policy };
    let options = replay::Options {
        max_in_flight: outlet.max_in_flight,
        grace: outlet.shutdown_grace,
        any_sink: *any_sink,
        stop: shutdown.stop,
        abort: shutdown.abort,
    };
    let replayed = match Replay::open(path) {
        Ok(replay) => replay.run(sink, policy, &options).await,
        Err(error) => Err(error),
    };
    let (said, code) = match replayed {
        Ok(replayed) => {
            let Replayed { delivered, refused, left, interrupted, .. } = replayed;
            let ended = if interrupted { "stopped: " } else { "" };
            let said = if replayed == Replayed::default() {
                format!("no dead letters in {}", path.display())
            } else {
                let path = path.display();
                format!("{ended}{delivered} delivered, {refused} refused again, {left} left in {path}")
            };
            (said, if replayed.is_done() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => (error.to_string(), ExitCode::FAILURE),
    };
    cli::tell(&said);
    Ok(code)
}

async fn run(settings: Settings, warnings: &[Warning]) -> anyhow::Result<ExitCode> {
    let shutdown = Shutdown::default();
    // Before the first word in the log: whoever sees that can stop the program cleanly.
    listen_to_signals(shutdown.clone()).context("listen to signals")?;
    warnings.iter().for_each(Warning::log);
    let client = match Client::new(settings.nomad.clone().into()) {
        Ok(client) => client,
        Err(error) => {
            error!(%error, "the configuration does not work");
            return Ok(ExitCode::from(cli::USAGE));
        }
    };
    let metrics = Metrics::new(&settings.kinds);
    let status = Status::new(&settings.kinds);
    let listener = serve_status(&settings, &metrics, &status).await?;

    let dead_letters = DeadLetters::new(match &settings.dead_letter {
        config::DeadLetter::Stop => Place::Stop,
        config::DeadLetter::Log => Place::Log,
        config::DeadLetter::File(path) => Place::File(path.clone()),
    });
    if let Err(error) = dead_letters.check().await {
        error!(%error, "NOMAD_FIREHOSE_DEAD_LETTER does not work; name a regular file that can be written");
        return Ok(ExitCode::from(cli::USAGE));
    }
    let (sink, policy) = match sink(&settings.sink, settings.cluster.as_deref()) {
        Ok(opened) => opened,
        Err(error) => {
            error!(error = format!("{error:#}"), "the configuration does not work");
            return Ok(ExitCode::from(cli::USAGE));
        }
    };
    let policy = Policy { retry_max: settings.retry_max, ..policy };
    let sink_closed = CancellationToken::new();
    let counters = Arc::new(Counters::new(metrics.clone(), status.clone()));
    let (delivery, sending) = delivery::spawn(sink, policy, dead_letters.clone(), counters, shutdown.abort.clone());
    let (closed, ending) = (sink_closed.clone(), shutdown.clone());
    let watched = tokio::spawn(async move {
        match sending.await {
            Ok(Err(reason)) => {
                info!(%reason, "nobody reads any more");
                closed.cancel();
            }
            Ok(Ok(())) => {}
            Err(panic) => {
                error!(%panic, "delivery failed; nothing can be delivered any more");
                ending.abort.cancel();
                ending.stop.cancel();
            }
        }
    });

    let known = match &settings.coordinator {
        config::Coordinator::None => Known::nothing(),
        // A client of its own: questions that fail must not move the others to another address.
        _ => Known::learn(Client::new(settings.nomad.clone().into())?, settings.cluster.clone()),
    };
    let coordinator: Arc<dyn Coordinator> = match &settings.coordinator {
        config::Coordinator::Consul(how) => match how.client(&settings.consul_prefix).and_then(consul::Client::new) {
            Ok(client) => Arc::new(Consul::start(
                client,
                consul_options(&settings, how, known.clone()),
                metrics.clone(),
                status.clone(),
            )),
            Err(error) => {
                error!(%error, "the configuration does not work");
                return Ok(ExitCode::from(cli::USAGE));
            }
        },
        config::Coordinator::File { data_dir } => {
            let directory = file::Directory::new(data_dir).of_cluster(known.clone());
            if let Err(error) = directory.check(&settings.kinds) {
                error!(%error, "NOMAD_FIREHOSE_DATA_DIR does not work; name a directory for this program's files alone");
                return Ok(ExitCode::from(cli::USAGE));
            }
            Arc::new(directory)
        }
        config::Coordinator::None => Arc::new(none::Unshared),
    };
    let ctx = source::Context {
        client,
        delivery,
        dead_letters,
        window: Window::new(settings.max_in_flight, &metrics),
        metrics,
        status,
        start: match settings.start {
            config::Start::All => source::Start::All,
            config::Start::Now => source::Start::Now,
            config::Start::Index(index) => source::Start::Index(index),
        },
        polling: source::Polling { source: settings.source, interval: settings.poll_interval, stale: settings.stale },
        stop: CancellationToken::new(),
    };
    let plan = plan(&settings, known);
    let ending = match supervisor::run(&plan, coordinator, ctx, &shutdown, sink_closed).await {
        Ok(ending) => ending,
        Err(error) => {
            error!(%error, "nomad-firehose cannot go on");
            return Ok(ExitCode::FAILURE);
        }
    };
    watched.abort();
    listener.abort();
    Ok(match ending {
        Ending::Stopped { clean: true } | Ending::SinkClosed => ExitCode::SUCCESS,
        Ending::Stopped { clean: false } => ExitCode::FAILURE,
    })
}

/// The sink that the settings name, and how it wants its batches. Connects to nothing yet.
fn sink(sink: &config::Sink, cluster: Option<&str>) -> anyhow::Result<(Box<dyn Sink>, Policy)> {
    Ok(match sink {
        config::Sink::Stdout => {
            let stdout = Stdout::open();
            let stdout = stdout.context("SINK_TYPE=stdout does not work; give the program a standard output")?;
            (Box::new(stdout), Policy::default())
        }
        #[cfg(feature = "amqp")]
        config::Sink::Amqp(amqp) => (Box::new(sink::amqp::Amqp::new((**amqp).clone(), cluster)?), amqp.policy()),
        #[cfg(feature = "kinesis")]
        config::Sink::Kinesis(kinesis) => {
            (Box::new(sink::kinesis::Kinesis::new((**kinesis).clone())), kinesis.policy())
        }
        config::Sink::Http(http) => (Box::new(Http::new((**http).clone(), cluster)?), http.policy()),
    })
}

fn plan(settings: &Settings, cluster: Known) -> Plan {
    let topics = |kind: Kind| match kind.topic() {
        Some(topic) => vec![Topic::all(topic)],
        None => {
            settings.topics.iter().map(|topic| Topic { name: topic.name.clone(), key: topic.key.clone() }).collect()
        }
    };
    Plan {
        kinds: settings.kinds.iter().map(|kind| (*kind, topics(*kind))).collect(),
        namespaces: settings.namespaces.clone(),
        checkpoint_interval: settings.checkpoint_interval,
        standby_buffer: settings.standby_buffer,
        grace: settings.shutdown_grace,
        cluster,
    }
}

fn consul_options(settings: &Settings, how: &config::Consul, cluster: Known) -> Options {
    // The original names its sessions so, and each of its processes carries one kind.
    let session_name = match settings.kinds.as_slice() {
        [kind] => format!("nomad-firehose-{}", kind.storage_name()),
        _ => "nomad-firehose".to_owned(),
    };
    Options {
        prefix: settings.consul_prefix.clone(),
        lease: settings.lease,
        session_ttl: how.session_ttl,
        node_checks: how.node_check,
        session_name,
        holder: holder(),
        cluster,
    }
}

/// Who this process is, for people who look for the leader.
fn holder() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let process = std::process::id();
    match std::env::var("NOMAD_ALLOC_ID") {
        Ok(allocation) => format!("allocation {allocation} on {host}"),
        Err(_) => format!("process {process} on {host}"),
    }
}

/// Serves the status page where it is wanted.
async fn serve_status(
    settings: &Settings,
    metrics: &Metrics,
    status: &Status,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let Some(address) = settings.listen else { return Ok(tokio::spawn(async {})) };
    let listener = telemetry::listen::bind(address).await?;
    let view = telemetry::listen::View::new(metrics.clone(), status.clone(), settings.cluster.clone());
    Ok(tokio::spawn(telemetry::listen::serve(listener, view, CancellationToken::new())))
}

/// Signals that end a process unless it listens, and that mean nothing to this one: SIGHUP asks a daemon to read its
/// files again, and those that can change are watched anyway. SIGXFSZ comes of a limit on the size of files: ignored, it
/// leaves a write that fails with a reason.
const IGNORED: [(Signal, &str); 9] = [
    (Signal::HUP, "SIGHUP"),
    (Signal::USR1, "SIGUSR1"),
    (Signal::USR2, "SIGUSR2"),
    (Signal::ALARM, "SIGALRM"),
    (Signal::VTALARM, "SIGVTALRM"),
    (Signal::PROF, "SIGPROF"),
    (Signal::IO, "SIGIO"),
    (Signal::POWER, "SIGPWR"),
    (Signal::XFSZ, "SIGXFSZ"),
];

/// Logs the signals that it ignores.
fn ignore_signals() -> std::io::Result<()> {
    for (number, name) in IGNORED {
        let mut signals = signal(SignalKind::from_raw(number.as_raw()))?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                info!(signal = name, "signal ignored");
            }
        });
    }
    Ok(())
}

/// The first SIGINT or SIGTERM stops cleanly, the second one at once.
fn listen_to_signals(shutdown: Shutdown) -> std::io::Result<()> {
    ignore_signals()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut asked = None;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            match meaning(&mut asked, name, Instant::now()) {
                Meaning::Stop => {
                    info!(signal = name, "stopping");
                    shutdown.stop.cancel();
                }
                Meaning::Echo => debug!(signal = name, "already stopping"),
                Meaning::Abort => {
                    info!(signal = name, "stopping at once");
                    shutdown.abort.cancel();
                    return;
                }
            }
        }
    });
    Ok(())
}

/// The same signal this close to the first one is the same request: `timeout` and some supervisors signal a process and its
/// group, so that it hears of each stop twice.
const ECHO: Duration = Duration::from_millis(500);

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Stop,
    Echo,
    Abort,
}

/// What the signal `name` at `now` means; `asked` keeps the first one.
fn meaning(asked: &mut Option<(&'static str, Instant)>, name: &'static str, now: Instant) -> Meaning {
    match *asked {
        None => {
            *asked = Some((name, now));
            Meaning::Stop
        }
        Some((first, at)) if first == name && now.duration_since(at) < ECHO => Meaning::Echo,
        Some(_) => Meaning::Abort,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_that_is_sent_twice_is_no_abort() {
        let (mut asked, now) = (None, Instant::now());
        assert_eq!(meaning(&mut asked, "SIGTERM", now), Meaning::Stop);
        assert_eq!(meaning(&mut asked, "SIGTERM", now), Meaning::Echo);
        assert_eq!(meaning(&mut asked, "SIGINT", now), Meaning::Abort);
        assert_eq!(meaning(&mut asked, "SIGTERM", now + ECHO), Meaning::Abort);
    }
}
