//! Publishes to an exchange of RabbitMQ (AMQP 0-9-1) with publisher confirms. Delivered means confirmed.
//!
//! A batch is shared out to workers by the key of its records. Each worker has a connection of its own, puts its share on
//! the wire at once, and then waits for the confirms. A key always goes to the same worker, so its order holds.
//!
//! When the sink gives up a connection, it drops the unconfirmed messages with it: nothing in a buffer is sent later.

mod check;
mod config;
mod fault;
mod settings;
mod tls;
mod wire;
mod worker;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures_util::future::{self, BoxFuture};
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use tokio::sync::Mutex;
use xxhash_rust::xxh3::xxh3_64;

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
    settings: Arc<Settings>,
    workers: Vec<Worker>,
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
        let workers = (0..workers.max(1)).map(|_| Worker::default()).collect();
        Ok(Amqp { settings: Arc::new(settings), workers })
    }

    async fn publish(&mut self, batch: &[Record]) -> Vec<Outcome> {
        let mut shares = vec![Vec::new(); self.workers.len()];
        for (number, record) in batch.iter().enumerate() {
            shares[worker_of(&record.key, self.workers.len())].push(number);
        }
        let settings = &self.settings;
        let sends = self.workers.iter_mut().zip(&shares).map(|(worker, share)| worker.send(settings, batch, share));
        let mut answers: Vec<(usize, Outcome)> = future::join_all(sends).await.into_iter().flatten().collect();
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, outcome)| outcome).collect()
    }
}

/// Which of `workers` a key belongs to.
fn worker_of(key: &str, workers: usize) -> usize {
    let hash = xxh3_64(key.as_bytes()) % workers as u64;
    usize::try_from(hash).expect("it is less than a usize")
}

/// One batch at a time.
impl Sink for Mutex<Amqp> {
    fn name(&self) -> &'static str {
        "amqp"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.lock().await.publish(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        let sink = Amqp::new(self.clone(), cluster).map_err(Unusable::new)?;
        Ok((Box::new(Mutex::new(sink)), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }
}
