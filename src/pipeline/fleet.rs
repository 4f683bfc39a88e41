//! Runs the pipelines of a configuration file side by side: each on threads and a runtime of its own, so that none can hold up
//! another. One that fails is started again; the others do not notice.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::anyhow;
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{Failure, Prepared, Surroundings};
use crate::{
    backoff::Backoff,
    config::{Pipeline, PipelineName, Problems, Settings, Warning},
    process,
    supervisor::{Ending, Shutdown},
};

/// The shortest and the longest pause before a pipeline that failed starts again.
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long pipelines may take to end that have not begun.
const GIVE_UP_WITHIN: Duration = Duration::from_secs(3);

/// Reads the configuration again.
pub type Reload<'a> = &'a (dyn Fn() -> Result<(Settings, Vec<Warning>), Problems> + Sync);

/// The pipelines of a process.
#[derive(Debug)]
pub struct Fleet {
    around: Surroundings,
    shutdown: Shutdown,
    running: BTreeMap<PipelineName, Running>,
    reports: mpsc::UnboundedSender<Report>,
    received: mpsc::UnboundedReceiver<Report>,
    /// How the pipelines that have ended did.
    is_clean: bool,
}

/// A pipeline that has a thread.
#[derive(Debug)]
struct Running {
    pipeline: Arc<Pipeline>,
    shutdown: Shutdown,
    /// What to do after its end.
    after: After,
}

#[derive(Debug)]
enum After {
    /// It has ended for good.
    Nothing,
    /// Its table has changed.
    Start(Arc<Pipeline>),
    /// Its table is gone.
    Forget,
}

/// What the thread of a pipeline says.
#[derive(Debug)]
enum Report {
    /// Its settings can be used.
    Prepared(PipelineName),
    /// They cannot.
    Unusable(PipelineName, anyhow::Error),
    Ended(PipelineName, Ending),
}

impl Fleet {
    /// A fleet without pipelines. `shutdown` ends all of them.
    pub fn new(around: Surroundings, shutdown: Shutdown) -> Self {
        let (reports, received) = mpsc::unbounded_channel();
        Fleet { around, shutdown, running: BTreeMap::new(), reports, received, is_clean: true }
    }

    /// Runs `pipelines` until all have ended; `asked` asks for `reload`. Returns whether all ended well.
    ///
    /// # Errors
    /// The settings of one of the first pipelines cannot be used: then none has begun to read.
    pub async fn run(mut self, pipelines: Vec<Pipeline>, asked: &Notify, reload: Reload<'_>) -> Result<bool, Failure> {
        let begin = CancellationToken::new();
        for pipeline in pipelines {
            self.start(Arc::new(pipeline), begin.clone())?;
        }
        self.prepared().await?;
        begin.cancel();
        while !self.running.is_empty() {
            tokio::select! {
                Some(report) = self.received.recv() => self.note(report),
                () = asked.notified() => self.reload(reload),
            }
        }
        Ok(self.is_clean)
    }

    /// Waits until all pipelines are prepared. If one cannot be, ends the others, and names all that cannot.
    async fn prepared(&mut self) -> Result<(), Failure> {
        let mut missing: BTreeSet<_> = self.running.keys().cloned().collect();
        let mut unusable: Vec<String> = Vec::new();
        while !missing.is_empty()
            && let Some(report) = self.received.recv().await
        {
            match report {
                Report::Prepared(name) => drop(missing.remove(&name)),
                Report::Unusable(name, reason) => {
                    missing.remove(&name);
                    unusable.push(format!("[pipeline.{name}]: {reason:#}"));
                }
                Report::Ended(name, _) => {
                    missing.remove(&name);
                    self.running.remove(&name);
                }
            }
        }
        if unusable.is_empty() {
            return Ok(());
        }
        unusable.sort();
        self.running.values().for_each(|running| running.shutdown.stop.cancel());
        let ended = async {
            while !self.running.is_empty()
                && let Some(report) = self.received.recv().await
            {
                if let Report::Ended(name, _) = report {
                    self.running.remove(&name);
                }
            }
        };
        if timeout(GIVE_UP_WITHIN, ended).await.is_err() {
            debug!("pipelines did not end in time");
        }
        Err(Failure::Setting(anyhow!("{}", unusable.join("; "))))
    }

    fn start(&mut self, pipeline: Arc<Pipeline>, begin: CancellationToken) -> Result<(), Failure> {
        let name = pipeline.name.clone().ok_or_else(|| anyhow!("a pipeline beside others needs a name"))?;
        let Shutdown { stop, abort } = &self.shutdown;
        let shutdown = Shutdown { stop: stop.child_token(), abort: abort.child_token() };
        let member = Member {
            name: name.clone(),
            pipeline: Arc::clone(&pipeline),
            around: self.around.clone(),
            shutdown: shutdown.clone(),
            begin,
            reports: self.reports.clone(),
        };
        thread::Builder::new().name(name.to_string()).spawn(move || member.run())?;
        self.running.insert(name, Running { pipeline, shutdown, after: After::Nothing });
        Ok(())
    }

    fn note(&mut self, report: Report) {
        match report {
            Report::Prepared(_) => {}
            Report::Unusable(name, reason) => {
                let reason = format!("{reason:#}");
                error!(pipeline = %name, error = reason, fix = "correct its table and send SIGHUP", "pipeline not started");
                self.around.board.failed(&name, reason);
            }
            Report::Ended(name, ending) => {
                self.is_clean &= !matches!(ending, Ending::Stopped { clean: false });
                let Some(Running { after, .. }) = self.running.remove(&name) else { return };
                match (after, ending) {
                    (After::Start(pipeline), _) => self.begin(pipeline),
                    (After::Forget, _) => self.around.board.remove(&name),
                    (After::Nothing, Ending::SinkClosed) => {
                        self.around.board.failed(&name, "the sink is closed by its reader".to_owned());
                    }
                    (After::Nothing, Ending::Stopped { .. }) => {}
                }
            }
        }
    }

