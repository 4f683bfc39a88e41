//! Shows what happens in a cluster while it happens, one line an event: `nomad-firehose tail`.
//!
//! Events are read by the same [source](crate::source) as in a run, with the same proof that nothing lies between two
//! connections. There is no lease and no checkpoint; a stage turns each record into its line, and the sink `stdout` prints
//! it.
//!
//! `stage` decides what is shown, `line` is what the user sees, `changes` asks Nomad what changed in a job, and `notes` says on stderr what happens to the connection.

mod changes;
mod filter;
mod line;
mod notes;
mod stage;

use std::{io, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::level_filters::LevelFilter;

pub(crate) use self::filter::SHORTEST;
use self::{
    changes::Changes,
    line::Pen,
    stage::{Last, Stage},
};
pub use self::{filter::Filter, line::Look};
use crate::{
    cluster::Known,
    config::Tail,
    coordinator::none::Unshared,
    dead_letter::{DeadLetters, Place},
    delivery::{self, Counters, Policy},
    kind::Kind,
    lease,
    nomad::{self, Client, Table, Topic},
    position::RaftIndex,
    sink::stdout::{Failure, Stdout},
    source::{Context, Start},
    supervisor::{self, Plan, Shutdown},
    telemetry::{Metrics, Status},
    window::Window,
};

/// The bytes of events that wait for a slow terminal.
const WINDOW: usize = 32 << 20;
/// How long Nomad may take to say how new its newest change is.
const WITHIN: Duration = Duration::from_secs(2);
/// How long an end may take.
const GRACE: Duration = Duration::from_secs(2);

/// What to watch, and how to show it.
#[derive(Debug)]
pub struct Watch {
    /// How to read the cluster, and which kinds of it.
    pub settings: Tail,
    /// Events from this raft index on; `None` for what happens from now on.
    pub since: Option<RaftIndex>,
    /// Which of them.
    pub filter: Filter,
    /// How to show them.
    pub look: Look,
}

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or another setting of Nomad cannot be used.
    #[error(transparent)]
    Nomad(#[from] nomad::Error),
    /// There is no standard output.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// Standard output takes no more, such as on a full disk.
    #[error("cannot write to standard output: {0}")]
    Write(String),
    /// The run cannot go on.
    #[error(transparent)]
    Run(#[from] lease::Error),
}

/// What the log leaves out unless it is asked for: `notes` says it in words.
pub const SAID_IN_NOTES: [(&str, LevelFilter); 2] =
    [("nomad_firehose::throttle", LevelFilter::OFF), ("nomad_firehose::source::tracker::gaps", LevelFilter::OFF)];

impl Watch {
    /// Prints lines until `shutdown`, or until nobody reads them any more.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        let Watch { settings, since, filter, look } = self;
        let Tail { kinds, topics, namespaces, nomad, polling, .. } = settings;
        let watched_kinds = kinds.clone();
        let (metrics, status) = (Metrics::new(&kinds), Status::new(&kinds));
        let client = Client::new(nomad.clone())?;
        let topics_of = |kind: Kind| kind.topic().map_or_else(|| topics.clone(), |topic| vec![Topic::all(topic)]);
        let kinds: Vec<_> = kinds.into_iter().map(|kind| (kind, topics_of(kind))).collect();
        let live_after = match since {
            Some(since) => {
                let newest = newest(&client, &namespaces, &watched_kinds);
                let ((), newest) = tokio::join!(
                    notes::before_the_buffer(&client, &namespaces, &kinds, since),
                    timeout(WITHIN, newest)
                );
                newest.unwrap_or(RaftIndex(u64::MAX))
            }
            None => RaftIndex(0),
        };
        let dead_letters = DeadLetters::new(Place::Log);
        let counters = Arc::new(Counters::new(metrics.clone(), status.clone(), "stdout"));
        let failure = Failure::default();
        let sink = Box::new(Stdout::open()?.closed_by(Arc::clone(&failure)));
        let (handle, delivery) =
            delivery::spawn(sink, Policy::default(), dead_letters.clone(), counters, shutdown.abort.clone());
        // It has a client of its own: when its requests fail, the source keeps its address.
        let changes = Changes::new(Client::new(nomad)?);
        let (pen, last) = (Pen::new(look), Last::default());
        let stage = Stage { filter, pen, changes, live_after, last };
        let ctx = Context {
            client,
            delivery: stage.spawn(handle),
            dead_letters,
            window: Window::new(WINDOW, &metrics),
            metrics: metrics.clone(),
            status: status.clone(),
            tap: Default::default(),
            start: since.map_or(Start::Now, Start::Index),
            own_variables: None,
            polling,
            stop: CancellationToken::new(),
        };
        let plan = Plan {
            kinds,
            namespaces,
            checkpoint_interval: Duration::from_secs(60),
            standby_buffer: 0,
            grace: GRACE,
            cluster: Known::nothing(),
        };
        let notes = tokio::spawn(notes::of_connection(status, metrics, watched_kinds));
        let sink_closed = CancellationToken::new();
        let watched = tokio::spawn(supervisor::watch_delivery(delivery, sink_closed.clone(), shutdown.clone()));
        let ended = supervisor::run(&plan, Arc::new(Unshared), ctx, &shutdown, sink_closed).await;
        watched.abort();
        notes.abort();
        ended?;
        match failure.get() {
            None => Ok(()),
            Some(reason) => Err(Error::Write(reason.clone())),
        }
    }
}

/// The index of the newest change of these kinds, as far as Nomad shows it; the greatest index if it shows none.
async fn newest(client: &Client, namespaces: &[String], kinds: &[Kind]) -> RaftIndex {
    let namespace = namespaces.first().map_or("*", String::as_str);
    let mut newest: Option<RaftIndex> = None;
    for table in Table::ALL {
        let is_watched = |kind: &Kind| kind.topic().is_none_or(|topic| Table::from_topic(topic) == Some(table));
        if kinds.iter().any(is_watched) {
            // What the token may not read is not shown either.
            newest = newest.max(client.table_index(table, namespace).await.ok());
        }
    }
    newest.unwrap_or(RaftIndex(u64::MAX))
}
