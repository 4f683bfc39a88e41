//! Tries each server without a record: TLS, login, and whether it takes the topic. A topic need not exist: the first record creates it.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Config, Nsq, Settings,
    fault::{Fault, Said, judged},
    proto, share,
    wire::{Answer, Link},
};
use crate::finding::{Finding, State};

const WHAT: &str = "sink nsq";
const TOPIC: &str = "sink nsq topic";

/// How long nsqd may take to answer a command.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let nsq = match Nsq::new(config.clone()) {
        Ok(nsq) => nsq,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    let mut findings = Vec::new();
    if timeout(within, tried(&nsq.settings, &mut findings)).await.is_err() {
        let text = format!("nsqd did not answer within {within:.1?}");
        findings.push(Finding::failed(WHAT, text, "check the servers, and SINK_NSQ_ADDR"));
    }
    findings
}

async fn tried(settings: &Settings, findings: &mut Vec<Finding>) {
    let Settings { config, tls } = settings;
    for server in &config.servers {
        match Link::connect(config, tls, server, share(config.servers.len())).await {
            Ok(mut link) => {
                findings.push(Finding::ok(WHAT, format!("{server}: connected, nsqd {}", link.version())));
                if let Err(fault) = refusal(config, &mut link).await {
                    findings.push(of_fault(TOPIC, &fault));
                }
            }
            Err(fault) => findings.push(of_fault(WHAT, &fault)),
        }
    }
    if findings.iter().all(|finding| finding.state != State::Failed) {
        findings.push(match config.topic.constant() {
            Some(topic) => Finding::ok(TOPIC, format!("{topic}: the first record creates it if it does not exist")),
            None => {
                let text = "its name has fields of the record in it (SINK_NSQ_TOPIC_NAME); try one with --send-test";
                Finding::skipped(TOPIC, text)
            }
        });
    }
}

/// Publishes an empty message, which nsqd refuses, but not before it has checked whether this connection may publish at all (TLS) and the topic's
/// name.
async fn refusal(config: &Config, link: &mut Link) -> Result<(), Fault> {
    let mut frame = Vec::new();
    proto::command(&mut frame, &format!("PUB {}", config.topic.constant().unwrap_or("nomad-firehose")), b"");
    link.write(&frame, ANSWER).await?;
    match timeout(ANSWER, link.answer()).await {
        Ok(Ok(Answer::Error(words))) => match judged(link.server(), &words) {
            Said::Fault(fault) => Err(fault),
            Said::Message(_) | Said::Body(_) | Said::Data(_) => Ok(()),
        },
        Ok(Err(fault)) => Err(fault),
        Ok(Ok(Answer::Taken)) | Err(_) => Ok(()),
    }
}

fn of_fault(what: &'static str, fault: &Fault) -> Finding {
    let fix = "check that nsqd runs there, and SINK_NSQ_ADDR";
    Finding::of_error_or(what, &fault.reason, fix).with_words_behind_cause()
}
