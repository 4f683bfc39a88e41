//! Stores a position that an operator has chosen.
//!
//! Nobody else writes meanwhile: the transaction that stores it takes the lock and gives it back, or it is refused. With force, the
//! lock is first taken away from the replica that leads. From that moment on Consul refuses every heartbeat and every checkpoint
//! of that replica, so it can neither overwrite the position nor mix with it. What it may still send ends with its lease; the
//! position is stored after that, and only then can another replica lead.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, info};

use super::{
    inspect::{Folder, SESSION_WITHIN, Snapshot, WITHIN, failed},
    keys::{Extent, Keys, LOCK_FLAGS},
    layout::Head,
};
use crate::{
    checkpoint::Checkpoint,
    consul::{Op, Session, SessionId, Transaction},
    coordinator::{
        inspect::{Leader, SetOutcome, Target},
        term,
    },
    kind::Kind,
    lease::Error,
};

/// How long Consul keeps our session at least if this process dies meanwhile, beside the lease that it waits for. Consul allows no
/// shorter one.
const SESSION_TTL: Duration = Duration::from_secs(10);

/// Why an operation was refused, in Consul's words.
type Refused = String;

/// Who is deposed.
struct Deposed {
    leader: Leader,
    session: SessionId,
    lease: Duration,
}

impl Folder {
    pub(super) async fn set_position(&self, target: &Target, force: bool) -> Result<SetOutcome, Error> {
        let kind = target.kind;
        let snapshot = self.read(kind).await?;
        let deposed = match snapshot.leader() {
            Leader::None => None,
            Leader::Known { holder, session: Some(session), lease: Some(lease) } if force => {
                let leader = Leader::Known { holder, session: Some(session.clone()), lease: Some(lease) };
                Some(Deposed { leader, session: SessionId::new(session.as_str()), lease })
            }
            leader => {
                let why = force.then_some("it has no heartbeat, so nobody knows when it has stopped");
                return Ok(SetOutcome::Led { leader, why });
            }
        };
        let wanted = Session {
            name: "nomad-firehose-state-set".to_owned(),
            ttl: SESSION_TTL + deposed.as_ref().map_or(Duration::ZERO, |deposed| 2 * deposed.lease),
            // However this ends, no program has to wait for us.
            lock_delay: Duration::ZERO,
            node_checks: false,
        };
        let session = self.client().create_session(&wanted, SESSION_WITHIN).await.map_err(failed)?;
        let done = self.set_as(&session, snapshot, target, deposed).await;
        if let Err(error) = self.client().destroy_session(&session, SESSION_WITHIN).await {
            debug!(%error, "cannot destroy session");
        }
        match done? {
            Ok(outcome) => Ok(outcome),
            // Another program was quicker, or the lock-delay lasts.
            Err(reason) => match self.read(kind).await?.leader() {
                Leader::None => Ok(SetOutcome::NotGiven { reason }),
                leader => Ok(SetOutcome::Led { leader, why: None }),
            },
        }
    }

    async fn set_as(
        &self,
        session: &SessionId,
        mut snapshot: Snapshot,
        target: &Target,
        deposed: Option<Deposed>,
    ) -> Result<Result<SetOutcome, Refused>, Error> {
        let kind = target.kind;
        let Keys { lock, .. } = snapshot.keys.clone();
        let take = Op::Lock { key: lock.clone(), session: session.clone(), value: "".into(), flags: LOCK_FLAGS };
        let first = match &deposed {
            None => take,
            Some(Deposed { leader, session: old, lease }) => {
                let free = Op::Unlock { key: lock.clone(), session: old.clone(), value: "".into(), flags: LOCK_FLAGS };
                if let Err(reason) = self.transact(&[free, take]).await? {
                    return Ok(Err(reason));
                }
                let wait = *lease + term::margin(*lease);
                let Leader::Known { holder, .. } = leader else { return Ok(Err(String::new())) };
                info!(%kind, %holder, ?wait, reason = "state set --force", "lease taken from its leader");
                sleep(wait).await;
                // What it stored until it lost the lock.
                snapshot = self.read(kind).await?;
                Op::CheckSession { key: lock.clone(), session: session.clone() }
            }
        };
        let before = snapshot.content(kind);
        let after = target.checkpoint(&before);
        let ops = operations(&snapshot, first, session, (kind, &after));
        if let Err(reason) = self.transact(&ops).await? {
            return Ok(Err(reason));
        }
        let deposed = deposed.map(|deposed| deposed.leader);
        Ok(Ok(SetOutcome::Set { before: Box::new(before), after: Box::new(after), deposed }))
    }

    /// Carries out all operations, or none; then says why.
    async fn transact(&self, ops: &[Op]) -> Result<Result<(), Refused>, Error> {
        Ok(match self.client().transact(ops, WITHIN).await.map_err(failed)? {
            Transaction::Done(_) => Ok(()),
            Transaction::Refused(refusals) => {
                Err(refusals.into_iter().map(|refusal| refusal.what).collect::<Vec<_>>().join("; "))
            }
        })
    }
}

/// One transaction that replaces the checkpoint and frees the lock. `first` takes the lock, or checks that it is ours.
fn operations(snapshot: &Snapshot, first: Op, session: &SessionId, (kind, after): (Kind, &Checkpoint)) -> Vec<Op> {
    let Keys { lock, heartbeat, value, state } = snapshot.keys.clone();
    let unchanged = |key: &str| match snapshot.find(key) {
        Some(entry) => Op::CheckIndex { key: key.to_owned(), index: entry.modify_index },
        None => Op::CheckNotExists { key: key.to_owned() },
    };
    let legacy = snapshot.value().and_then(Result::ok).unwrap_or_default();
    // For allocations, the original program stores a time: the chosen index says nothing about it.
    let stored_value = if kind == Kind::Allocations { legacy.max(after.value) } else { after.value };
    let head = Head { checkpoint: after.head(), extent: Extent::default(), stored_value };
    let text = serde_json::to_vec(&head).expect("maps with texts as keys");
    let mut ops = vec![first, unchanged(&state), unchanged(&value)];
    ops.push(Op::DeleteTree { prefix: format!("{state}/") });
    ops.push(Op::Set { key: state, value: text.into(), flags: 0 });
    if stored_value != legacy {
        ops.push(Op::Set { key: value, value: stored_value.to_string().into(), flags: 0 });
    }
    ops.push(Op::Delete { key: heartbeat });
    ops.push(Op::Unlock { key: lock, session: session.clone(), value: "".into(), flags: LOCK_FLAGS });
    ops
}
