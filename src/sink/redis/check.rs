//! Tries the server without writing: login, the type of the key, and the right to write to it.

use std::time::Duration;

use redis::{Value, cmd};
use tokio::time::timeout;

use super::{Config, Mode, Redis, Settings, fault::Fault, session::Session};
use crate::finding::Finding;

const WHAT: &str = "sink redis";
const KEY: &str = "sink redis key";

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let redis = match Redis::new(config.clone(), None) {
        Ok(redis) => redis,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    let settings = &redis.settings;
    let mut findings = Vec::new();
    match timeout(within, tried(settings, &mut findings)).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => findings.push(of_fault(WHAT, &fault)),
        Err(_) => {
            let text = format!("{} did not answer within {within:.1?}", settings.shown);
            findings.push(Finding::failed(WHAT, text, "check the server, and SINK_REDIS_URL"));
        }
    }
    findings
}

async fn tried(settings: &Settings, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let mut session = Session::open(settings).await?;
    let Settings { server, shown, key, .. } = settings;
    findings.push(Finding::ok(WHAT, format!("{shown}: logged in, database {}", server.database)));
    findings.extend(memory(&mut session, settings).await?);
    let Some(key) = key.constant() else {
        let text = "its name has fields of the record in it (SINK_REDIS_KEY); try one with --send-test";
        findings.push(Finding::skipped(KEY, text));
        return Ok(());
    };
    findings.push(match on_key(&mut session, key, settings).await {
        Ok(finding) => finding,
        Err(fault) if fault.is_answer => {
            let Finding { text, fix, .. } = of_fault(KEY, &fault);
            Finding::failed(KEY, format!("{key:?}: {text}"), fix.unwrap_or_default())
        }
        Err(fault) => return Err(fault),
    });
    Ok(())
}

/// Redis checks rights, memory and slot of a command as soon as a transaction takes it in; `DISCARD` then forgets it.
async fn on_key(session: &mut Session, key: &str, settings: &Settings) -> Result<Finding, Fault> {
    let mode = settings.mode;
    let is_there = match session.optional(cmd("TYPE").arg(key), settings).await? {
        Some(Value::SimpleString(found)) if mode != Mode::Channel && found != "none" && found != mode.name() => {
            let (text, name) = (format!("{key:?} is a {found}"), mode.name());
            let fix = format!("delete or rename it, or correct SINK_REDIS_KEY or SINK_REDIS_MODE, which is {name}");
            return Ok(Finding::failed(KEY, text, fix));
        }
        Some(Value::SimpleString(found)) => found != "none",
        _ => false,
    };
    session.call(&cmd("MULTI"), settings).await?;
    let mut command = cmd(mode.command());
    command.arg(key);
    if mode == Mode::Stream {
        command.arg("*").arg("check");
    }
    let tried = session.call(command.arg("nomad-firehose"), settings).await;
    session.call(&cmd("DISCARD"), settings).await?;
    tried?;
    let name = mode.name();
    Ok(Finding::ok(
        KEY,
        match (mode, is_there) {
            (Mode::Channel, _) => format!("the user may publish to the channel {key:?}"),
            (_, true) => format!("{key:?} is a {name}, and the user may write to it"),
            (_, false) => format!("{key:?} does not exist yet; the user may write a {name}"),
        },
    ))
}

/// A server that may forget what it has taken.
async fn memory(session: &mut Session, settings: &Settings) -> Result<Vec<Finding>, Fault> {
    let mut findings = Vec::new();
    if settings.mode == Mode::Channel {
        return Ok(findings);
    }
    if let Some(policy) = session.setting("maxmemory-policy", settings).await?
        && policy.starts_with("allkeys-")
    {
        let text = format!("with maxmemory-policy {policy}, Redis deletes the key when its memory is short");
        findings.push(Finding::warning("sink redis memory", text, "set maxmemory-policy noeviction for such a server"));
    }
    if session.setting("appendonly", settings).await?.as_deref() == Some("no") {
        let text = "without appendonly, a crash of Redis loses records that count as delivered";
        findings.push(Finding::warning(
            "sink redis disk",
            text,
            "set appendonly yes, or keep replicas and wait for them",
        ));
    }
    Ok(findings)
}

fn of_fault(what: &str, fault: &Fault) -> Finding {
    Finding::of_error_or(what, &fault.reason, "check that Redis runs there, and SINK_REDIS_URL")
        .with_words_behind_cause()
}
