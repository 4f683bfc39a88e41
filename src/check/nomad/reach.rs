//! Whether an address answers, and what answers there.

use std::time::Duration;

use tokio::sync::mpsc;

use super::words;
use crate::{
    cluster,
    finding::Finding,
    http::Address,
    nomad::{Agent, Client, Config, Error},
};

/// How long an address may take for one answer.
const WITHIN: Duration = Duration::from_secs(2);

/// Asks the agent at `address` alone. `answers` gets the settings for it as soon as it is known to answer.
pub(super) async fn reach(config: &Config, address: &Address, answers: mpsc::Sender<Config>) -> Finding {
    let what = format!("nomad {address}");
    let alone = Config { addresses: vec![address.clone()], ..config.clone() };
    let client = match Client::impatient(alone.clone(), WITHIN) {
        Ok(client) => client,
        Err(error) => return Finding::of_setting(what, error),
    };
    let leader = match client.leader(None).await {
        Ok(leader) if leader.is_empty() => {
            return Finding::failed(
                what,
                "it answers, but its cluster has no leader",
                "check the servers of the cluster",
            );
        }
        Ok(leader) => leader,
        Err(error) => return words::of_error(&what, &error, None),
    };
    // If another address was quicker, that one is asked.
    answers.try_send(alone).ok();
    let (agent, members, region) = tokio::join!(client.agent(), client.version(), cluster::region(&client));
    let version = match (&agent, &members) {
        (Ok(Agent { version, .. }), _) if !version.is_empty() => version.clone(),
        (_, Ok(Some(version))) => version.clone(),
        _ => "(unknown version)".to_owned(),
    };
    let region = region.ok().flatten().map(|region| format!(", region {region}")).unwrap_or_default();
    let text = format!("Nomad {version}{region}, leader {leader}");
    match (agent, members) {
        (Err(Error::Denied { .. }), Err(Error::Denied { .. })) => {
            Finding::ok(what, format!("{text} (the version needs agent {{ policy = \"read\" }})"))
        }
        _ => Finding::ok(what, text),
    }
}