    /// Starts a pipeline that may read at once.
    fn begin(&mut self, pipeline: Arc<Pipeline>) {
        if self.shutdown.stop.is_cancelled() {
            return;
        }
        let begin = CancellationToken::new();
        begin.cancel();
        let name = pipeline.name.clone();
        info!(pipeline = name.as_ref().map(PipelineName::as_str), "starting pipeline");
        if let Err(Failure::Setting(error) | Failure::Run(error)) = self.start(pipeline, begin) {
            error!(
                pipeline = name.as_ref().map(PipelineName::as_str),
                error = format!("{error:#}"),
                "pipeline not started"
            );
        }
    }

    /// Reads the configuration again, and starts, stops or restarts the pipelines whose tables have changed. If it is invalid,
    /// everything goes on as before.
    fn reload(&mut self, reload: Reload<'_>) {
        let (settings, warnings) = match reload() {
            Ok(loaded) => loaded,
            Err(problems) => {
                let problem = problems.to_string().replace('\n', " ");
                return error!(%problem, "configuration not reloaded");
            }
        };
        warnings.iter().for_each(Warning::log);
        let Settings { shared, pipelines } = settings;
        if !shared.is_same(&self.around.shared) {
            warn!(fix = "restart the program", "changed global settings ignored");
        }
        let mut wanted: BTreeMap<_, _> = BTreeMap::new();
        for pipeline in pipelines {
            let Some(name) = pipeline.name.clone() else {
                return error!(problem = "the file has no [pipeline] table any more", "configuration not reloaded");
            };
            wanted.insert(name, Arc::new(pipeline));
        }
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for (name, running) in &mut self.running {
            let stop = match wanted.remove(name) {
                Some(new) => {
                    // One that is stopping already starts again after its end, even if its table is back.
                    let goes_on = !running.shutdown.stop.is_cancelled() && !self.around.board.has_failed(name);
                    let is_same = goes_on && new.is_same(&running.pipeline);
                    if is_same {
                        running.after = After::Nothing;
                        continue;
                    }
                    changed.push(name.to_string());
                    After::Start(new)
                }
                None => {
                    removed.push(name.to_string());
                    After::Forget
                }
            };
            running.after = stop;
            running.shutdown.stop.cancel();
        }
        let added = wanted.keys().map(ToString::to_string).collect::<Vec<_>>().join(",");
        info!(added, changed = changed.join(","), removed = removed.join(","), "configuration reloaded");
        wanted.into_values().for_each(|pipeline| self.begin(pipeline));
    }
}

/// What the thread of a pipeline works with.
struct Member {
    name: PipelineName,
    pipeline: Arc<Pipeline>,
    around: Surroundings,
    shutdown: Shutdown,
    begin: CancellationToken,
    reports: mpsc::UnboundedSender<Report>,
}

impl Member {
    /// Runs the pipeline until it is stopped, and again when it fails.
    fn run(self) {
        let mut backoff = Backoff::new(RESTART.0, RESTART.1);
        let ending = loop {
            let failure = match catch_unwind(AssertUnwindSafe(|| process::block_on_for(&self.name, self.once()))) {
                Ok(Ok(Ok(ending))) => break ending,
                Ok(Ok(Err(failure))) => failure,
                Ok(Err(error)) => Failure::Run(anyhow!("cannot start its runtime: {error}")),
                Err(panic) => Failure::Run(anyhow!("it panicked: {}", text_of(&*panic))),
            };
            let (pause, clean) = match failure {
                Failure::Setting(reason) if !self.begin.is_cancelled() => {
                    self.report(Report::Unusable(self.name.clone(), reason));
                    // Only other settings can help.
                    (Duration::MAX, true)
                }
                // What could be used before can be usable again: a disk that was full, a certificate that was being replaced.
                Failure::Setting(reason) | Failure::Run(reason) => {
                    let (reason, pause) = (format!("{reason:#}"), backoff.failed());
                    error!(error = reason, restart_in = ?pause, "pipeline failed");
                    self.around.board.failed(&self.name, reason);
                    (pause, false)
                }
            };
            if self.is_stopped_within(pause) {
                break Ending::Stopped { clean };
            }
        };
        self.report(Report::Ended(self.name.clone(), ending));
    }

    async fn once(&self) -> Result<Ending, Failure> {
        // A task of it that fails ends this run, and not the pipeline.
        let Shutdown { stop, abort } = &self.shutdown;
        let own = Shutdown { stop: stop.child_token(), abort: abort.child_token() };
        let prepared = Prepared::new(&self.pipeline, &self.around, own).await?;
        self.report(Report::Prepared(self.name.clone()));
        tokio::select! {
            () = self.begin.cancelled() => match prepared.run().await? {
                Ending::Stopped { .. } if !stop.is_cancelled() => Err(Failure::Run(anyhow!("one of its tasks failed"))),
                ending => Ok(ending),
            },
            () = self.shutdown.stop.cancelled() => {
                prepared.give_up().await;
                Ok(Ending::Stopped { clean: true })
            }
        }
    }

    /// Waits for `pause`; returns early, and true, if the pipeline is stopped.
    fn is_stopped_within(&self, pause: Duration) -> bool {
        let stopped = async { timeout(pause, self.shutdown.stop.cancelled()).await.is_ok() };
        // Without a runtime there is nothing to wait with, and nothing that could run.
        process::block_on_for(&self.name, stopped).unwrap_or(true)
    }

    fn report(&self, report: Report) {
        // If nobody listens, the process is ending.
        self.reports.send(report).ok();
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
