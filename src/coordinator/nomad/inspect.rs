//! The checkpoints in Variables, seen from outside.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::{
    failed,
    record::{Content as Text, Head, Heartbeat, Parts},
    shared::path,
    store::{self, Corrupt, Found, Unread},
};
use crate::{
    coordinator::{
        inspect::{Content, Inspected, Inspector, Leader, Next, ResetOutcome, SetOutcome, Target, Unit},
        reset::reset_in_variables,
        term,
    },
    kind::Kind,
    lease::Error,
    nomad::{Client, Items, Place, Variable, Written},
    position::RaftIndex,
};

/// The deadline of each read and write.
const WITHIN: Duration = Duration::from_secs(10);
/// The longest lease that is waited for, whatever a heartbeat says.
const LONGEST: Duration = Duration::from_secs(60);
/// Who writes, for whoever reads the Variable meanwhile.
const OPERATOR: &str = "an operator (nomad-firehose state)";

/// The Variables below one folder.
#[derive(Debug)]
pub struct Folder {
    client: Client,
    place: Place,
}

impl Folder {
    /// The folder of `place`.
    pub fn new(client: Client, place: Place) -> Self {
        Folder { client, place }
    }

    async fn read(&self, kind: Kind) -> Result<Option<Variable>, Error> {
        self.client.variable(&self.place, &path(&self.place, kind), None, WITHIN).await.map_err(failed)
    }

    /// The heartbeat of whoever leads. One that has not moved for a lease and a margin has no leader behind it.
    async fn led(&self, kind: Kind, found: &mut Option<Variable>) -> Result<Option<Heartbeat>, Error> {
        let Some(before) = found.clone() else { return Ok(None) };
        let Some(heartbeat) = Heartbeat::of(&before).filter(|heartbeat| !heartbeat.released) else { return Ok(None) };
        let lease = heartbeat.lease().min(LONGEST);
        let wait = lease + term::margin(lease);
        *found = self.moved(kind, before.index, wait).await?;
        let now = found.as_ref().filter(|now| now.index != before.index).and_then(Heartbeat::of);
        Ok(now.filter(|heartbeat| !heartbeat.released))
    }

    /// The Variable when it is no longer at `index`, or after `wait`.
    async fn moved(&self, kind: Kind, index: RaftIndex, wait: Duration) -> Result<Option<Variable>, Error> {
        let path = path(&self.place, kind);
        self.client.variable(&self.place, &path, Some((index, wait)), WITHIN).await.map_err(failed)
    }

    async fn content(&self, kind: Kind, found: Option<&Variable>) -> Result<Content, Error> {
        let Some(found) = found else { return Ok(Content::Nothing) };
        match store::read(&self.client, &self.place, &path(&self.place, kind), &Text::of(found)).await {
            Ok(None) => Ok(Content::Nothing),
            Ok(Some(Found { checkpoint, .. })) => {
                Ok(Content::Readable { checkpoint: Box::new(checkpoint), stored_value: None })
            }
            Err(Unread::Corrupt(Corrupt { path, reason })) => {
                Ok(Content::Unreadable { path, reason, reset: self.reset(kind) })
            }
            Err(Unread::Nomad(error)) => Err(failed(error)),
        }
    }

    /// The paths of the Variables with task cursors.
    async fn parts(&self, kind: Kind) -> Result<Vec<String>, Error> {
        let prefix = format!("{}/", path(&self.place, kind));
        let found = self.client.variables(&self.place, &prefix, WITHIN).await.map_err(failed)?;
        Ok(found.into_iter().map(|variable| variable.path).collect())
    }

    async fn inspect(&self, kind: Kind) -> Result<Inspected, Error> {
        let mut found = self.read(kind).await?;
        let leader = match found.as_ref().and_then(Heartbeat::of) {
            // By the clocks alone it is alive: that is enough to show it.
            Some(heartbeat) if !heartbeat.released && is_fresh(found.as_ref(), heartbeat.lease()) => leader(&heartbeat),
            _ => self.led(kind, &mut found).await?.as_ref().map_or(Leader::None, leader),
        };
        let content = self.content(kind, found.as_ref()).await?;
        let value = match &content {
            Content::Readable { checkpoint, .. } if checkpoint.value > 0 => Some(Ok(checkpoint.value)),
            _ => None,
        };
        let (mut entries, mut bytes) = (0, 0);
        if let Some(found) = &found {
            (entries, bytes) = (1, size(&found.items));
            for path in self.parts(kind).await? {
                let part = self.client.variable(&self.place, &path, None, WITHIN).await.map_err(failed)?;
                (entries, bytes) = (entries + 1, bytes + part.map_or(0, |part| size(&part.items)));
            }
        }
        Ok(Inspected { kind, leader, content, value, entries, bytes })
    }

    async fn next_heartbeat(&self, kind: Kind, within: Duration) -> Result<Option<Duration>, Error> {
        let begun = Instant::now();
        let Some(before) = self.read(kind).await? else { return Ok(None) };
        let after = self.moved(kind, before.index, within).await?;
        Ok(after.filter(|after| after.index != before.index).map(|_| begun.elapsed()))
    }

