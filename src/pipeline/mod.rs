//! One pipeline: from its settings to a run of its own, with its lease, checkpoint, window, dead letters and metrics.
//!
//! [`Prepared::new`] opens what the settings name, so that whatever is wrong with them shows before anything runs. `fleet` runs
//! the pipelines of a process side by side.

mod fleet;
mod outline;
mod stages;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

pub use self::fleet::{Fleet, Reload};
use crate::{
    cluster::Known,
    config::{Pipeline, Shared},
    coordinator::{self, Coordinator, Turns},
    dead_letter::DeadLetters,
    delivery::{self, Counters, Policy},
    index_file::{self, IndexFile},
    kind::Kind,
    meta::Origin,
    nomad::Client,
    process, program,
    sink::Closed,
    source,
    supervisor::{self, Ending, Plan, Shutdown},
    telemetry::{Board, Metrics, Status},
    window::Window,
};

/// What the pipelines of a process share.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The settings of the program as a whole.
    pub shared: Shared,
    /// Where the status pages look.
    pub board: Board,
    /// The turns in which named pipelines take leases.
    pub turns: Turns,
}

fn index_file_of(pipeline: &Pipeline, path: &Path) -> IndexFile {
    let (topics, streams) = (pipeline.topics_of(Kind::Events), pipeline.namespaces.clone());
    IndexFile { path: path.to_owned(), topics, streams }
}

/// Why a pipeline ended before its time.
#[derive(Debug)]
pub enum Failure {
    /// A setting cannot be used.
    Setting(anyhow::Error),
    /// Anything else.
    Run(anyhow::Error),
}

impl Failure {
    /// A setting cannot be used.
    pub fn setting(error: impl Into<anyhow::Error>) -> Self {
        Failure::Setting(error.into())
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Run(error.into())
    }
}

/// A pipeline whose settings can be used. It reads nothing yet.
#[derive(Debug)]
pub struct Prepared {
    plan: Plan,
    coordinator: Arc<dyn Coordinator>,
    ctx: source::Context,
    shutdown: Shutdown,
    sink_closed: CancellationToken,
    /// Delivery, until it ends.
    delivery: JoinHandle<Result<(), Closed>>,
}

/// Checks whether the settings of `pipeline` can be used, as [`Prepared::new`] does, and begins nothing.
///
/// # Errors
/// As [`Prepared::new`].
async fn check(pipeline: &Pipeline, shared: &Shared) -> Result<(), anyhow::Error> {
    Client::new(shared.nomad.clone())?;
    pipeline.coordinator.check(&pipeline.kinds)?;
    DeadLetters::new(pipeline.dead_letter.clone()).check().await.context(UNUSABLE_DEAD_LETTER)?;
    pipeline.sink.build(shared.cluster.as_deref())?;
    Ok(())
}

/// How long a sink may take to finish what it has open, when everything is delivered.
const CLOSE: Duration = Duration::from_secs(5);

const UNUSABLE_DEAD_LETTER: &str =
    "cannot use NOMAD_FIREHOSE_DEAD_LETTER; name a regular file that this program may write";

impl Prepared {
    /// Opens what the settings of `pipeline` name. `shutdown` ends this pipeline alone.
    ///
    /// # Errors
    /// A certificate, a directory, a file or a value cannot be used.
    pub async fn new(pipeline: &Pipeline, around: &Surroundings, shutdown: Shutdown) -> Result<Self, Failure> {
        let Surroundings { shared, board, turns } = around;
        let metrics = match &pipeline.name {
            Some(name) => Metrics::of_pipeline(name.as_str(), &pipeline.kinds),
            None => Metrics::new(&pipeline.kinds),
        };
        let status = Status::new(&pipeline.kinds);
        board.show(pipeline.name.clone(), &metrics, &status, outline::of(pipeline, shared));
        let client = Client::new(shared.nomad.clone()).map_err(Failure::setting)?;
        let dead_letters = DeadLetters::new(pipeline.dead_letter.clone());
        dead_letters.check().await.context(UNUSABLE_DEAD_LETTER).map_err(Failure::Setting)?;
        let (sink, policy) = pipeline.sink.build(shared.cluster.as_deref()).map_err(Failure::setting)?;
        let policy = Policy { retry_max: pipeline.retry_max, ..policy };
        let cluster = match pipeline.coordinator {
            coordinator::Config::None => Known::nothing(),
            // It has a client of its own: when its requests fail, the other client keeps its address.
            _ => Known::learn(Client::new(shared.nomad.clone())?, shared.cluster.clone()),
        };
        let run = coordinator::Run {
            nomad: &shared.nomad,
            kinds: &pipeline.kinds,
            holder: process::holder(),
            cluster: cluster.clone(),
            metrics: metrics.clone(),
            status: status.clone(),
            pipeline: pipeline.name.clone().map(|name| (name, turns.clone())),
        };
        let coordinator = pipeline.coordinator.build(run).map_err(Failure::setting)?;
        let coordinator = match &pipeline.index_file {
            Some(path) => index_file::keep(coordinator, index_file_of(pipeline, path)).map_err(Failure::setting)?,
            None => coordinator,
        };
        let counters = Arc::new(Counters::new(metrics.clone(), status.clone(), sink.name()));
        let (handle, delivery) = delivery::spawn(sink, policy, dead_letters.clone(), counters, shutdown.abort.clone());
        let stages_around = program::Surroundings {
            dead_letters: dead_letters.clone(),
            metrics: metrics.clone(),
            status: status.clone(),
            origin: Origin {
                cluster: shared.cluster.as_deref().map(Arc::from),
                region: shared.nomad.region.as_deref().map(Arc::from),
            },
        };
        let window = Window::new(pipeline.max_in_flight, &metrics);
        let ctx = source::Context {
            client,
            delivery: stages::before(handle, &pipeline.stages, &shared.nomad, &stages_around)
                .map_err(Failure::setting)?,
            dead_letters,
            window,
            metrics,
            status,
            tap: outline::tap(pipeline, shared, board),
            start: pipeline.start,
            own_variables: pipeline.own_variables.clone(),
            polling: shared.polling,
            stop: CancellationToken::new(),
        };
        let plan = Plan {
            kinds: pipeline.kinds.iter().map(|kind| (*kind, pipeline.topics_of(*kind))).collect(),
            namespaces: pipeline.namespaces.clone(),
            checkpoint_interval: pipeline.checkpoint_interval,
            standby_buffer: pipeline.standby_buffer,
            grace: shared.shutdown_grace,
            cluster,
        };
        Ok(Prepared { plan, coordinator, ctx, shutdown, sink_closed: CancellationToken::new(), delivery })
    }

    /// Carries records until it is stopped, or until the sink takes no more.
    ///
    /// # Errors
    /// The coordinator refused for a reason that does not go away by waiting.
    pub async fn run(self) -> Result<Ending, Failure> {
        let Prepared { plan, coordinator, ctx, shutdown, sink_closed, delivery } = self;
        let mut watched = tokio::spawn(supervisor::watch_delivery(delivery, sink_closed.clone(), shutdown.clone()));
        let ending = supervisor::run(&plan, coordinator, ctx, &shutdown, sink_closed).await;
        // Nothing writes to delivery any more, so it closes the sink and ends.
        let waits = shutdown.stop.is_cancelled();
        if !waits || timeout(CLOSE, &mut watched).await.is_err() {
            watched.abort();
        }
        Ok(ending?)
    }

    /// Ends it before it has run.
    pub async fn give_up(self) {
        self.delivery.abort();
        self.coordinator.close().await;
    }
}
