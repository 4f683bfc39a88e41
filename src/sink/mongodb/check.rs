//! Tries the servers without writing: login, a primary, and the right to read the collection.

use std::time::Duration;

use ::mongodb::bson::{Bson, doc};
use tokio::time::timeout;

use super::{Config, Mongodb, Settings, fault::Fault};
use crate::finding::Finding;

const WHAT: &str = "sink mongodb";

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let mongodb = match Mongodb::new(config.clone(), None) {
        Ok(mongodb) => mongodb,
        Err(error) => return vec![Finding::of_setting(WHAT, error)],
    };
    let mut findings = Vec::new();
    match timeout(within, tried(&mongodb, &mut findings)).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => findings.push(of_fault(&fault)),
        Err(_) => {
            let text = format!("{} did not answer within {within:.1?}", config.shown);
            findings.push(Finding::failed(WHAT, text, "check the servers, and SINK_MONGODB_CONNECTION"));
        }
    }
    findings
}

async fn tried(mongodb: &Mongodb, findings: &mut Vec<Finding>) -> Result<(), Fault> {
    let Settings { config, .. } = &mongodb.settings;
    let Config { database: name, collection, shown, .. } = config;
    let database = mongodb.database().await?;
    let of = |error| Fault::of(&error, shown);
    let hello = database.run_command(doc! {"hello": 1}).await.map_err(of)?;
    // Asks for a login where there are users, and for the right to read.
    let find = doc! {"find": collection, "filter": {"_id": "nomad-firehose-check"}, "limit": 1};
    database.run_command(find).await.map_err(of)?;
    findings.push(Finding::ok(WHAT, format!("{shown}: a primary answers, and the user may read {name}.{collection}")));
    if !hello.contains_key("setName") && hello.get("msg") != Some(&Bson::String("isdbgrid".to_owned())) {
        let text = "the server is no member of a replica set: a crash of its machine can lose what counts as delivered";
        findings.push(Finding::warning("sink mongodb servers", text, "use a replica set for records that matter"));
    }
    findings.push(Finding::skipped("sink mongodb rights", "the right to insert is not tried; try it with --send-test"));
    Ok(())
}

fn of_fault(fault: &Fault) -> Finding {
    Finding::of_error_or(WHAT, &fault.reason, "check that MongoDB runs there, and SINK_MONGODB_CONNECTION")
        .with_words_behind_cause()
}
