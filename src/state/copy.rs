//! `state copy`: carries checkpoints from one coordinator to another.
//!
//! It holds the leases of both places meanwhile, so that no replica leads, and stores as a leader does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::timeout;

use super::{
    Failure, Output,
    set::{listed, positions},
    table, view,
};
use crate::{
    checkpoint::Checkpoint,
    coordinator::{
        Coordinator, Storage,
        inspect::{Content, Inspected, Inspector, Leader},
    },
    kind::Kind,
    lease::{Changes, Lease, Progress},
    process,
    redact::{LINE, shown},
    task_cursors::{Shard, TaskCursor, TaskKey},
};

/// How long a lease that nobody holds may take. Consul gives the lock to no one for a while after a leader's session has ended.
const LEASED_WITHIN: Duration = Duration::from_secs(30);
/// How long reading or storing one checkpoint may take.
const DONE_WITHIN: Duration = Duration::from_secs(60);

/// What to copy, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Which kinds, in the order of [`Kind::ALL`]. If empty, those that have a checkpoint.
    pub kinds: Vec<Kind>,
    /// The place that gets them.
    pub to: Storage,
}

/// A place with its leases.
struct Place {
    inspector: Box<dyn Inspector>,
    coordinator: Arc<dyn Coordinator>,
}

impl Place {
    fn open(storage: &Storage) -> Result<Self, String> {
        let inspector = storage.open().map_err(|error| error.to_string())?;
        let coordinator = storage.lead(process::holder()).map_err(|error| error.to_string())?;
        Ok(Place { inspector, coordinator })
    }
}

/// Why one kind was not copied.
enum Stopped {
    /// It must not be: the reason.
    Refused(String),
    /// Nothing else can be copied either.
    Failed(Box<Failure>),
}

impl<E: Into<Failure>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Stopped::Failed(Box::new(error.into()))
    }
}

pub(super) async fn run(copy: &Copy, from: &Storage) -> Output {
    let (from, to) = match Place::open(from).and_then(|from| Ok((from, Place::open(&copy.to)?))) {
        Ok(places) => places,
        Err(error) => return Output { text: String::new(), error: Some(Failure::Text(error)), is_well: false },
    };
    let mut answer = Output { text: String::new(), error: None, is_well: true };
    for kind in if copy.kinds.is_empty() { &Kind::ALL } else { &copy.kinds[..] } {
        let done = match carry(*kind, &from, &to).await {
            Ok(Some(copied)) => copied,
            Ok(None) if copy.kinds.is_empty() => continue,
            Ok(None) => "there is no checkpoint to copy".to_owned(),
            Err(Stopped::Refused(why)) => {
                answer.is_well = false;
                format!("nothing was copied: {why}")
            }
            Err(Stopped::Failed(error)) => {
                (answer.error, answer.is_well) = (Some(*error), false);
                break;
            }
        };
        answer.text += &format!("{kind}: {done}.\n");
    }
    if answer.text.is_empty() && answer.error.is_none() {
        answer.text = format!("{} has no checkpoint to copy.\n", from.inspector.place());
    }
    from.coordinator.close().await;
    to.coordinator.close().await;
    answer
}

/// Copies one kind. Returns what to say, or `None` if it has no checkpoint.
async fn carry(kind: Kind, from: &Place, to: &Place) -> Result<Option<String>, Stopped> {
    let (source, target) = (from.inspector.look(kind).await?, to.inspector.look(kind).await?);
    if source.content == Content::Nothing && source.value.is_none() {
        return Ok(None);
    }
    for (found, place) in [(&source, from), (&target, to)] {
        if let Some(why) = objection(found, &*place.inspector) {
            return Err(Stopped::Refused(why));
        }
    }
    if let Some(why) = occupied(&target, &*to.inspector) {
        return Err(Stopped::Refused(why));
    }
    let given = lease(kind, from).await?;
    let copied = match lease(kind, to).await {
        Ok(taken) => {
            let copied = timeout(DONE_WITHIN, between(&*given, &*taken)).await;
            taken.release().await.ok();
            copied.unwrap_or_else(|_| {
                Err(Stopped::Refused(format!("it took longer than {} s; try again", DONE_WITHIN.as_secs())))
            })
        }
        Err(stopped) => Err(stopped),
    };
    given.release().await.ok();
    let Some(checkpoint) = copied? else { return Ok(None) };
    let stored = match to.inspector.look(kind).await?.content {
        Content::Readable { checkpoint, .. } => checkpoint,
        Content::Nothing | Content::Unreadable { .. } => Box::default(),
    };
    let (all, place) = (checkpoint.task_cursors.len(), to.inspector.place());
    if positions(&stored) != positions(&checkpoint) || stored.task_cursors.len() != all {
        return Err(Stopped::Refused(format!("{place} has something else after it; look at it with state show")));
    }
    let cursors = match all {
        0 => String::new(),
        _ => format!(" and {} task cursors", table::grouped(all as u64)),
    };
    let legacy = match &checkpoint.legacy {
        Some(legacy) => format!(", with the legacy value {}", legacy.value),
        None => String::new(),
    };
    Ok(Some(format!("copied {}{cursors}{legacy} to {place}", listed(&positions(&checkpoint)))))
}

