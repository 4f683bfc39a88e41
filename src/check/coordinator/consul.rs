//! Consul: every right that a run needs is used once, in a way that leaves no trace and touches no lock of a run.

use std::time::Duration;

use super::in_pipeline;
use crate::{
    check::{
        clock::{Clock, Hang},
        nomad::is_of_another,
    },
    config::Pipeline,
    consul::{Client, Config, Error, Op, Session, SessionId, Transaction},
    coordinator::{Config as Coordinator, ConsulConfig},
    finding::Finding,
};

pub(super) const HANG: Hang =
    Hang { who: "Consul", fix: "check the agent at CONSUL_HTTP_ADDR, its servers, and what is between" };

/// The fix where something else than Consul answers.
const WRONG_ADDRESS: &str = "correct CONSUL_HTTP_ADDR: no Consul API answers there";

/// The deadline of one request.
const WITHIN: Duration = Duration::from_millis(2500);
/// The deadline of the first one.
const REACH: Duration = Duration::from_secs(2);
/// The flags of a lock, as a run writes them.
const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;

/// Whether the agent answers. Without a client, nothing else can be checked.
pub(super) async fn reach(config: &Config, clock: Clock) -> (Vec<Finding>, Option<Client>) {
    let what = format!("consul {}", config.address);
    let client = match Client::new(config.clone()) {
        Ok(client) => client,
        Err(error) => return (vec![Finding::of_setting(what, error)], None),
    };
    let mut answers = false;
    let found = clock.timed(&what, HANG, async {
        match client.leader(REACH).await {
            Ok(leader) if leader.is_empty() => {
                Finding::failed(&what, "it answers, but its cluster has no leader", "check the servers of Consul")
            }
            Ok(leader) => {
                answers = true;
                let version = client.version(WITHIN).await.ok().flatten();
                let version = version.map(|version| format!("Consul {version}")).unwrap_or_else(|| "Consul".to_owned());
                Finding::ok(&what, format!("{version}, leader {leader}"))
            }
            Err(error) => of_error(&what, &error),
        }
    });
    let found = found.await;
    (vec![found], answers.then_some(client))
}

/// Creates a session as a run does, and ends it.
pub(super) async fn session(client: &Client, config: &ConsulConfig, clock: Clock) -> Finding {
    let what = "consul session";
    let check = async {
        match create(client, config).await {
            Ok(session) => match client.destroy_session(&session, WITHIN).await {
                Ok(()) => Finding::ok(what, "created and ended"),
                Err(error) => of_error(what, &error),
            },
            Err(error) => of_error(what, &error),
        }
    };
    clock.timed(what, HANG, check).await
}

/// Takes a lock on a key of its own in the folder, writes, gives it back and removes the key, all in one transaction: no program ever sees it.
pub(super) async fn folder(client: &Client, pipeline: &Pipeline, clock: Clock) -> Finding {
    let Coordinator::Consul(config) = &pipeline.coordinator else {
        return Finding::skipped("consul keys", "another coordinator");
    };
    let what = in_pipeline(pipeline, "consul keys");
    let folder = &config.client.folder;
    // The rule of a refusal has to name the folder of this pipeline.
    let client = Client::new(config.client.clone()).unwrap_or_else(|_| client.clone());
    let check = async {
        let session = match create(&client, config).await {
            Ok(session) => Some(session),
            // Reported by the check of the session.
            Err(Error::Denied { .. }) => None,
            Err(error) => return of_error(&what, &error),
        };
        let found = write(&client, &what, folder, session.as_ref()).await;
        if let Some(session) = &session
            && let Err(error) = client.destroy_session(session, WITHIN).await
        {
            tracing::debug!(%error, "cannot destroy session");
        }
        found
    };
    clock.timed(&what, HANG, check).await
}

async fn write(client: &Client, what: &str, folder: &str, session: Option<&SessionId>) -> Finding {
    let key = format!("{folder}/check-{:016x}", fastrand::u64(..));
    if let Err(error) = client.get(&key, crate::consul::Get::default(), WITHIN).await {
        return of_error(what, &error);
    }
    let mut ops = vec![Op::CheckNotExists { key: key.clone() }];
    if let Some(session) = session {
        ops.push(Op::Lock { key: key.clone(), session: session.clone(), value: "".into(), flags: LOCK_FLAGS });
        ops.push(Op::CheckSession { key: key.clone(), session: session.clone() });
    }
    ops.push(Op::Set { key: key.clone(), value: "nomad-firehose check".into(), flags: 0 });
    ops.push(Op::Delete { key });
    match client.transact(&ops, WITHIN).await {
        Ok(Transaction::Done(_)) if session.is_some() => {
            Finding::ok(what, format!("read, locked, written and removed a key in {folder}/"))
        }
        Ok(Transaction::Done(_)) => {
            Finding::ok(what, format!("read, written and removed a key in {folder}/; not locked without a session"))
        }
        Ok(Transaction::Refused(refusals)) => {
            let words: Vec<_> = refusals.into_iter().map(|refusal| refusal.what).collect();
            Finding::failed(
                what,
                format!("Consul refused to lock a key in {folder}/: {}", words.join(", ")),
                "look into the log of Consul",
            )
        }
        Err(error) => of_error(what, &error),
    }
}

/// A session like that of a run. If its end fails, Consul ends it after its TTL.
async fn create(client: &Client, config: &ConsulConfig) -> Result<SessionId, Error> {
    let session = Session {
        name: "nomad-firehose-check".to_owned(),
        ttl: config.session_ttl.min(Duration::from_secs(10)),
        lock_delay: Duration::ZERO,
        node_checks: config.node_checks,
    };
    client.create_session(&session, WITHIN).await
}

/// Whether a proxy spoiled the answer of an agent, or got none: the words say what to do.
fn is_of_proxy(words: &str) -> bool {
    words.contains("gets no answer from the agent") || words.contains("switch off compression")
}

/// A failed request, with the line to add to the policy.
pub(super) fn of_error(what: &str, error: &Error) -> Finding {
    let text = error.to_string();
    match error {
        Error::Denied { what: asked, needs, token, text } => {
            let fix = match token {
                true => format!("add to the policy of the token: {needs}"),
                false => format!("set CONSUL_HTTP_TOKEN to a token whose policy has: {needs}"),
            };
            Finding::failed(what, format!("cannot {asked}: Consul answered {text:?}"), fix)
        }
        Error::Status { code, text: words, .. } if is_of_another(*code, words) => {
            Finding::failed(what, text, WRONG_ADDRESS)
        }
        Error::Garbage { text: words, .. } if !is_of_proxy(words) => {
            let (cause, _) = text.split_once("; check").unwrap_or((&text, ""));
            Finding::failed(what, cause, WRONG_ADDRESS)
        }
        Error::Status { .. } | Error::Broken { .. } => {
            Finding::failed(what, text, "look into the log of the agent, and of a proxy before it")
        }
        Error::File { .. } | Error::Setting { .. } => Finding::of_setting(what, text),
        _ => Finding::of_error(what, text),
    }
}
