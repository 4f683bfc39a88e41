//! `check`: whether a run with this very configuration would work, before it starts.
//!
//! Start at [`Check::run`]. All checks run side by side, each with a deadline: what hangs is a finding like any other. Nothing is sent
//! unless it is asked for, and nothing stays behind: Consul's rights are tried in one transaction that removes its own key.

mod clock;
mod coordinator;
mod local;
mod nomad;
mod outlet;
mod show;

use std::time::{Duration, Instant};

pub use self::show::Look;
use self::{clock::Clock, coordinator::Here};
use crate::{
    cluster::Known,
    config::{Pipeline, Settings, Shared, Warning},
    coordinator::Config,
    finding::{Finding, State},
    nomad::Client,
    process,
    settings::PipelineName,
};

/// When the last word is spoken, whatever hangs.
const LONGEST: Duration = Duration::from_millis(4800);

/// The deadline of the requests that say which cluster it is.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// What to check.
#[derive(Debug)]
pub struct Check {
    /// The settings of the run.
    pub settings: Settings,
    /// What is probably wrong with them.
    pub warnings: Vec<Warning>,
    /// Whether to send a test record through each sink.
    pub send_test: bool,
}

/// What all checks found.
#[derive(Debug)]
pub struct Report {
    /// In the order of the data: Nomad, coordinator, sink, and what is around them.
    pub findings: Vec<Finding>,
    /// How long they took together.
    pub took: Duration,
}

impl Check {
    /// Runs all checks, and waits for them no longer than a person does, whatever hangs.
    pub fn run_in_time(self) -> Report {
        let begun = Instant::now();
        let done = clock::within(LONGEST, move || process::block_on(async move { self.run().await }));
        let found = match done {
            Some(Ok(report)) => return report,
            Some(Err(error)) => Finding::failed(
                "checks",
                format!("cannot start the runtime: {error}"),
                "check the limits of this process",
            ),
            None => {
                let text = format!(
                    "the checks did not end within {LONGEST:?}: a file or a directory that a setting names hangs"
                );
                Finding::failed(
                    "checks",
                    text,
                    "check the file systems of certificates, tokens, NOMAD_FIREHOSE_DATA_DIR and dead letters",
                )
            }
        };
        Report { findings: vec![found], took: begun.elapsed() }
    }

    /// Runs all checks.
    pub async fn run(&self) -> Report {
        let clock = Clock::start();
        let Settings { shared, pipelines } = &self.settings;
        let here = here(shared, pipelines);
        let (nomad, stored, sinks, local) = tokio::join!(
            nomad::check(shared, pipelines, clock),
            coordinator::check(pipelines, &shared.nomad, here.as_ref(), clock),
            outlet::check(shared, pipelines, self.send_test, clock),
            local::check(shared, pipelines, clock),
        );
        let mut findings = vec![self.configuration()];
        findings.extend(self.warnings.iter().map(|warning| {
            let (text, fix) = warning.words();
            Finding::warning("configuration", text, fix)
        }));
        findings.extend([nomad, stored, sinks, local].into_iter().flatten());
        // Only now the servers have presented theirs.
        findings.extend(local::certificates());
        Report { findings, took: clock.elapsed() }
    }

    /// The configuration is valid, or there would be no check.
    fn configuration(&self) -> Finding {
        let of = |pipeline: &Pipeline| {
            let kinds: Vec<_> = pipeline.kinds.iter().map(|kind| kind.name()).collect();
            let name = pipeline.name.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
            format!("{name}{} to {}", kinds.join(", "), pipeline.sink.name())
        };
        let pipelines: Vec<_> = self.settings.pipelines.iter().map(of).collect();
        Finding::ok("configuration", format!("valid; {}", pipelines.join("; ")))
    }
}

impl Report {
    /// Whether a run would work. Warnings are no failures.
    pub fn is_well(&self) -> bool {
        self.count(State::Failed) == 0
    }

    /// Whether a setting keeps a run from its start.
    pub fn is_misconfigured(&self) -> bool {
        self.findings.iter().any(|found| found.is_of_setting)
    }

    /// How many checks ended like this.
    pub fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|found| found.state == state).count()
    }

    /// The report for people or programs: whole lines.
    pub fn show(&self, look: Look) -> String {
        show::show(self, look)
    }
}

/// Asks which cluster this is, if there is anything to compare it with. A client that cannot be built is reported elsewhere.
fn here(shared: &Shared, pipelines: &[Pipeline]) -> Option<Here> {
    if pipelines.iter().all(|pipeline| pipeline.coordinator == Config::None) {
        return None;
    }
    let client = || Client::impatient(shared.nomad.clone(), KNOWN_WITHIN).ok();
    let known = Known::learn(client()?, shared.cluster.clone());
    Some(Here { known, client: client()? })
}

/// The name of a check of one pipeline.
fn in_pipeline(pipeline: &Pipeline, what: &str) -> String {
    match pipeline.name.as_ref().map(PipelineName::as_str) {
        Some(name) => format!("[{name}] {what}"),
        None => what.to_owned(),
    }
}
