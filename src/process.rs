//! The process as a whole: its runtimes, descriptors, signals, and a name for it.

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    sync::Notify,
    time::Instant,
};
use tracing::{debug, info};

use crate::{
    pulse,
    settings::PipelineName,
    supervisor::Shutdown,
    sys::{self, Sent, signals::Signals},
    telemetry,
};

/// How long the end of the process waits for threads that block. A write that the far side never takes must not keep it.
const BLOCKED: Duration = Duration::from_millis(100);

/// Runs `task` to its end.
///
/// All tasks share one thread, besides the threads that block: each line passes from task to task on its way from the stream to
/// the sink, and waking another thread costs more than the work that is done there.
///
/// # Errors
/// The runtime could not be started.
pub fn block_on<T>(task: impl Future<Output = T>) -> io::Result<T> {
    run_on(Builder::new_multi_thread().worker_threads(1).enable_all().build()?, "".into(), task)
}

/// The same for a pipeline, on this thread and others of its own: what it logs has its name, if it has one.
///
/// # Errors
/// As [`block_on`].
pub fn block_on_for<T>(pipeline: Option<&PipelineName>, task: impl Future<Output = T>) -> io::Result<T> {
    let Some(pipeline) = pipeline else { return block_on(task) };
    let name: Arc<str> = pipeline.as_str().into();
    telemetry::name_thread(&name);
    let mut builder = Builder::new_multi_thread();
    let named = builder.worker_threads(1).thread_name(pipeline.as_str()).enable_all();
    let of_threads = Arc::clone(&name);
    run_on(named.on_thread_start(move || telemetry::name_thread(&of_threads)).build()?, name, task)
}

fn run_on<T>(runtime: Runtime, name: Arc<str>, task: impl Future<Output = T>) -> io::Result<T> {
    let output = runtime.block_on(pulse::during(name, task));
    runtime.shutdown_timeout(BLOCKED);
    Ok(output)
}

/// Raises the limit on open files to the most that the system allows: connections to Nomad, Consul and the sink need them after
/// an outage.
pub fn raise_descriptor_limit() {
    if let Err(error) = sys::process::raise_descriptor_limit() {
        debug!(%error, "limit on open files not raised");
    }
}

/// Who this process is, for people who look for the leader.
pub fn holder() -> String {
    let host = sys::machine::name();
    let process = std::process::id();
    match std::env::var("NOMAD_ALLOC_ID") {
        Ok(allocation) => format!("allocation {allocation} on {host}"),
        Err(_) => format!("process {process} on {host}"),
    }
}

/// What SIGHUP does.
#[derive(Clone, Debug)]
pub enum Hangup {
    /// Nothing: the command ends by itself, and reads nothing again.
    Ignored,
    /// It stops the program, as SIGTERM does: a command on a terminal ends when the terminal closes.
    Stop,
    /// It asks to read the configuration again.
    Reload(Arc<Notify>),
}

/// From now on, the first SIGINT or SIGTERM cancels [`Shutdown::stop`], and the second cancels [`Shutdown::abort`]. Call it before
/// the first log line, so that an operator who reads the log can stop the program cleanly.
///
/// # Errors
/// The system refuses a handler.
pub fn shutdown_on_signals(hangup: Hangup) -> io::Result<Shutdown> {
    let mut signals = Signals::listen()?;
    let shutdown = Shutdown::default();
    let Shutdown { stop, abort } = shutdown.clone();
    tokio::spawn(async move {
        let mut first = None;
        while let Some(sent) = signals.next().await {
            let name = match (sent, &hangup) {
                (Sent::Stop(name), _) | (Sent::Reload(name), Hangup::Stop) => name,
                (Sent::Reload(_), Hangup::Reload(asked)) => {
                    asked.notify_one();
                    continue;
                }
                (Sent::Reload(name), Hangup::Ignored) | (Sent::Meaningless(name), _) => {
                    info!(signal = name, "signal ignored");
                    continue;
                }
            };
            match meaning(&mut first, name, Instant::now()) {
                Meaning::Stop => {
                    info!(signal = name, "stopping");
                    stop.cancel();
                }
                Meaning::Repeat => debug!(signal = name, "already stopping"),
                Meaning::Abort => {
                    info!(signal = name, "stopping at once");
                    abort.cancel();
                }
            }
        }
    });
    Ok(shutdown)
}

/// The same signal this soon after the first one is the same request: `timeout` and some supervisors signal both a process and
/// its group, so the process receives each stop twice.
const REPEAT_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Stop,
    Repeat,
    Abort,
}

/// What the signal `name` at `now` means. `first` remembers the first signal.
fn meaning(first: &mut Option<(&'static str, Instant)>, name: &'static str, now: Instant) -> Meaning {
    match *first {
        None => {
            *first = Some((name, now));
            Meaning::Stop
        }
        Some((known, at)) if known == name && now.duration_since(at) < REPEAT_WITHIN => Meaning::Repeat,
        Some(_) => Meaning::Abort,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_that_is_sent_twice_is_no_abort() {
        let (mut first, now) = (None, Instant::now());
        assert_eq!(meaning(&mut first, "SIGTERM", now), Meaning::Stop);
        assert_eq!(meaning(&mut first, "SIGTERM", now), Meaning::Repeat);
        assert_eq!(meaning(&mut first, "SIGINT", now), Meaning::Abort);
        assert_eq!(meaning(&mut first, "SIGTERM", now + REPEAT_WITHIN), Meaning::Abort);
    }
}
