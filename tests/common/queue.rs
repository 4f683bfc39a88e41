//! An exchange, a queue that keeps what comes, and what is in it.

use futures_util::StreamExt as _;
use lapin::{
    Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicAckOptions, BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
        QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};

use super::{PATIENCE, rabbitmq::Rabbitmq};

/// The exchange.
pub const EXCHANGE: &str = "nomad";
const QUEUE: &str = "all";

/// A message as a consumer sees it.
pub struct Message {
    pub id: String,
    pub key: String,
    pub body: String,
    pub properties: lapin::BasicProperties,
}

/// A connection, which has to live as long as its channel, and that.
pub async fn channel(rabbitmq: &Rabbitmq) -> (Connection, Channel) {
    // A broker may set no limit on frames, and the client's buffers would have none either.
    let url = format!("{}%2f?frame_max=131072", rabbitmq.url());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await;
    let connection = connection.expect("RabbitMQ takes connections");
    let channel = connection.create_channel().await.expect("a channel");
    (connection, channel)
}

/// Makes the exchange.
pub async fn declare_exchange(channel: &Channel) {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, options, FieldTable::default());
    declared.await.expect("an exchange");
}

/// The same exchange and a queue that gets all that comes to it, from its first moment on: between the declaration of an
/// exchange and that of a binding to it, a message has no queue to go to.
pub async fn declare_bound_exchange(channel: &Channel) {
    const SPARE: &str = "spare";
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), options, FieldTable::default()).await.expect("a queue");
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(SPARE.into(), ExchangeKind::Fanout, options, FieldTable::default());
    declared.await.expect("an exchange");
    let (key, options) = ("".into(), QueueBindOptions::default());
    let bound = channel.queue_bind(QUEUE.into(), SPARE.into(), key, options, FieldTable::default());
    bound.await.expect("a binding");
    let mut arguments = FieldTable::default();
    arguments.insert("alternate-exchange".into(), AMQPValue::LongString(SPARE.into()));
    let declared = channel.exchange_declare(
        EXCHANGE.into(),
        ExchangeKind::Topic,
        ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() },
        arguments,
    );
    declared.await.expect("an exchange");
}

/// The queue that keeps all messages with such keys, also over a restart.
pub async fn declare_queue(channel: &Channel, pattern: &str) {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), options, FieldTable::default()).await.expect("a queue");
    let bound = channel.queue_bind(
        QUEUE.into(),
        EXCHANGE.into(),
        pattern.into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.expect("a binding");
}

/// Throws away what is in the queue.
pub async fn purge(channel: &Channel) {
    channel.queue_purge(QUEUE.into(), QueuePurgeOptions::default()).await.expect("the queue is there");
}

/// How many messages wait in the queue.
pub async fn waiting(rabbitmq: &Rabbitmq) -> u32 {
    let (_connection, channel) = channel(rabbitmq).await;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), options, FieldTable::default()).await.expect("it is there").message_count()
}

/// Passes messages on in the order of the queue, id and body, until `last` says that it was the last one. Nothing is kept
/// of them.
pub async fn drain(rabbitmq: &Rabbitmq, mut last: impl FnMut(&str, &str) -> bool) {
    let (_connection, channel) = channel(rabbitmq).await;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let mut consumer =
        channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await.expect("a consumer");
    loop {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("the queue has what is due");
        let delivery = next.expect("the queue is there").expect("a message");
        let id = delivery.properties.message_id().as_ref().expect("an id");
        if last(id.as_str(), std::str::from_utf8(&delivery.data).expect("UTF-8")) {
            return;
        }
    }
}

/// Takes messages until so many different ids have come, in the order of the queue.
pub async fn take(rabbitmq: &Rabbitmq, ids: usize) -> Vec<Message> {
    let (_connection, channel) = channel(rabbitmq).await;
    let consuming =
        channel.basic_consume(QUEUE.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consuming.await.expect("a consumer");
    let mut messages = Vec::new();
    let mut seen = std::collections::HashSet::new();
    while seen.len() < ids {
        let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
        let delivery = next.unwrap_or_else(|_| panic!("{} of {ids} records have come", seen.len()));
        let delivery = delivery.expect("the queue is there").expect("a message");
        delivery.ack(BasicAckOptions::default()).await.expect("an acknowledgement");
        let id = delivery.properties.message_id().as_ref().expect("an id").to_string();
        seen.insert(id.clone());
        messages.push(Message {
            id,
            key: delivery.routing_key.to_string(),
            body: String::from_utf8(delivery.data.to_vec()).expect("UTF-8"),
            properties: delivery.properties.clone(),
        });
    }
    messages
}
