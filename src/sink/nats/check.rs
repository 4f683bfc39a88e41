//! Tries each server without a record: login, and the stream that is bound to the subject.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    Config, Nats, Settings,
    fault::Fault,
    proto,
    wire::{Arrival, Link},
};
use crate::finding::Finding;

const WHAT: &str = "sink nats";
const STREAM: &str = "sink nats stream";

/// How long JetStream may take to answer a question.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let nats = match Nats::new(config.clone(), None) {
        Ok(nats) => nats,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    let mut findings = Vec::new();
    if timeout(within, tried(&nats.settings, &mut findings)).await.is_err() {
        let text = format!("NATS did not answer within {within:.1?}");
        findings.push(Finding::failed(WHAT, text, "check the servers, and SINK_NATS_URL"));
    }
    findings
}

async fn tried(settings: &Settings, findings: &mut Vec<Finding>) {
    let Settings { config, tls, .. } = settings;
    let mut first = None;
    let share = super::DEADLINE / u32::try_from(config.servers.len()).unwrap_or(u32::MAX).max(1);
    for server in &config.servers {
        match Link::connect(config, tls, server, share).await {
            Ok(link) => {
                let name = &link.info().server_name;
                findings.push(Finding::ok(WHAT, format!("{server}: logged in, NATS {} ({name})", link.info().version)));
                first.get_or_insert(link);
            }
            Err(fault) => {
                let fix = "check that NATS runs there, and SINK_NATS_URL";
                findings.push(Finding::of_error_or(WHAT, &fault.reason, fix).with_words_behind_cause());
            }
        }
    }
    if let Some(link) = first {
        findings.push(stream(config, &link).await);
    }
}

async fn stream(config: &Config, link: &Link) -> Finding {
    let name = match (&config.stream, config.subject.constant()) {
        (Some(name), _) => name.clone(),
        (None, Some(subject)) => match ask(link, "$JS.API.STREAM.NAMES", json!({"subject": subject})).await {
            Ok(answer) => match answer["streams"][0].as_str() {
                Some(name) => name.to_owned(),
                None => {
                    let text = format!("no stream is bound to the subject {subject}");
                    return Finding::failed(STREAM, text, "create one, or correct SINK_NATS_SUBJECT");
                }
            },
            Err(why) => return Finding::skipped(STREAM, why),
        },
        (None, None) => {
            let text = "the subject has fields of the record in it (SINK_NATS_SUBJECT); try one with --send-test";
            return Finding::skipped(STREAM, text);
        }
    };
    match ask(link, &format!("$JS.API.STREAM.INFO.{name}"), Value::Null).await {
        Ok(answer) if answer["error"]["code"] == 404 => {
            Finding::failed(STREAM, format!("there is no stream {name}"), "create it, or correct SINK_NATS_STREAM")
        }
        Ok(answer) => {
            let config = &answer["config"];
            let window = Duration::from_nanos(config["duplicate_window"].as_u64().unwrap_or_default());
            let replicas = config["num_replicas"].as_u64().unwrap_or(1);
            Finding::ok(STREAM, format!("{name}: {replicas} replicas, duplicate window {window:?}"))
        }
        Err(why) => Finding::skipped(STREAM, why),
    }
}

/// Asks JetStream. Who may publish need not have the right to ask.
async fn ask(link: &Link, subject: &str, question: Value) -> Result<Value, String> {
    let question = if question.is_null() { String::new() } else { question.to_string() };
    let asked = async {
        let mut ticket = link.ticket(1)?;
        let mut frame = Vec::new();
        proto::publish(&mut frame, subject, &ticket.inbox(0), b"NATS/1.0\r\n\r\n", question.as_bytes());
        link.writing().await.all(&frame, ANSWER).await?;
        ticket.arrivals.recv().await.ok_or_else(|| link.fault())
    };
    let failed = |fault: Fault| fault.reason;
    match timeout(ANSWER, asked).await {
        Ok(Ok(Arrival::Answer(_, message))) if message.status() == Some(503) => {
            Err("JetStream does not answer questions of this user; try a record with --send-test".to_owned())
        }
        Ok(Ok(Arrival::Answer(_, message))) => {
            serde_json::from_slice(&message.payload).map_err(|error| format!("JetStream's answer is no JSON: {error}"))
        }
        Ok(Ok(Arrival::Denied(_, _))) => {
            Err(format!("the user may not ask for streams ({subject}); try a record with --send-test"))
        }
        Ok(Err(fault)) => Err(failed(fault)),
        Err(_) => Err(format!("JetStream did not answer within {ANSWER:?}; try a record with --send-test")),
    }
}
