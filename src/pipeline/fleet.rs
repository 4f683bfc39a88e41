//! Runs the pipelines of a process side by side: each on threads and a runtime of its own, so that none can hold up another. One
//! that fails is started again; the others do not notice. The one without a name is alone: when it fails, the process ends, and
//! whatever supervises the process starts it again.
//!
//! At SIGHUP the configuration is read again. What has changed is applied at once, or by stopping pipelines cleanly and starting
//! them again in place, or is left as it is until the program is restarted: see [`Change`].

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

use super::{Failure, Prepared, Surroundings, outline};
use crate::{
    backoff::Backoff,
    config::{Pipeline, PipelineName, Problems, Reloaded, Settings, Shared, Warning},
    process,
    settings::{Change, Setting},
    supervisor::{Ending, Shutdown},
    telemetry::{self, Log},
};

/// The shortest and the longest pause before a pipeline that failed starts again.
const RESTART: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long pipelines may take to end that have not begun.
const GIVE_UP_WITHIN: Duration = Duration::from_secs(3);

/// Reads the configuration again, beside what the process runs with.
pub type Reload<'a> = &'a (dyn Fn(&Shared) -> Result<Reloaded, Problems> + Sync);

/// The name of a pipeline; `None` is the one without a name.
type Name = Option<PipelineName>;

