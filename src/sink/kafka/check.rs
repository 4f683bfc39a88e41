//! Tries the brokers without a record: connection, login, and whether the topic is there.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    error::{KafkaResult, RDKafkaErrorCode},
    metadata::Metadata,
    producer::Producer as _,
};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    Config, client,
    fault::Fault,
    producer::{Native, Producer, code_of},
};
use crate::{finding::Finding, sink::ErrorClass};

const WHAT: &str = "sink kafka";
const TOPIC: &str = "sink kafka topic";

/// How soon a failure is noticed.
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let mut settings = match client::settings(config, client::REQUEST_BYTES) {
        Ok(settings) => settings,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    // To ask for a topic must not create it.
    settings.set("allow.auto.create.topics", "false");
    let producer = match Producer::start_with(config, &settings) {
        Ok((producer, _)) => producer,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    let brokers = config.brokers();
    let asked = tokio::select! {
        fault = until_failed(&producer) => Err(fault),
        asked = timeout(within, ask(&producer, config.topic.constant(), within)) => asked.ok().flatten().ok_or_else(|| {
            let words = format!("{brokers} did not answer within {within:.1?}; check the brokers, and SINK_KAFKA_BROKERS");
            Fault::new(ErrorClass::Timeout, words)
        }),
    };
    let metadata = match asked {
        Ok(metadata) => metadata,
        Err(fault) => {
            return vec![
                Finding::of_error_or(WHAT, fault.reason(), "check the brokers, and SINK_KAFKA_BROKERS")
                    .with_words_behind_cause(),
            ];
        }
    };
    let login = if config.login.is_some() { "logged in, " } else { "" };
    let found = Finding::ok(WHAT, format!("{brokers}: {login}{} brokers", metadata.brokers().len()));
    vec![found, topic(config, &metadata)]
}

/// The first failure that will not pass by itself while we wait.
async fn until_failed(producer: &Producer) -> Fault {
    loop {
        if let Some(fault) = producer.last_fault() {
            // The next words can say more than those of a connection that ended.
            sleep(2 * LOOK).await;
            return producer.last_fault().unwrap_or(fault);
        }
        sleep(LOOK).await;
    }
}

/// What the brokers say about themselves and about the topic; `None` if they say nothing.
async fn ask(producer: &Producer, topic: Option<&str>, within: Duration) -> Option<Metadata> {
    let native = producer.native()?;
    // All topics of a large cluster can be megabytes: without a topic of ours, one that cannot be there is asked for.
    let topic = topic.unwrap_or("nomad-firehose-check").to_owned();
    let ask = move |native: Arc<Native>| -> KafkaResult<Metadata> {
        native.producer.client().fetch_metadata(Some(&topic), within)
    };
    match spawn_blocking(move || ask(native)).await {
        Ok(Ok(metadata)) => Some(metadata),
        Ok(Err(error)) => {
            tracing::debug!(code = ?code_of(&error), "kafka client did not answer");
            // The client says more, if it knows more.
            sleep(4 * LOOK).await;
            None
        }
        Err(_) => None,
    }
}

fn topic(config: &Config, metadata: &Metadata) -> Finding {
    let Some(name) = config.topic.constant() else {
        let text = "its name has fields of the record in it (SINK_KAFKA_TOPIC); try one with --send-test";
        return Finding::skipped(TOPIC, text);
    };
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Finding::skipped(TOPIC, format!("the brokers say nothing about {name}"));
    };
    let code = topic.error().map(RDKafkaErrorCode::from);
    match code {
        None => {
            let partitions = topic.partitions().len();
            let led = topic.partitions().iter().filter(|partition| partition.leader() >= 0).count();
            let text = format!("{name}: {partitions} partitions");
            if led < partitions {
                let text = format!("{text}, {} without a leader", partitions - led);
                return Finding::warning(TOPIC, text, "start the brokers that have them");
            }
            Finding::ok(TOPIC, format!("{text}; whether the user may write shows with --send-test"))
        }
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
            let fix = "create it, or correct SINK_KAFKA_TOPIC; brokers with auto.create.topics.enable create it with the first record";
            Finding::warning(TOPIC, format!("{name} does not exist, or the user may not see it"), fix)
        }
        Some(code) => Finding::of_error(TOPIC, Fault::of_record(code, name, config.timeout).reason()),
    }
}
