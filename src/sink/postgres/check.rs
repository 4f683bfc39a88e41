//! Tries each server without writing: login, and all that a batch does with the tables, without a record and taken back.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Config, Postgres, Settings,
    fault::Fault,
    session::{DEADLINE, Session, shown},
};
use crate::finding::Finding;

const WHAT: &str = "sink postgres";
const TABLE: &str = "sink postgres table";

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let postgres = match Postgres::new(config.clone(), None) {
        Ok(postgres) => postgres,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    let mut findings = Vec::new();
    if timeout(within, tried(&postgres.settings, &mut findings)).await.is_err() {
        let text = format!("PostgreSQL did not answer within {within:.1?}");
        findings.push(Finding::failed(WHAT, text, "check the server, its locks, and SINK_POSTGRES_URL"));
    }
    findings
}

async fn tried(settings: &Settings, findings: &mut Vec<Finding>) {
    let Settings { config, .. } = settings;
    let share = DEADLINE / u32::try_from(config.servers.len()).unwrap_or(u32::MAX).max(1);
    let (mut first, mut failed) = (None, Vec::new());
    for place in &config.servers {
        match Session::open_at(settings, place, share).await {
            Ok(session) => {
                let Config { user, database, .. } = config;
                let text = format!(
                    "{}: PostgreSQL {}, logged in as {user:?}, database {database:?}",
                    shown(place),
                    session.version()
                );
                findings.push(Finding::ok(WHAT, text));
                first.get_or_insert(session);
            }
            Err(fault) => failed.push(of_fault(WHAT, &fault)),
        }
    }
    // One that takes writes is enough; the others are its standbys, or away.
    let is_enough = first.is_some();
    findings.extend(failed.into_iter().map(|found| match found.fix {
        Some(ref fix) if is_enough => Finding::warning(WHAT, &found.text, fix),
        _ => found,
    }));
    let Some(mut session) = first else { return };
    if session.encoding() != "UTF8" {
        let text = format!("the database stores text as {}, which has not all characters", session.encoding());
        findings.push(Finding::warning("sink postgres encoding", text, "create the database with ENCODING 'UTF8'"));
    }
    for kind in &config.kinds {
        let table = config.tables.of(*kind);
        let is_there = session.exists(&table).await;
        let found = match session.rehearse(settings, *kind).await {
            Ok(()) if matches!(is_there, Ok(true)) => {
                Finding::ok(TABLE, format!("{table} has the columns, and the user may write to it"))
            }
            Ok(()) => Finding::ok(TABLE, format!("{table} does not exist yet; the user may create it and write to it")),
            Err(fault) => {
                let found = of_fault(TABLE, &fault);
                Finding::failed(TABLE, format!("{table}: {}", found.text), found.fix.unwrap_or_default())
            }
        };
        if !findings.contains(&found) {
            findings.push(found);
        }
    }
}

fn of_fault(what: &str, fault: &Fault) -> Finding {
    Finding::of_error_or(what, &fault.reason, "check that PostgreSQL runs there, and SINK_POSTGRES_URL")
        .with_words_behind_cause()
}
