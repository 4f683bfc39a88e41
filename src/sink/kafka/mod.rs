//! Writes to topics of Apache Kafka with an idempotent producer and `acks=all`. Delivered means that all replicas in sync have the
//! record.
//!
//! The client library (librdkafka) has a queue and threads of its own. Several batches can be in its hands: the sink puts their
//! records into the queue in the order in which it was asked, and then waits for their reports. Within a batch's deadline the client
//! sends again what had no answer; the sequence numbers of the idempotent producer keep that free of repeats and in order.
//!
//! | Report | Outcome |
//! |---|---|
//! | acknowledged | delivered |
//! | too large, or invalid, alone in its request | reject |
//! | too large, or invalid, with others in the request | retry, in smaller requests |
//! | unknown topic, not allowed, refused by a policy | retry; another producer asks again |
//! | no acknowledgement within `SINK_KAFKA_TIMEOUT`, any other error | retry |
//! | no broker for 2 s, login or TLS refused, the lease is over, the future is dropped | retry; the producer is closed with all that it holds |
//!
//! The next producer begins when the last one is gone with its connections: what the client itself still holds can no longer leave. What
//! the kernel holds of a closed connection can: after a partition of the network it may still reach the broker, behind what the new
//! producer has sent again. To Kafka those are messages of two producers, so it takes both: repeats, behind newer messages of a key. A
//! close that discards them would need a callback in C (`closesocket_cb`), and this crate has no unsafe code.

mod check;
mod client;
mod config;
mod fault;
mod flight;
mod link;
mod message;
mod producer;
mod reports;
mod settings;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

pub use self::config::{Compression, Config, Files, Login, Mechanism};
pub(super) use self::settings::DEFINITION;
use self::{flight::Flight, link::Links, message::Message};
use super::{Closed, Outcome, Policy, Prepared, Sink, Unusable};
use crate::{finding::Finding, record::Record};

/// Writes records to topics.
#[derive(Debug)]
pub struct Kafka {
    config: Arc<Config>,
    cluster: Option<String>,
    links: Links,
}

impl Kafka {
    /// A sink with these settings; `cluster` is the label of this cluster. Connects at the first send.
    ///
    /// # Errors
    /// A file of TLS cannot be used.
    pub fn new(config: Config, cluster: Option<&str>) -> Result<Self, Unusable> {
        client::certificates(&config)?;
        client::settings(&config, client::REQUEST_BYTES)?;
        let config = Arc::new(config);
        let links = Links::new(Arc::clone(&config));
        Ok(Kafka { config, cluster: cluster.map(str::to_owned), links })
    }

    async fn write(&self, batch: &[Record]) -> Vec<Outcome> {
        // Held until all records are in the client's queue: batches get there in the order in which they were asked for.
        let mut turn = self.links.turn().await;
        let slot = match turn.slot().await {
            Ok(slot) => slot,
            Err(fault) => return batch.iter().map(|_| fault.outcome()).collect(),
        };
        let mut flight = Flight::new(&self.config, batch, slot);
        flight.start(self.cluster.as_deref());
        drop(turn);
        flight.land().await
    }
}

impl Sink for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.write(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Kafka::new(self.clone(), cluster)?), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }
}
