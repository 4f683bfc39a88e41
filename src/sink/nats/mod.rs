//! Publishes to a stream of NATS JetStream. Delivered means that the stream has acknowledged the record, and so has stored it as its settings
//! say: with three replicas, on two of them.
//!
//! | Answer | Outcome |
//! |---|---|
//! | an acknowledgement, of a duplicate too | delivered |
//! | the stream's limit for one message (10054), for headers (10097); larger than `max_payload` of the server or of the account; a subject of more than 3,800 bytes | reject |
//! | no stream is bound to the subject; another one than is named (10060); sealed; JetStream off | retry: people have to fix that |
//! | login refused; the user may not publish there, or not subscribe to its inbox | retry: people have to fix that |
//! | the stream is full (10077), no room for JetStream (10023) | retry: throttled |
//! | any other error of the stream, an answer of somebody else | retry |
//! | a timeout, a broken connection | retry |
//!
//! The header `Nats-Msg-Id` is the record's id, behind the label of the cluster if there is one: within its duplicate window the stream
//! stores a record that comes again once.
//!
//! The sink speaks the protocol by itself. The client `async-nats` keeps what it has not sent yet in a queue and sends it after it has
//! reconnected, whatever became of the future that published it, and it gives away neither the queue nor the socket. So nothing could
//! keep a record from leaving long after the sink had given it up, or after the lease had ended.

mod check;
mod config;
mod fault;
mod login;
mod message;
mod nkey;
mod proto;
mod publish;
mod settings;
mod subject;
mod wire;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

pub use self::config::{Config, Login, Server};
pub(super) use self::settings::DEFINITION;
use self::{
    config::VARIABLES,
    fault::Fault,
    publish::Round,
    wire::{Link, Tls},
};
use super::{Closed, Outcome, Policy, Prepared, Sink, Unusable};
use crate::{
    finding::Finding,
    record::Record,
    tls::{self, Asked},
};

/// How long the servers may take to open a connection, all together.
const DEADLINE: Duration = Duration::from_secs(10);

/// Publishes records, and waits for the acknowledgements.
#[derive(Debug)]
pub struct Nats {
    settings: Settings,
    place: Mutex<Place>,
    /// How often a connection was tried.
    tries: AtomicU64,
    /// The log says that only people can fix it.
    is_reported: AtomicBool,
}

/// What does not change.
struct Settings {
    config: Config,
    tls: Tls,
    cluster: Option<String>,
}

/// The connection, where there is one.
#[derive(Debug, Default)]
struct Place {
    link: Option<Arc<Link>>,
    /// Why the last try failed.
    fault: Option<Fault>,
    /// The server to try next.
    server: usize,
}

impl Nats {
    /// A sink with these settings; `cluster` is the label of this cluster. Connects at the first send.
    ///
    /// # Errors
    /// A TLS file cannot be used: the message names the variable.
    pub fn new(config: Config, cluster: Option<&str>) -> Result<Self, Unusable> {
        let asked = Asked::default();
        let client = tls::client(&config.tls, &VARIABLES, None, asked.clone());
        let client = client
            .map_err(|bad| Unusable::new(format!("{} names {}: {}", bad.variable, bad.path.display(), bad.reason)))?;
        let tls = Tls { config: Arc::new(client), asked };
        let settings = Settings { config, tls, cluster: cluster.map(str::to_owned) };
        let (place, tries) = (Mutex::default(), AtomicU64::new(0));
        Ok(Nats { settings, place, tries, is_reported: AtomicBool::new(false) })
    }

    async fn publish(&self, batch: &[Record]) -> Vec<Outcome> {
        let mut round = Round::new(&self.settings, batch);
        let fault = match self.link().await {
            Ok(link) => round.through(&link).await.err(),
            Err(fault) => Some(fault),
        };
        let refused = round.refused.take().or_else(|| fault.clone().filter(Fault::is_for_people));
        match refused {
            // It looks like any other outage otherwise.
            Some(fault) if !self.is_reported.swap(true, Ordering::Relaxed) => {
                tracing::error!(reason = %fault.reason, "nats refuses records");
            }
            Some(_) => {}
            None if fault.is_none() => self.is_reported.store(false, Ordering::Relaxed),
            None => {}
        }
        round.outcomes(fault.as_ref())
    }

    /// The connection; a new one if there is none, or if its server is about to stop.
    async fn link(&self) -> Result<Arc<Link>, Fault> {
        let before = self.tries.load(Ordering::Relaxed);
        let mut place = self.place.lock().await;
        if let Some(link) = place.link.take_if(|link| !link.is_usable()) {
            drop(link);
        }
        if let Some(link) = &place.link {
            return Ok(Arc::clone(link));
        }
        // Who waited for the try of somebody else need not wait for another one.
        if let (Some(fault), true) = (&place.fault, self.tries.load(Ordering::Relaxed) > before) {
            return Err(fault.clone());
        }
        let connected = self.connect(&mut place.server).await;
        self.tries.fetch_add(1, Ordering::Relaxed);
        place.fault = connected.as_ref().err().cloned();
        place.link = connected.as_ref().ok().cloned();
        connected
    }

    /// Connects to the first server that takes it, beginning with `first`.
    async fn connect(&self, first: &mut usize) -> Result<Arc<Link>, Fault> {
        let Settings { config, tls, .. } = &self.settings;
        let count = config.servers.len();
        let share = DEADLINE / u32::try_from(count).unwrap_or(u32::MAX).max(1);
        let mut failure = None;
        for _ in 0..count {
            match Link::connect(config, tls, &config.servers[*first % count], share).await {
                Ok(link) => return Ok(Arc::new(link)),
                Err(fault) => failure = Some(fault),
            }
            *first = (*first + 1) % count;
        }
        Err(failure.expect("there is a server"))
    }
}

impl Sink for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.publish(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Nats::new(self.clone(), cluster)?), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }

    fn drops_repeats(&self) -> bool {
        true
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("servers", &self.config.servers).finish_non_exhaustive()
    }
}