/// Why nothing can be copied from or to what was found.
fn objection(found: &Inspected, place: &dyn Inspector) -> Option<String> {
    match (&found.leader, &found.content) {
        (leader @ Leader::NoLock { .. }, _) => view::no_lock(leader),
        (Leader::None, Content::Unreadable { path, reason, .. }) => {
            Some(format!("{path} cannot be read: {}", shown(reason, LINE)))
        }
        (Leader::None, _) => None,
        (leader, _) => Some(format!(
            "{} leads in {}; stop all replicas first. A leader that is gone counts until its lease has expired",
            table::leader(leader),
            place.place()
        )),
    }
}

/// What the place that gets the checkpoint has already.
fn occupied(found: &Inspected, place: &dyn Inspector) -> Option<String> {
    let (what, flag) = match (&found.content, &found.value) {
        (Content::Readable { checkpoint, .. }, _) => (format!("the checkpoint {}", listed(&positions(checkpoint))), ""),
        (_, Some(_)) => ("a legacy value".to_owned(), " with --value"),
        (Content::Nothing | Content::Unreadable { .. }, None) => return None,
    };
    Some(format!("{} has {what} already; if nobody needs it, remove it with state reset{flag}", place.place()))
}

async fn lease(kind: Kind, place: &Place) -> Result<Arc<dyn Lease>, Stopped> {
    match timeout(LEASED_WITHIN, place.coordinator.acquire(kind)).await {
        Ok(lease) => Ok(lease?),
        Err(_) => Err(Stopped::Refused(format!(
            "{} did not give its lease within {} s; look at it with state show",
            place.inspector.place(),
            LEASED_WITHIN.as_secs()
        ))),
    }
}

/// Reads the checkpoint under one lease, and stores it under the other one. Returns it.
async fn between(from: &dyn Lease, to: &dyn Lease) -> Result<Option<Checkpoint>, Stopped> {
    let Some(checkpoint) = from.load().await? else { return Ok(None) };
    if to.load().await?.is_some() {
        return Err(Stopped::Refused("another replica has stored a checkpoint there meanwhile".to_owned()));
    }
    let whole = Whole { checkpoint, is_offered: AtomicBool::new(true) };
    to.save(&whole).await?;
    Ok(Some(whole.checkpoint))
}

/// A checkpoint that is stored as a whole.
struct Whole {
    checkpoint: Checkpoint,
    is_offered: AtomicBool,
}

impl Progress for Whole {
    fn head(&self) -> Option<Checkpoint> {
        self.is_offered.swap(false, Ordering::Relaxed).then(|| self.checkpoint.head())
    }

    fn changes(&self) -> Option<Changes> {
        let head = self.head()?;
        Some(Changes { head, task_cursors: self.task_cursors(Shard::ALL), forgotten: false })
    }

    fn not_stored(&self) {
        self.is_offered.store(true, Ordering::Relaxed);
    }

    fn task_cursors(&self, shard: Shard) -> Vec<(TaskKey, TaskCursor)> {
        self.checkpoint.task_cursors.shard(shard).collect()
    }

    fn task_cursors_len(&self) -> usize {
        self.checkpoint.task_cursors.len()
    }
}
