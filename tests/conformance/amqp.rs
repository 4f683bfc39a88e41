//! The sink `amqp`: an exchange and a queue of their own for each check, on one node of RabbitMQ.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU32, Ordering},
};

use futures_util::{FutureExt as _, StreamExt as _};
use lapin::{
    Channel, Connection, Consumer, ExchangeKind,
    options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::sync::Mutex;

use crate::{
    common::{gate::Gate, order::Leaps, queue, rabbitmq::Rabbitmq},
    rig::{Cause, Rig, suffer_at},
};

const SECRET: &str = "hush-hush";

/// The node that checks share as long as any of them runs.
static NODE: Mutex<Weak<Rabbitmq>> = Mutex::const_new(Weak::new());

async fn node() -> Arc<Rabbitmq> {
    let mut shared = NODE.lock().await;
    if let Some(node) = shared.upgrade() {
        return node;
    }
    let node = Arc::new(Rabbitmq::start().await);
    node.ctl(&["add_user", "writer", SECRET]).await;
    node.ctl(&["set_permissions", "writer", "", ".*", ""]).await;
    *shared = Arc::downgrade(&node);
    node
}

/// A broker behind a gate, and a consumer that does not go through it.
struct Amqp {
    gate: Gate,
    /// The name of exchange and queue.
    name: String,
    /// The queue that is full, where there is one.
    full: Option<String>,
    channel: Channel,
    consumer: Consumer,
    _connection: Connection,
    _node: Arc<Rabbitmq>,
}

impl Amqp {
    async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let node = node().await;
        let name = format!("check-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let (connection, channel) = queue::channel(&node).await;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let declared =
            channel.exchange_declare(name.as_str().into(), ExchangeKind::Topic, durable, FieldTable::default());
        declared.await.expect("an exchange");
        let gate = Gate::start(node.url().rsplit('@').next().expect("a host").trim_end_matches('/')).await;
        declare(&channel, &name, FieldTable::default()).await;
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(name.as_str().into(), "".into(), options, FieldTable::default()).await;
        let consumer = consumer.expect("a consumer");
        let rig = Amqp { gate, name, full: None, channel, consumer, _connection: connection, _node: node };
        for task_cursor in ["default", "busy", "other"] {
            rig.bind(&rig.name, task_cursor).await;
        }
        rig
    }

    async fn bind(&self, queue: &str, task_cursor: &str) {
        let options = QueueBindOptions::default();
        let (exchange, key) = (self.name.as_str().into(), pattern(task_cursor).into());
        let bound = self.channel.queue_bind(queue.into(), exchange, key, options, FieldTable::default());
        bound.await.expect("a binding");
    }

    async fn unbind(&self, task_cursor: &str) {
        let (queue, exchange) = (self.name.as_str().into(), self.name.as_str().into());
        let unbound = self.channel.queue_unbind(queue, exchange, pattern(task_cursor).into(), FieldTable::default());
        unbound.await.expect("there was a binding");
    }
}

fn pattern(task_cursor: &str) -> String {
    format!("nomad.{task_cursor}.#")
}

async fn declare(channel: &Channel, queue: &str, arguments: FieldTable) {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), options, arguments).await.expect("a queue");
}

impl Rig for Amqp {
    /// A message that is not confirmed does not hold those behind it.
    const LEAPS: Leaps = Leaps::SentAgain;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow];
    const REFUSAL: &'static str = "no queue is bound for";
    const SECRETS: &'static [&'static str] = &[SECRET];

    // Two of 32 frames for the one connection.
    const BUFFERS: u64 = 2 * 32 * (32 << 10);

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "amqp".into()),
            ("SINK_AMQP_CONNECTION", format!("amqp://writer:{SECRET}@{}/", self.gate.addr())),
            ("SINK_AMQP_EXCHANGE", self.name.clone()),
            ("SINK_AMQP_ROUTING_KEY", "nomad.{TriggeredBy}.{Namespace}".into()),
            ("SINK_AMQP_WORKERS", "2".into()),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        // The answer comes behind all that the queue has handed out before.
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let declared = self.channel.queue_declare(self.name.as_str().into(), options, FieldTable::default());
        declared.await.expect("the queue is there");
        let mut more = Vec::new();
        while let Some(Some(delivery)) = self.consumer.next().now_or_never() {
            more.push(String::from_utf8(delivery.expect("a message").data.to_vec()).expect("UTF-8"));
        }
        more
    }

    async fn suffer(&mut self, cause: Cause) {
        match cause {
            // A queue that may hold nothing and refuses what it cannot hold: the broker does not confirm (nack).
            Cause::Partial => {
                let full = format!("{}-full", self.name);
                let mut arguments = FieldTable::default();
                arguments.insert("x-max-length".into(), AMQPValue::LongInt(0));
                arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
                declare(&self.channel, &full, arguments).await;
                self.bind(&full, "busy").await;
                self.unbind("busy").await;
                self.full = Some(full);
            }
            Cause::Refusing => self.unbind("other").await,
            cause => suffer_at(&self.gate, cause),
        }
    }

    async fn recover(&mut self) {
        self.gate.open();
        for task_cursor in ["busy", "other"] {
            self.bind(&self.name, task_cursor).await;
        }
        if let Some(full) = self.full.take() {
            let deleted = self.channel.queue_delete(full.as_str().into(), QueueDeleteOptions::default());
            deleted.await.expect("it was there");
        }
    }
}

suite! {
    Amqp::start().await;
    order_per_key: passes,
    partial_failure: passes,
    unknown_outcome: passes,
    reject_with_stop: passes,
    reject_to_file: passes,
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: passes,
    kill_in_mid_batch: passes,
}