    async fn remove(&self, kind: Kind) -> Result<ResetOutcome, Error> {
        let mut found = self.read(kind).await?;
        if let Some(heartbeat) = self.led(kind, &mut found).await? {
            return Ok(ResetOutcome::Led(leader(&heartbeat)));
        }
        let (mut entries, mut bytes) = (0, 0);
        if let Some(found) = found {
            (entries, bytes) = (1, size(&found.items));
            let path = path(&self.place, kind);
            let deleted = self.client.delete_variable(&self.place, &path, found.index, WITHIN).await;
            if let Written::Conflict(now) = deleted.map_err(failed)? {
                return Ok(match now.as_ref().and_then(Heartbeat::of) {
                    Some(heartbeat) if !heartbeat.released => ResetOutcome::Led(leader(&heartbeat)),
                    _ => ResetOutcome::NotGiven { reason: "the Variable has changed, or is locked".to_owned() },
                });
            }
        }
        for path in self.parts(kind).await? {
            let part = self.client.variable(&self.place, &path, None, WITHIN).await.map_err(failed)?;
            let Some(part) = part else { continue };
            let deleted = self.client.delete_variable(&self.place, &path, part.index, WITHIN).await;
            if let Written::Conflict(_) = deleted.map_err(failed)? {
                debug!(path, "not deleted: it has changed");
                continue;
            }
            (entries, bytes) = (entries + 1, bytes + size(&part.items));
        }
        Ok(ResetOutcome::Forgotten { entries, bytes, value: None, next: Next::Anew })
    }

    async fn set_position(&self, target: &Target, force: bool) -> Result<SetOutcome, Error> {
        let (kind, path) = (target.kind, path(&self.place, target.kind));
        let mut found = self.read(kind).await?;
        let mut deposed = None;
        if let Some(heartbeat) = self.led(kind, &mut found).await? {
            let leader = leader(&heartbeat);
            if !force {
                return Ok(SetOutcome::Led { leader, why: None });
            }
            // From here on every write of the old leader is refused. What it may still send ends with its lease.
            let lease = heartbeat.lease().min(LONGEST);
            let text = found.as_ref().map(Text::of).unwrap_or_default();
            let items = text.items(&ours(lease, false));
            match self.put(&path, &items, found.as_ref()).await? {
                Written::Done(index) => found = Some(Variable { path: path.clone(), items, index, modify_time: 0 }),
                Written::Conflict(_) => {
                    return Ok(SetOutcome::Led { leader, why: Some("it has just written: try again") });
                }
            }
            let wait = lease + term::margin(lease);
            info!(%kind, holder = heartbeat.holder, ?wait, reason = "state set --force", "lease taken from its leader");
            sleep(wait).await;
            deposed = Some(leader);
        }
        let before = self.content(kind, found.as_ref()).await?;
        let after = target.checkpoint(&before);
        let head = Head { checkpoint: after.head(), parts: Parts::default() };
        let head = Some(serde_json::to_string(&head).expect("maps with texts as keys"));
        let items = Text { head, recent: None }.items(&ours(Duration::ZERO, true));
        match self.put(&path, &items, found.as_ref()).await? {
            // What the old head named, the next leader deletes.
            Written::Done(_) => Ok(SetOutcome::Set { before: Box::new(before), after: Box::new(after), deposed }),
            Written::Conflict(now) => Ok(match now.as_ref().and_then(Heartbeat::of) {
                Some(heartbeat) if !heartbeat.released => SetOutcome::Led { leader: leader(&heartbeat), why: None },
                _ => SetOutcome::NotGiven { reason: "the Variable has changed, or is locked".to_owned() },
            }),
        }
    }

    async fn put(&self, path: &str, items: &Items, found: Option<&Variable>) -> Result<Written, Error> {
        let index = found.map_or(RaftIndex(0), |found| found.index);
        self.client.put_variable(&self.place, path, (items, index), WITHIN).await.map_err(failed)
    }
}

impl Inspector for Folder {
    fn place(&self) -> String {
        let Place { namespace, folder } = &self.place;
        format!("Nomad Variables at {}, namespace {namespace}, folder {folder}", self.client.address())
    }

    fn unit(&self) -> Unit {
        Unit::Variables
    }

    fn reset(&self, kind: Kind) -> String {
        reset_in_variables(kind, &path(&self.place, kind))
    }

    fn look(&self, kind: Kind) -> BoxFuture<'_, Result<Inspected, Error>> {
        Box::pin(self.inspect(kind))
    }

    fn heartbeat(&self, kind: Kind, within: Duration) -> BoxFuture<'_, Result<Option<Duration>, Error>> {
        Box::pin(self.next_heartbeat(kind, within))
    }

    /// The original program's integer is part of the checkpoint here, so it is always removed as well.
    fn forget(&self, kind: Kind, _value: bool) -> BoxFuture<'_, Result<ResetOutcome, Error>> {
        Box::pin(self.remove(kind))
    }

    fn set<'a>(&'a self, target: &'a Target, force: bool) -> BoxFuture<'a, Result<SetOutcome, Error>> {
        Box::pin(self.set_position(target, force))
    }
}

fn leader(heartbeat: &Heartbeat) -> Leader {
    let lease = Some(heartbeat.lease());
    Leader::Known { holder: heartbeat.holder.clone(), session: None, lease }
}

/// The heartbeat of an operator.
fn ours(lease: Duration, released: bool) -> Heartbeat {
    let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    let (id, holder) = (format!("{:016x}", fastrand::u64(..)), OPERATOR.to_owned());
    Heartbeat { id, counter: 0, lease_ms, holder, cluster: None, released }
}

/// Whether it was written less than a lease ago, by Nomad's clock and ours. Only for people.
fn is_fresh(found: Option<&Variable>, lease: Duration) -> bool {
    let Some(written) = found.map(|found| UNIX_EPOCH + Duration::from_nanos(found.modify_time)) else { return false };
    SystemTime::now().duration_since(written).is_ok_and(|age| age < lease)
}

fn size(items: &Items) -> u64 {
    items.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
}
