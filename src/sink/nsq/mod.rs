//! Publishes to a topic of NSQ. Delivered means that nsqd has answered `OK`: it has the record in its queue, in memory or on disk as its
//! `--mem-queue-size` says.
//!
//! | Answer | Outcome |
//! |---|---|
//! | `OK` | delivered |
//! | larger than nsqd's `--max-msg-size` (`E_BAD_MESSAGE`, `E_BAD_BODY`); empty; no topic can be made of its fields | reject |
//! | secret or topic not allowed (`E_AUTH_FAILED`, `E_UNAUTHORIZED`, `E_AUTH_FIRST`, `E_BAD_TOPIC`); TLS required | retry: people have to fix that |
//! | nsqd cannot queue it (`E_PUB_FAILED`, `E_MPUB_FAILED`): its disk fails, the topic is about to be deleted | retry, with the next server |
//! | any other error, a timeout, a broken connection | retry |
//!
//! NSQ hands out messages in no order at all, whatever order they come in. The sink still writes the records of each key in their order, over one
//! connection: with an nsqd that keeps nothing in memory, one consumer, and no message that is requeued, they come in it.
//!
//! The records of a batch go as one `MPUB` for each topic, with one answer for all of it. After an error nsqd closes the connection. If the error is about a record, the sink goes on without it: nsqd names its limit, or halves find it.
//!
//! The sink speaks the protocol by itself: no client in Rust is maintained, and the part that a publisher needs is small
//! (<https://nsq.io/clients/tcp_protocol_spec.html>).

mod check;
mod command;
mod config;
mod fault;
mod proto;
mod publish;
mod settings;
mod topic;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

pub use self::config::{Config, Server};
pub(super) use self::settings::DEFINITION;
use self::{
    command::Limits,
    config::VARIABLES,
    fault::Fault,
    publish::{Ended, Round},
    wire::{Link, Tls},
};
use super::{Closed, ErrorClass, Outcome, Policy, Prepared, Sink, Unusable};
use crate::{
    finding::Finding,
    record::Record,
    tls::{self, Asked},
};

/// How long the servers may take to open a connection, all together.
const DEADLINE: Duration = Duration::from_secs(10);

/// Publishes records, and waits for nsqd's `OK`.
#[derive(Debug)]
pub struct Nsq {
    settings: Settings,
    place: Mutex<Place>,
    /// The log says that only people can fix it.
    is_reported: AtomicBool,
}

/// What does not change.
struct Settings {
    config: Config,
    tls: Tls,
}

/// The connection, where there is one.
#[derive(Debug, Default)]
struct Place {
    link: Option<Link>,
    /// The server to connect to next.
    server: usize,
    /// What the server of the connection is known to take. It changes only with a restart, which ends the connection.
    limits: Limits,
}

impl Nsq {
    /// A sink with these settings. Connects at the first send.
    ///
    /// # Errors
    /// A TLS file cannot be used: the message names the variable.
    pub fn new(config: Config) -> Result<Self, Unusable> {
        let asked = Asked::default();
        let client = tls::client(&config.tls, &VARIABLES, None, asked.clone());
        let client = client
            .map_err(|bad| Unusable::new(format!("{} names {}: {}", bad.variable, bad.path.display(), bad.reason)))?;
        let settings = Settings { config, tls: Tls { config: Arc::new(client), asked } };
        Ok(Nsq { settings, place: Mutex::default(), is_reported: AtomicBool::new(false) })
    }

    async fn publish(&self, batch: &[Record]) -> Vec<Outcome> {
        // A send that is dropped leaves no connection behind: what it wrote has no answer yet.
        let mut place = self.place.lock().await;
        let mut round = Round::new(&self.settings, batch);
        let fault = self.through(&mut place, &mut round).await.err();
        let refused = round.refused.take().or_else(|| fault.clone().filter(Fault::is_for_people));
        match refused {
            // It looks like any other outage otherwise.
            Some(fault) if !self.is_reported.swap(true, Ordering::Relaxed) => {
                tracing::error!(reason = %fault.reason, "nsqd refuses records");
            }
            Some(_) => {}
            None if fault.is_none() => self.is_reported.store(false, Ordering::Relaxed),
            None => {}
        }
        round.outcomes(fault.as_ref())
    }

    /// Sends all that can be sent. After an error about records or about a topic, the rest goes over a new connection.
    async fn through(&self, place: &mut Place, round: &mut Round<'_>) -> Result<(), Fault> {
        if place.link.as_ref().is_none_or(|link| !link.is_usable()) {
            *place = Place { server: place.server, ..Place::default() };
        }
        while round.plan(place.limits) {
            let mut link = match place.link.take() {
                Some(link) => link,
                None => self.connect(&mut place.server).await?,
            };
            match round.over(&mut link, &mut place.limits).await {
                Ok(()) => place.link = Some(link),
                Err(Ended::Refused) => {}
                Err(Ended::Elsewhere) => self.next(place),
                Err(Ended::Broken(fault)) if fault.class == ErrorClass::Unsent => {
                    *place = Place { server: place.server, ..Place::default() };
                    return Err(fault);
                }
                Err(Ended::Broken(fault)) => {
                    self.next(place);
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    /// Leaves this server, whose limits say nothing of the next one.
    fn next(&self, place: &mut Place) {
        *place = Place { server: (place.server + 1) % self.settings.config.servers.len(), ..Place::default() };
    }

    /// Connects to the first server that takes it, beginning with `first`.
    async fn connect(&self, first: &mut usize) -> Result<Link, Fault> {
        let Settings { config, tls } = &self.settings;
        let count = config.servers.len();
        let share = share(count);
        let mut failure = None;
        for _ in 0..count {
            match Link::connect(config, tls, &config.servers[*first % count], share).await {
                Ok(link) => return Ok(link),
                Err(fault) => failure = Some(fault),
            }
            *first = (*first + 1) % count;
        }
        Err(failure.expect("there is a server"))
    }
}

/// The time for each of so many servers.
fn share(count: usize) -> Duration {
    DEADLINE / u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

impl Sink for Nsq {
    fn name(&self) -> &'static str {
        "nsq"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.publish(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, _cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Nsq::new(self.clone())?), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("servers", &self.config.servers).finish_non_exhaustive()
    }
}
