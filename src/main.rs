//! The binary: reads the settings, builds the components, runs them, and exits with a code.

use std::{process::ExitCode, sync::Arc, time::SystemTime};

use anyhow::Context as _;
use nomad_firehose::{
    cli::{self, Checking, Reload, Replay, Tail, Task, Try},
    config::{Settings, Shared, Warning},
    coordinator::Turns,
    pipeline::{Failure, Fleet, Surroundings},
    process::{self, Hangup},
    program,
    service::Service,
    sink, state,
    supervisor::Shutdown,
    telemetry::{
        self, Board, Journal, Log,
        listen::{self, About, View},
    },
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, level_filters::LevelFilter};

fn main() -> ExitCode {
    // The process that runs jq programs has no settings, no runtime and no log.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == program::COMMAND) {
        return program::serve();
    }
    let (task, warnings) = match cli::load() {
        Ok(loaded) => loaded,
        Err(exit) => return exit.report(),
    };
    let outcome = match task {
        Task::Carry(settings, reload) => run(settings.shared.log, carry(*settings, &reload, &warnings)),
        Task::State { command, log } => run(log, show(&command, &warnings)),
        Task::Completions(completions) => Ok(completions.run()),
        Task::Man(pages) => Ok(pages.run()),
        Task::Config(show) => run(show.log(), async { Ok(show.run()) }),
        Task::DeadLetters(list) => Ok(list.run()),
        Task::Health(health) => Ok(health.run()),
        Task::Try(task) => run(task.log(), attempt(*task, &warnings)),
        Task::Tail(task) => run_within(task.log(), task.log_limits(), watch(*task, &warnings)),
        Task::Check(task) => inspect(*task),
        Task::Replay(replay) => run(replay.outlet.log, resend(&replay, &warnings)),
    };
    outcome.unwrap_or_else(report)
}

/// Logs why the program ends before its time, and gives the exit code.
fn report(failure: Failure) -> ExitCode {
    match failure {
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

/// Sets up the log, and runs `task` to its end.
fn run(log: Log, task: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    run_within(log, &[], task)
}

/// The same with a log that leaves more out.
fn run_within(
    log: Log,
    limits: &[(&'static str, LevelFilter)],
    task: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    let limits = sink::registry::log_limits().chain(limits.iter().copied());
    telemetry::init(log, limits).context("cannot start the log")?;
    process::block_on(task).context("cannot start the runtime")?
}

/// `state`. A signal ends it like any other command.
async fn show(command: &state::Command, warnings: &[Warning]) -> Result<ExitCode, Failure> {
    // A command that holds leases gives them back at a signal. The others end like any program.
    let stop = match &command.action {
        state::Action::Copy(_) => shutdown_on_signals(Hangup::Stop, warnings)?.stop,
        _ => {
            warnings.iter().for_each(Warning::log);
            CancellationToken::new()
        }
    };
    let keeper = command.storage.open().map_err(Failure::setting)?;
    Ok(cli::print(&state::run(command, &*keeper, &stop).await))
}

/// `try`. A signal ends it like any other command.
async fn attempt(task: Try, warnings: &[Warning]) -> Result<ExitCode, Failure> {
    warnings.iter().for_each(Warning::log);
    task.run().await.map_err(Failure::setting)
}

/// `check`. It has a runtime of its own, which it can leave behind.
fn inspect(task: Checking) -> Result<ExitCode, Failure> {
    telemetry::init(task.log(), sink::registry::log_limits()).context("cannot start the log")?;
    Ok(task.run())
}

/// `tail`. Its end by a signal is the usual one.
async fn watch(task: Tail, warnings: &[Warning]) -> Result<ExitCode, Failure> {
    let shutdown = shutdown_on_signals(Hangup::Stop, warnings)?;
    task.run(shutdown).await
}

/// `dead-letters replay`.
async fn resend(replay: &Replay, warnings: &[Warning]) -> Result<ExitCode, Failure> {
    let shutdown = shutdown_on_signals(Hangup::Ignored, warnings)?;
    let (sink, policy) = replay.outlet.sink.build(replay.outlet.cluster.as_deref()).map_err(Failure::setting)?;
    Ok(replay.run(sink, policy, shutdown).await)
}

/// Logs the warnings once the program can be stopped cleanly.
fn shutdown_on_signals(hangup: Hangup, warnings: &[Warning]) -> Result<Shutdown, Failure> {
    let shutdown = process::shutdown_on_signals(hangup).context("cannot listen to signals")?;
    warnings.iter().for_each(Warning::log);
    Ok(shutdown)
}

/// All other subcommands: carries records until a signal, or until the sinks take no more.
async fn carry(settings: Settings, reload: &Reload, warnings: &[Warning]) -> Result<ExitCode, Failure> {
    let Settings { shared, pipelines } = settings;
    let asked = Arc::new(Notify::new());
    let shutdown = shutdown_on_signals(Hangup::Reload(Arc::clone(&asked)), warnings)?;
    process::raise_descriptor_limit();
    let around = Surroundings { shared, board: Board::default(), turns: Turns::default() };
    let Shared { listen, cluster, .. } = &around.shared;
    let about = About { cluster: cluster.clone(), holder: process::holder(), started: SystemTime::now() };
    let view = View::new(around.board.clone(), Journal::of_process(), about);
    let listening = listen::start(*listen, view)?;
    let service = Service::of_environment();
    let reports = tokio::spawn(service.clone().report(around.board.clone(), shutdown.stop.clone()));
    let reload = |running: &Shared| {
        let _reloading = service.reloading();
        reload.load(running)
    };
    let is_clean = Fleet::new(around, shutdown).run(pipelines, &asked, &reload).await?;
    drop(listening);
    reports.abort();
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
