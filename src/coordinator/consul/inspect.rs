//! The checkpoints in Consul, seen from outside.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::debug;

use super::{
    expiry::{Holder, holder},
    keys::{Keys, LOCK_FLAGS},
    layout::{self, Found, parse_value},
};
use crate::{
    consul::{Client, Entry, Get, Op, Session, SessionId, Transaction},
    coordinator::{
        inspect::{Content, Inspected, Inspector, Leader, Next, ResetOutcome, SetOutcome, Target, Unit},
        reset::reset_in_consul,
    },
    kind::Kind,
    lease::Error,
};

/// The deadline of reading or removing everything of a resource.
pub(super) const WITHIN: Duration = Duration::from_secs(10);
/// The deadline of a call about a session.
pub(super) const SESSION_WITHIN: Duration = Duration::from_secs(5);
/// The shortest that Consul allows: the session is destroyed long before.
const SESSION_TTL: Duration = Duration::from_secs(10);

/// The keys below one folder.
#[derive(Debug)]
pub struct Folder {
    client: Client,
    prefix: String,
}

/// Everything of a resource, from one read.
pub(super) struct Snapshot {
    pub(super) keys: Keys,
    entries: Vec<Entry>,
}

impl Snapshot {
    pub(super) fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(super) fn leader(&self) -> Leader {
        // The lock is never ours: the transaction that takes it gives it back.
        let nobody = SessionId::new("");
        match holder(self.find(&self.keys.lock), self.find(&self.keys.heartbeat), &nobody) {
            Holder::None | Holder::Us => Leader::None,
            Holder::Leader { session, heartbeat, .. } => {
                let lease = Some(heartbeat.lease());
                Leader::Known { holder: heartbeat.holder, session: Some(session.to_string()), lease }
            }
            Holder::Other { session } => Leader::Silent { session: session.to_string() },
            Holder::NoLock { flags } => Leader::NoLock { path: self.keys.lock.clone(), flags },
        }
    }

    pub(super) fn value(&self) -> Option<Result<u64, String>> {
        self.find(&self.keys.value).map(|entry| parse_value(&entry.value))
    }

    pub(super) fn content(&self, kind: Kind) -> Content {
        match layout::read(&self.keys, &self.entries) {
            Ok(None) => Content::Nothing,
            Ok(Some(Found { checkpoint, stored_value, .. })) => {
                Content::Readable { checkpoint: Box::new(checkpoint), stored_value: Some(stored_value) }
            }
            Err(layout::Corrupt { key, reason }) => {
                Content::Unreadable { path: key, reason, reset: reset_in_consul(kind, &self.keys.state) }
            }
        }
    }