/// The pipelines of a process.
#[derive(Debug)]
pub struct Fleet {
    around: Surroundings,
    shutdown: Shutdown,
    running: BTreeMap<Name, Running>,
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
    Prepared(Name),
    /// They cannot.
    Unusable(PipelineName, anyhow::Error),
    Ended(Name, Ending),
    /// The one without a name has failed.
    Failed(Failure),
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
    /// The settings of one of the first pipelines cannot be used: then none has begun to read. Or the pipeline without a name has
    /// failed.
    pub async fn run(mut self, pipelines: Vec<Pipeline>, asked: &Notify, reload: Reload<'_>) -> Result<bool, Failure> {
        let begin = CancellationToken::new();
        for pipeline in pipelines {
            self.start(Arc::new(pipeline), begin.clone())?;
        }
        self.prepared().await?;
        self.running.values().for_each(|running| note_start(&running.pipeline));
        begin.cancel();
        while !self.running.is_empty() {
            tokio::select! {
                Some(report) = self.received.recv() => self.note(report)?,
                () = asked.notified() => self.reload(reload).await,
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
                Report::Failed(failure) => return Err(failure),
                Report::Unusable(name, reason) => {
                    missing.remove(&Some(name.clone()));
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
        let name = pipeline.name.clone();
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
        let thread = name.as_ref().map_or("pipeline", PipelineName::as_str);
        thread::Builder::new().name(thread.to_owned()).spawn(move || member.run())?;
        self.running.insert(name, Running { pipeline, shutdown, after: After::Nothing });
        Ok(())
    }

    fn note(&mut self, report: Report) -> Result<(), Failure> {
        match report {
            Report::Prepared(_) => {}
            Report::Failed(failure) => return Err(failure),
            Report::Unusable(name, reason) => {
                let reason = format!("{reason:#}");
                error!(pipeline = %name, error = reason, fix = "correct its table and send SIGHUP", "pipeline not started");
                self.around.board.failed(&name, reason);
            }
            Report::Ended(name, ending) => {
                let Some(Running { after, .. }) = self.running.remove(&name) else { return Ok(()) };
                // What it has not delivered, its successor delivers.
                let is_handed_on = matches!(after, After::Start(_)) && !self.shutdown.stop.is_cancelled();
                self.is_clean &= is_handed_on || !matches!(ending, Ending::Stopped { clean: false });
                match (after, ending, name) {
                    // A reader that is gone does not come back.
                    (After::Start(_), Ending::SinkClosed, None) => {}
                    (After::Start(pipeline), _, _) => self.begin(pipeline),
                    (After::Forget, _, Some(name)) => self.around.board.remove(&name),
                    (After::Nothing, Ending::SinkClosed, Some(name)) => {
                        self.around.board.failed(&name, "the sink is closed by its reader".to_owned());
                    }
                    (After::Nothing | After::Forget, _, _) => {}
                }
            }
        }
        Ok(())
    }

    /// Starts a pipeline that may read at once.
    fn begin(&mut self, pipeline: Arc<Pipeline>) {
        if self.shutdown.stop.is_cancelled() {
            return;
        }
        let begin = CancellationToken::new();
        begin.cancel();
        let name = pipeline.name.clone();
        note_start(&pipeline);
        if let Err(Failure::Setting(error) | Failure::Run(error)) = self.start(pipeline, begin) {
            error!(
                pipeline = name.as_ref().map(PipelineName::as_str),
                error = format!("{error:#}"),
                "pipeline not started"
            );
        }
    }

    /// Reads the configuration again and applies what has changed. If it is invalid, everything goes on as before.
    async fn reload(&mut self, reload: Reload<'_>) {
        if !self.around.shared.has_file() {
            let fix = "name a file with NOMAD_FIREHOSE_CONFIG: flags and variables of a running program cannot change";
            return info!(fix, "no configuration file to reload");
        }
        let Reloaded { settings, warnings, ignored } = match reload(&self.around.shared) {
            Ok(reloaded) => reloaded,
            Err(problems) => return not_reloaded(&problems.to_string()),
        };
        let Settings { shared, pipelines } = settings;
        let has_names = |mut names: Box<dyn Iterator<Item = &Name> + '_>| names.any(Option::is_some);
        if has_names(Box::new(self.running.keys())) != has_names(Box::new(pipelines.iter().map(|it| &it.name))) {
            return not_reloaded("only a restart changes between one pipeline and [pipeline] tables");
        }
        let (at_once, restarting) = by_effect(&self.around.shared, &shared);
        let mut changes = Changes { restarting, ..Changes::default() };
        for pipeline in pipelines {
            self.compare(pipeline, &mut changes);
        }
        // A certificate or a directory that cannot be used is found before anything stops.
        for pipeline in changes.restart.values().map(|(pipeline, _)| pipeline).chain(changes.add.values()) {
            if let Err(error) = super::check(pipeline, &shared).await {
                let name = pipeline.name.as_ref().map(|name| format!("[pipeline.{name}]: ")).unwrap_or_default();
                return not_reloaded(&format!("{name}{error:#}"));
            }
        }
        warnings.iter().for_each(Warning::log);
        report_ignored(&ignored);
        self.apply(shared, &at_once, changes);
    }

    /// Notes what a pipeline of the configuration that was read again means for those that run.
    fn compare(&self, pipeline: Pipeline, changes: &mut Changes) {
        let pipeline = Arc::new(pipeline);
        let name = pipeline.name.clone();
        let Some(running) = self.running.get(&name) else {
            changes.add.insert(name, pipeline);
            return;
        };
        // One that is stopping already starts again after its end, even if its table is back.
        let has_failed = name.as_ref().is_some_and(|name| self.around.board.has_failed(name));
        let goes_on = !running.shutdown.stop.is_cancelled() && !has_failed;
        let mut settings = changes.restarting.clone();
        settings.extend(running.pipeline.changed(&pipeline));
        if goes_on && settings.is_empty() {
            changes.keep.push(name);
        } else {
            changes.restart.insert(name, (pipeline, settings));
        }
    }

    fn apply(&mut self, shared: Shared, at_once: &[&'static Setting], changes: Changes) {
        let Changes { add, mut restart, keep, .. } = changes;
        // Whichever of the two levels shows more shows this.
        let log = shared.log;
        telemetry::change(Log { level: log.level.max(self.around.shared.log.level), ..log });
        self.around.shared = shared;
        if !at_once.is_empty() {
            info!(settings = names(at_once), "settings changed at once");
        }
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for (name, running) in &mut self.running {
            if keep.contains(name) {
                running.after = After::Nothing;
                continue;
            }
            let shown = name.as_ref().map(ToString::to_string);
            running.after = match restart.remove(name) {
                Some((pipeline, settings)) => {
                    info!(pipeline = shown, settings = names(&settings), "restarting pipeline");
                    changed.extend(shown);
                    After::Start(pipeline)
                }
                None => {
                    removed.extend(shown);
                    After::Forget
                }
            };
            running.shutdown.stop.cancel();
        }
        let added = add.keys().flatten().map(ToString::to_string).collect::<Vec<_>>().join(",");
        info!(added, changed = changed.join(","), removed = removed.join(","), "configuration reloaded");
        add.into_values().for_each(|pipeline| self.begin(pipeline));
        telemetry::change(log);
    }
}

/// What a configuration that was read again changes.
#[derive(Default)]
struct Changes {
    /// The settings of the whole program that restart every pipeline.
    restarting: Vec<&'static Setting>,
    add: BTreeMap<Name, Arc<Pipeline>>,
    /// With the settings that have changed.
    restart: BTreeMap<Name, (Arc<Pipeline>, Vec<&'static Setting>)>,
    keep: Vec<Name>,
}

/// The settings of the whole program that have changed: those that are applied at once, and those that restart every pipeline.
fn by_effect(old: &Shared, new: &Shared) -> (Vec<&'static Setting>, Vec<&'static Setting>) {
    old.changed(new).into_iter().partition(|setting| setting.change == Change::AtOnce)
}

/// Says in the log what a pipeline carries, and which coordinator `auto` has chosen.
fn note_start(pipeline: &Pipeline) {
    info!(
        pipeline = pipeline.name.as_ref().map(PipelineName::as_str),
        version = env!("CARGO_PKG_VERSION"),
        kinds = pipeline.kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(","),
        sink = pipeline.sink.name(),
        coordinator = outline::coordinator(&pipeline.coordinator),
        "starting pipeline"
    );
}

fn names(settings: &[&'static Setting]) -> String {
    settings.iter().map(|setting| setting.flag).collect::<Vec<_>>().join(",")
}

fn not_reloaded(problem: &str) {
    let problem = problem.replace('\n', " ");
    error!(%problem, action = "go on as before", "configuration not reloaded");
}

fn report_ignored(ignored: &[&'static Setting]) {
    if ignored.is_empty() {
        return;
    }
    let mut because: Vec<&str> = Vec::new();
    for setting in ignored {
        if let Change::Program(why) = setting.change
            && !because.contains(&why)
        {
            because.push(why);
        }
    }
    warn!(
        settings = names(ignored),
        because = because.join("; "),
        fix = "restart the program",
        "changed settings ignored"
    );
}

/// What the thread of a pipeline works with.
struct Member {
    name: Name,
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
            let failure =
                match catch_unwind(AssertUnwindSafe(|| process::block_on_for(self.name.as_ref(), self.once()))) {
                    Ok(Ok(Ok(ending))) => break ending,
                    Ok(Ok(Err(failure))) => failure,
                    Ok(Err(error)) => Failure::Run(anyhow!("cannot start its runtime: {error}")),
                    Err(panic) => Failure::Run(anyhow!("it panicked: {}", text_of(&*panic))),
                };
            let Some(name) = &self.name else { return self.report(Report::Failed(failure)) };
            let (pause, clean) = match failure {
                Failure::Setting(reason) if !self.begin.is_cancelled() => {
                    self.report(Report::Unusable(name.clone(), reason));
                    // Only other settings can help.
                    (Duration::MAX, true)
                }
                // What could be used before can be usable again: a disk that was full, a certificate that was being replaced.
                Failure::Setting(reason) | Failure::Run(reason) => {
                    let (reason, pause) = (format!("{reason:#}"), backoff.failed());
                    error!(error = reason, restart_in = ?pause, "pipeline failed");
                    self.around.board.failed(name, reason);
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
        process::block_on_for(self.name.as_ref(), stopped).unwrap_or(true)
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
