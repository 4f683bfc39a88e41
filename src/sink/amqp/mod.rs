//! Publishes to an exchange of RabbitMQ (AMQP 0-9-1) with publisher confirms. Delivered means confirmed.
//!
//! Several batches are under way, each over a connection of its own and never two with records of one key, so the order of
//! each key holds. A batch is put on the wire at once; then its confirms are waited for.
//!
//! Batches do not share a channel: the client hands out a returned message with any confirm that comes in the same frame. On
//! a channel with two batches, the return of one could come with a confirm of the other, and be missed.
//!
//! When the sink gives up a connection, it drops the unconfirmed messages with it: nothing in a buffer is sent later.

mod check;
mod config;
mod fault;
mod settings;
mod tls;
mod wire;
mod worker;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use tokio::sync::{Mutex, MutexGuard};

pub(super) use self::settings::DEFINITION;
use self::worker::Worker;
pub use self::{
    config::{Broker, Config, Mechanism, UNCONFIRMED},
    tls::Error,
};
use super::{Closed, Outcome, Policy, Prepared, Sink, Unusable};
use crate::{finding::Finding, record::Record, template::Template};

/// The largest frame that we agree to, in bytes. The client takes two buffers of 32 frames for each connection, 2 MiB at
/// this size. A broker that names a larger frame (RabbitMQ's default is 128 KiB), or none (`frame_max = 0`), would otherwise
/// decide how much memory we take. A larger body is sent in several frames.
const FRAME_MAX: u32 = 32 << 10;

/// Publishes records, and waits for the broker's confirms.
#[derive(Debug)]
pub struct Amqp {
    settings: Settings,
    workers: Vec<Mutex<Worker>>,
}

/// The settings of all workers.
struct Settings {
    /// Its scheme is always `amqp`: the sink sets up TLS itself.
    uri: AMQPUri,
    /// The broker's address without credentials, for messages.
    shown: String,
    tls: Option<Arc<rustls::ClientConfig>>,
    exchange: Template,
    routing_key: Template,
    mandatory: bool,
    cluster: Option<String>,
}

impl std::fmt::Debug for Settings {
    /// The URI has the password in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("broker", &self.shown).finish_non_exhaustive()
    }
}

impl Amqp {
    /// A sink with these settings; `cluster` is the label of this cluster. Connects at the first send.
    ///
    /// # Errors
    /// A TLS file cannot be used.
    pub fn new(config: Config, cluster: Option<&str>) -> Result<Self, Error> {
        let Config { broker, exchange, routing_key, workers, mandatory, tls } = config;
        let tls = if broker.secure { Some(tls::client(&tls)?) } else { None };
        let scheme = if broker.secure { "amqps" } else { "amqp" };
        let shown = format!("{scheme}://{}:{}", broker.host, broker.port);
        let uri = AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo { username: broker.user, password: broker.password.expose().to_owned() },
                host: broker.host,
                port: broker.port,
            },
            vhost: broker.vhost,
            query: AMQPQueryString {
                frame_max: Some(FRAME_MAX),
                heartbeat: Some(broker.heartbeat),
                auth_mechanism: Some(match broker.mechanism {
                    Mechanism::Plain => SASLMechanism::Plain,
                    Mechanism::External => SASLMechanism::External,
                }),
                ..AMQPQueryString::default()
            },
        };
        let settings =
            Settings { uri, shown, tls, exchange, routing_key, mandatory, cluster: cluster.map(str::to_owned) };
        let workers = (0..workers.max(1)).map(|_| Mutex::default()).collect();
        Ok(Amqp { settings, workers })
    }

    async fn publish(&self, batch: &[Record]) -> Vec<Outcome> {
        self.free_worker().await.send(&self.settings, batch).await
    }

    /// The first one that is free: with few records there is one connection.
    async fn free_worker(&self) -> MutexGuard<'_, Worker> {
        match self.workers.iter().find_map(|worker| worker.try_lock().ok()) {
            Some(worker) => worker,
            // Not while the delivery keeps to the policy.
            None => self.workers[0].lock().await,
        }
    }
}

/// As many batches at a time as there are connections.
impl Sink for Amqp {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.publish(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        let sink = Amqp::new(self.clone(), cluster).map_err(Unusable::new)?;
        Ok((Box::new(sink), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }
}