    /// The head, and everything below it.
    fn state(&self) -> impl Iterator<Item = &Entry> {
        let Keys { state, .. } = &self.keys;
        self.entries.iter().filter(move |entry| {
            entry.key.strip_prefix(state.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

impl Folder {
    /// The folder `prefix`, without `/` at its end.
    pub fn new(client: Client, prefix: impl Into<String>) -> Self {
        Folder { client, prefix: prefix.into() }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) async fn read(&self, kind: Kind) -> Result<Snapshot, Error> {
        let begin = format!("{}/{}.", self.prefix, kind.storage_name());
        let entries = self.client.tree(&begin, WITHIN).await.map_err(failed)?.value;
        Ok(Snapshot { keys: Keys::new(&self.prefix, kind), entries })
    }

    async fn inspect(&self, kind: Kind) -> Result<Inspected, Error> {
        let snapshot = self.read(kind).await?;
        Ok(Inspected {
            kind,
            leader: snapshot.leader(),
            content: snapshot.content(kind),
            value: snapshot.value(),
            entries: snapshot.entries.len(),
            bytes: bytes(&snapshot.entries),
        })
    }

    async fn next_heartbeat(&self, kind: Kind, within: Duration) -> Result<Option<Duration>, Error> {
        let (keys, begun) = (Keys::new(&self.prefix, kind), Instant::now());
        let first = self.client.get(&keys.heartbeat, Get::default(), WITHIN).await.map_err(failed)?;
        let before = first.value.map(|entry| entry.modify_index);
        let how = Get { after: Some(first.index), wait: within, ..Get::default() };
        let next = self.client.get(&keys.heartbeat, how, WITHIN).await.map_err(failed)?;
        let after = next.value.map(|entry| entry.modify_index);
        Ok((after.is_some() && after != before).then(|| begun.elapsed()))
    }

    async fn take_away(&self, kind: Kind, value: bool) -> Result<ResetOutcome, Error> {
        let snapshot = self.read(kind).await?;
        if let led @ (Leader::Known { .. } | Leader::Silent { .. } | Leader::NoLock { .. }) = snapshot.leader() {
            return Ok(ResetOutcome::Led(led));
        }
        let wanted = Session {
            name: "nomad-firehose-state-reset".to_owned(),
            ttl: SESSION_TTL,
            // However this ends, no program has to wait for us.
            lock_delay: Duration::ZERO,
            node_checks: false,
        };
        let session = self.client.create_session(&wanted, SESSION_WITHIN).await.map_err(failed)?;
        let forgotten = self.take_away_as(&session, &snapshot, value).await;
        if let Err(error) = self.client.destroy_session(&session, SESSION_WITHIN).await {
            debug!(%error, "cannot destroy session");
        }
        match forgotten? {
            Ok(outcome) => Ok(outcome),
            // Another program was quicker, or the lock-delay lasts.
            Err(reason) => match self.read(kind).await?.leader() {
                Leader::None => Ok(ResetOutcome::NotGiven { reason }),
                leader => Ok(ResetOutcome::Led(leader)),
            },
        }
    }

    /// One transaction from taking the lock to giving it back: no program leads in between, and none sees half of it.
    /// Returns why Consul refused it, where it did.
    async fn take_away_as(
        &self,
        session: &SessionId,
        snapshot: &Snapshot,
        value: bool,
    ) -> Result<Result<ResetOutcome, String>, Error> {
        let Keys { lock, heartbeat, value: value_key, state } = &snapshot.keys;
        let (session, flags) = (session.clone(), LOCK_FLAGS);
        let mut ops = vec![
            Op::Lock { key: lock.clone(), session: session.clone(), value: "".into(), flags },
            Op::Delete { key: state.clone() },
            Op::DeleteTree { prefix: format!("{state}/") },
            Op::Delete { key: heartbeat.clone() },
        ];
        // If the value is no number, the next start would fail, and neither program can use it.
        let stored = snapshot.find(value_key).zip(snapshot.value());
        let removed = stored.as_ref().filter(|(_, parsed)| value || parsed.is_err()).map(|(entry, _)| *entry);
        if let Some(entry) = removed {
            // An original program can have led for a moment.
            ops.push(Op::CheckIndex { key: value_key.clone(), index: entry.modify_index });
            ops.push(Op::Delete { key: value_key.clone() });
        }
        ops.push(Op::Unlock { key: lock.clone(), session, value: "".into(), flags });
        match self.client.transact(&ops, WITHIN).await.map_err(failed)? {
            Transaction::Done(_) => {}
            Transaction::Refused(refusals) => {
                let words: Vec<_> = refusals.into_iter().map(|refusal| refusal.what).collect();
                return Ok(Err(words.join("; ")));
            }
        }
        let next = match stored {
            Some((_, Ok(number))) if removed.is_none() && number > 0 => Next::Value(number),
            _ => Next::Anew,
        };
        Ok(Ok(ResetOutcome::Forgotten {
            entries: snapshot.state().count(),
            bytes: bytes(snapshot.state()),
            value: removed.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()),
            next,
        }))
    }
}

impl Inspector for Folder {
    fn place(&self) -> String {
        format!("consul at {}, folder {}", self.client.address(), self.prefix)
    }

    fn unit(&self) -> Unit {
        Unit::Keys
    }

    fn reset(&self, kind: Kind) -> String {
        reset_in_consul(kind, &Keys::new(&self.prefix, kind).state)
    }

    fn look(&self, kind: Kind) -> BoxFuture<'_, Result<Inspected, Error>> {
        Box::pin(self.inspect(kind))
    }

    fn heartbeat(&self, kind: Kind, within: Duration) -> BoxFuture<'_, Result<Option<Duration>, Error>> {
        Box::pin(self.next_heartbeat(kind, within))
    }

    fn forget(&self, kind: Kind, value: bool) -> BoxFuture<'_, Result<ResetOutcome, Error>> {
        Box::pin(self.take_away(kind, value))
    }

    fn set<'a>(&'a self, target: &'a Target, force: bool) -> BoxFuture<'a, Result<SetOutcome, Error>> {
        Box::pin(self.set_position(target, force))
    }
}

fn bytes<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> u64 {
    entries.into_iter().map(|entry| entry.value.len() as u64).sum()
}

pub(super) fn failed(error: crate::consul::Error) -> Error {
    Error::Consul(Arc::new(error))
}
