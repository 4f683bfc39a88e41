//! Tries the broker without a message: login, exchange, and the right to write to it.

use std::time::Duration;

use futures_util::future::join;
use lapin::{
    BasicProperties, Channel, ExchangeKind,
    options::{BasicPublishOptions, ExchangeDeclareOptions},
    types::FieldTable,
};
use tokio::time::timeout;

use super::{Amqp, Config, Settings, fault::Fault, wire::Wire};
use crate::finding::Finding;

const WHAT: &str = "sink amqp";

/// The routing key where the setting has fields of the record.
const NO_KEY: &str = "nomad-firehose-check";

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let amqp = match Amqp::new(config.clone(), None) {
        Ok(amqp) => amqp,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    let settings = &amqp.settings;
    let mut findings = Vec::new();
    if timeout(within, tried(settings, &mut findings)).await.is_err() {
        let text = format!("{} did not answer within {within:.1?}", settings.shown);
        findings.push(Finding::failed(WHAT, text, "check the broker, and SINK_AMQP_CONNECTION"));
    }
    findings
}

async fn tried(settings: &Settings, findings: &mut Vec<Finding>) {
    let mut wire = match Wire::connect(settings).await {
        Ok(wire) => wire,
        Err(fault) => return findings.push(of_fault(WHAT, &fault)),
    };
    let vhost = &settings.uri.vhost;
    findings.push(Finding::ok(WHAT, format!("{}: logged in, virtual host {vhost}", settings.shown)));
    if let Some(fault) = wire.blocked() {
        findings.push(Finding::warning(
            "sink amqp flow",
            fault.reason(),
            "free memory or disk of the broker (rabbitmqctl status)",
        ));
    }
    const EXCHANGE: &str = "sink amqp exchange";
    let Some(exchange) = settings.exchange.constant() else {
        let text = "its name has fields of the record in it (SINK_AMQP_EXCHANGE); try one with --send-test";
        return findings.push(Finding::skipped(EXCHANGE, text));
    };
    let channel = match wire.plain_channel(settings).await {
        Ok(channel) => channel,
        Err(fault) => return findings.push(of_fault(EXCHANGE, &fault)),
    };
    let found = match on_exchange(&channel, exchange, settings.routing_key.constant()).await {
        Ok(()) => Finding::ok(EXCHANGE, format!("{exchange:?} exists, and the user may write to it")),
        Err(error) => {
            let fault = match Fault::of(&error, settings) {
                // The exchange exists, so only a refusal of the message closes the channel.
                Fault::Channel(_) => Fault::Refused(
                    "access refused, by a closed channel; correct the user's permissions to write to it".to_owned(),
                ),
                fault => fault,
            };
            let Finding { text, fix, .. } = of_fault(EXCHANGE, &fault);
            Finding::failed(EXCHANGE, format!("{exchange:?}: {text}"), fix.unwrap_or_default())
        }
    };
    findings.push(found);
}

/// A message in a transaction that is rolled back reaches no queue, but RabbitMQ checks the right to write as soon as it arrives.
async fn on_exchange(channel: &Channel, exchange: &str, routing_key: Option<&str>) -> Result<(), lapin::Error> {
    // The default exchange always exists, and no client may declare it.
    if !exchange.is_empty() {
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(exchange.into(), ExchangeKind::Topic, passive, FieldTable::default()).await?;
    }
    channel.tx_select().await?;
    let key = routing_key.unwrap_or(NO_KEY);
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let publish = channel.basic_publish(exchange.into(), key.into(), options, b"", properties);
    // A refusal closes the channel at once: only a call that waits by then learns the reason.
    let (published, rolled_back) = join(publish, channel.tx_rollback()).await;
    rolled_back?;
    // The first call may have overtaken the message.
    channel.tx_rollback().await?;
    published.map(drop)
}

fn of_fault(what: &str, fault: &Fault) -> Finding {
    Finding::of_error_or(what, fault.reason(), "check that the broker runs there, and SINK_AMQP_CONNECTION")
        .with_words_behind_cause()
}
