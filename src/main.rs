//! The binary: reads the settings, builds the components, runs them, and exits with a code.

use std::{process::ExitCode, sync::Arc};

use anyhow::Context as _;
use nomad_firehose::{
    cli::{self, Replay, Task},
    cluster::Known,
    config::{Settings, Warning},
    coordinator,
    dead_letter::DeadLetters,
    delivery::{self, Counters, Policy},
    nomad::Client,
    process, sink, source, state,
    supervisor::{self, Ending, Plan, Shutdown},
    telemetry::{self, Log, Metrics, Status},
    window::Window,
};
use tokio_util::sync::CancellationToken;
use tracing::error;

fn main() -> ExitCode {
    let (task, warnings) = match cli::load() {
        Ok(loaded) => loaded,
        Err(exit) => return exit.report(),
    };
    let outcome = match task {
        Task::Carry(settings) => run(settings.log, carry(*settings, &warnings)),
        Task::State { command, log } => run(log, show(&command, &warnings)),
        Task::DeadLetters(list) => Ok(list.run()),
        Task::Replay(replay) => run(replay.outlet.log, resend(&replay, &warnings)),
    };
    outcome.unwrap_or_else(Failure::report)
}

/// Why the program ends before its time.
enum Failure {
    /// A setting cannot be used.
    Setting(anyhow::Error),
    /// Anything else.
    Run(anyhow::Error),
}

impl Failure {
    fn setting(error: impl Into<anyhow::Error>) -> Self {
        Failure::Setting(error.into())
    }

    fn report(self) -> ExitCode {
        match self {
            Failure::Setting(error) => {
                error!(error = format!("{error:#}"), "invalid configuration");
                ExitCode::from(cli::USAGE)
            }
            Failure::Run(error) => {
                error!(error = format!("{error:#}"), "nomad-firehose failed");
                ExitCode::FAILURE
            }
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Run(error.into())
    }
}

/// Sets up the log, and runs `task` to its end.
fn run(log: Log, task: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    telemetry::init(log, sink::registry::log_limits()).context("cannot start the log")?;
    process::block_on(task).context("cannot start the runtime")?
}

/// `state`. A signal ends it like any other command.
async fn show(command: &state::Command, warnings: &[Warning]) -> Result<ExitCode, Failure> {
    warnings.iter().for_each(Warning::log);
    let keeper = command.storage.open().map_err(Failure::setting)?;
    Ok(cli::print(&state::run(&command.action, &*keeper).await))
}

/// `dead-letters replay`.
async fn resend(replay: &Replay, warnings: &[Warning]) -> Result<ExitCode, Failure> {
    let shutdown = shutdown_on_signals(warnings)?;
    let (sink, policy) = replay.outlet.sink.build(replay.outlet.cluster.as_deref()).map_err(Failure::setting)?;
    Ok(replay.run(sink, policy, shutdown).await)
}

/// Logs the warnings once the program can be stopped cleanly.
fn shutdown_on_signals(warnings: &[Warning]) -> Result<Shutdown, Failure> {
    let shutdown = process::shutdown_on_signals().context("cannot listen to signals")?;
    warnings.iter().for_each(Warning::log);
    Ok(shutdown)
}

/// All other subcommands: carries records until a signal, or until the sink takes no more.
async fn carry(settings: Settings, warnings: &[Warning]) -> Result<ExitCode, Failure> {
    let shutdown = shutdown_on_signals(warnings)?;
    process::raise_descriptor_limit();
    let client = Client::new(settings.nomad.clone()).map_err(Failure::setting)?;
    let (metrics, status) = (Metrics::new(&settings.kinds), Status::new(&settings.kinds));
    let listener = telemetry::listen::start(settings.listen, &metrics, &status, settings.cluster.clone()).await?;
    let dead_letters = DeadLetters::new(settings.dead_letter.clone());
    let unusable = "cannot use NOMAD_FIREHOSE_DEAD_LETTER; name a regular file that this program may write";
    dead_letters.check().await.context(unusable).map_err(Failure::Setting)?;
    let (sink, policy) = settings.sink.build(settings.cluster.as_deref()).map_err(Failure::setting)?;
    let policy = Policy { retry_max: settings.retry_max, ..policy };
    let counters = Arc::new(Counters::new(metrics.clone(), status.clone()));
    let (delivery, sending) = delivery::spawn(sink, policy, dead_letters.clone(), counters, shutdown.abort.clone());
    let sink_closed = CancellationToken::new();
    let watched = tokio::spawn(supervisor::watch_delivery(sending, sink_closed.clone(), shutdown.clone()));

    let cluster = match settings.coordinator {
        coordinator::Config::None => Known::nothing(),
        // It has a client of its own: when its requests fail, the other client keeps its address.
        _ => Known::learn(Client::new(settings.nomad.clone())?, settings.cluster.clone()),
    };
    let run = coordinator::Run {
        kinds: &settings.kinds,
        holder: process::holder(),
        cluster: cluster.clone(),
        metrics: metrics.clone(),
        status: status.clone(),
    };
    let coordinator = settings.coordinator.build(run).map_err(Failure::setting)?;
    let plan = Plan {
        kinds: settings.kinds.iter().map(|kind| (*kind, settings.topics_of(*kind))).collect(),
        namespaces: settings.namespaces,
        checkpoint_interval: settings.checkpoint_interval,
        standby_buffer: settings.standby_buffer,
        grace: settings.shutdown_grace,
        cluster,
    };
    let ctx = source::Context {
        client,
        delivery,
        dead_letters,
        window: Window::new(settings.max_in_flight, &metrics),
        metrics,
        status,
        start: settings.start,
        polling: settings.polling,
        stop: CancellationToken::new(),
    };
    let ending = supervisor::run(&plan, coordinator, ctx, &shutdown, sink_closed).await?;
    watched.abort();
    listener.abort();
    Ok(match ending {
        Ending::Stopped { clean: true } | Ending::SinkClosed => ExitCode::SUCCESS,
        Ending::Stopped { clean: false } => ExitCode::FAILURE,
    })
}
