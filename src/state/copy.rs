//! `state copy`: carries checkpoints from one coordinator to another.
//!
//! It holds the leases of both places, of all kinds, from the first read to the last write. So no replica leads meanwhile, in neither
//! place, and it stores as a leader does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

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
    lease::{Changes, Error, Lease, LeaseState, Progress},
    process,
    redact::{LINE, shown},
    task_cursors::{Shard, TaskCursor, TaskKey},
};

/// How long the leases may take that nobody holds: that of a killed leader can be a minute and an eighth, and Consul keeps a lock from
/// everybody for a while.
const LEASED_WITHIN: Duration = Duration::from_secs(90);
/// How long a failed write is tried again.
const STORED_WITHIN: Duration = Duration::from_secs(60);
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What to copy, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Which kinds, in the order of [`Kind::ALL`]. If empty, those that have a checkpoint.
    pub kinds: Vec<Kind>,
    /// The place that gets them.
    pub to: Storage,
    /// The pipeline whose checkpoints they are.
    pub pipeline: Option<String>,
}

/// A place with its leases.
struct Place {
    inspector: Box<dyn Inspector>,
    coordinator: Arc<dyn Coordinator>,
}

impl Place {
    fn open(storage: &Storage) -> Result<Self, String> {
        let inspector = storage.open().map_err(|error| error.to_string())?;
        let holder = format!("state copy, {}", process::holder());
        let coordinator = storage.lead(holder).map_err(|error| error.to_string())?;
        Ok(Place { inspector, coordinator })
    }
}

/// Both leases of a kind.
struct Held {
    kind: Kind,
    from: Arc<dyn Lease>,
    to: Arc<dyn Lease>,
}

/// What `stop` ends leaves no lease behind.
pub(super) async fn run(copy: &Copy, from: &Storage, stop: &CancellationToken) -> Output {
    let failed = |text: String, error| Output { text, error: Some(Failure::Text(error)), is_well: false };
    let (from, to) = match Place::open(from).and_then(|from| Ok((from, Place::open(&copy.to)?))) {
        Ok(places) => places,
        Err(error) => return failed(String::new(), error),
    };
    let (mut held, mut text) = (Vec::new(), String::new());
    let copied = async {
        let kinds = wanted(copy, &from, &to).await?;
        held = leases(&kinds, &from, &to).await?;
        for held in &held {
            text += &format!("{}: {}.\n", held.kind, carry(held, &*to.inspector).await?);
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = copied => ended,
        () = stop.cancelled() => Err("stopped; what is not listed as copied may be stored in part".to_owned()),
    };
    for Held { kind, from, to } in held {
        for (lease, place) in [(to, "the target"), (from, "the source")] {
            if let Err(error) = lease.release().await {
                warn!(%kind, place, %error, action = "let it expire", "cannot release lease");
            }
        }
    }
    from.coordinator.close().await;
    to.coordinator.close().await;
    match ended {
        Ok(()) => Output { text, error: None, is_well: true },
        Err(error) => failed(text, error),
    }
}

/// The kinds to copy. Nothing is copied if one of them must not be.
async fn wanted(copy: &Copy, from: &Place, to: &Place) -> Result<Vec<Kind>, String> {
    let (mut kinds, mut refused) = (Vec::new(), Vec::new());
    for kind in if copy.kinds.is_empty() { &Kind::ALL } else { &copy.kinds[..] } {
        let source = from.inspector.look(*kind).await.map_err(|error| error.to_string())?;
        if source.content == Content::Nothing && source.value.is_none() {
            if !copy.kinds.is_empty() {
                refused.push(format!("{kind}: {} has no checkpoint", from.inspector.place()));
            }
            continue;
        }
        let mut why = objection(&source, &*from.inspector);
        // The first lease makes a directory that does not exist.
        let is_new = matches!(&copy.to, Storage::File { data_dir } if !data_dir.exists());
        if why.is_none() && !is_new {
            let target = to.inspector.look(*kind).await.map_err(|error| error.to_string())?;
            why = objection(&target, &*to.inspector).or_else(|| occupied(&target, copy, &*to.inspector));
        }
        match why {
            Some(why) => refused.push(format!("{kind}: {why}")),
            None => kinds.push(*kind),
        }
    }
    match (refused.is_empty(), kinds.is_empty()) {
        (false, _) => Err(format!("nothing was copied:\n{}", refused.join("\n"))),
        (true, true) => Err(format!(
            "nothing was copied: {} has no checkpoint; name the folder of the run, and its pipeline with --pipeline",
            from.inspector.place()
        )),
        (true, false) => Ok(kinds),
    }
}

/// Why nothing can be copied from or to what was found.
fn objection(found: &Inspected, place: &dyn Inspector) -> Option<String> {
    match (&found.leader, &found.content, &found.value) {
        (leader @ Leader::NoLock { .. }, ..) => view::no_lock(leader),
        (Leader::None, Content::Unreadable { path, reason, .. }, _) => {
            Some(format!("{path} cannot be read: {}", shown(reason, LINE)))
        }
        (Leader::None, Content::Nothing, Some(Err(reason))) => {
            Some(format!("the legacy value in {} cannot be read: {}", place.place(), shown(reason, LINE)))
        }
        (Leader::None, ..) => None,
        (leader, ..) => Some(format!(
            "{} leads in {}; stop all replicas first. A leader that is gone counts until its lease, or its session in Consul, has \
             expired",
            table::leader(leader),
            place.place()
        )),
    }
}

/// What the place that gets the checkpoint has already. A first write that was cut off does not count, as for a run.
fn occupied(found: &Inspected, copy: &Copy, place: &dyn Inspector) -> Option<String> {
    let (what, value) = match (&found.content, &found.value) {
        (Content::Readable { checkpoint, .. }, _) if checkpoint.is_begun() => {
            (format!("the checkpoint {}", listed(&positions(checkpoint))), "")
        }
        (_, Some(_)) => ("a legacy value".to_owned(), " --value"),
        _ => return None,
    };
    let coordinator = copy.to.coordinator();
    let pipeline = copy.pipeline.as_ref().map(|name| format!(" --pipeline {name}")).unwrap_or_default();
    Some(format!(
        "{} has {what} already; if nobody needs that, remove it with: nomad-firehose state reset {}{value} --coordinator \
         {coordinator}{pipeline}",
        place.place(),
        found.kind
    ))
}

async fn leases(kinds: &[Kind], from: &Place, to: &Place) -> Result<Vec<Held>, String> {
    let lease = async |kind: Kind, place: &Place| match timeout(LEASED_WITHIN, place.coordinator.acquire(kind)).await {
        Ok(lease) => lease.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "{} did not give the lease of {kind} within {} s; the log above says why",
            place.inspector.place(),
            LEASED_WITHIN.as_secs()
        )),
    };
    let both = |kind: &Kind| {
        let (kind, lease) = (*kind, &lease);
        async move {
            let (from, to) = tokio::try_join!(lease(kind, from), lease(kind, to))?;
            Ok::<_, String>(Held { kind, from, to })
        }
    };
    try_join_all(kinds.iter().map(both)).await.map_err(|error| format!("nothing was copied: {error}"))
}

/// Copies one kind, and reads it again. Returns what to say.
async fn carry(Held { kind, from, to }: &Held, target: &dyn Inspector) -> Result<String, String> {
    let fails = |what: &str, error: Error| format!("{kind}: {what}: {error}");
    let Some(checkpoint) = from.load().await.map_err(|error| fails("cannot read the checkpoint", error))? else {
        return Err(format!("{kind}: the checkpoint has disappeared meanwhile"));
    };
    if to.load().await.map_err(|error| fails("cannot read the target", error))?.is_some() {
        return Err(format!("{kind}: another replica has stored a checkpoint in {} meanwhile", target.place()));
    }
    let whole = Whole { checkpoint, is_offered: AtomicBool::new(true) };
    let deadline = Instant::now() + STORED_WITHIN;
    while let Err(error) = to.save(&whole).await {
        if matches!(error, Error::Lost) || Instant::now() >= deadline {
            let unknown = fails("cannot store the checkpoint", error);
            return Err(format!(
                "{unknown}; it may be stored all the same: look at {} with state show",
                target.place()
            ));
        }
        sleep(AGAIN_AFTER).await;
    }
    let Whole { checkpoint, .. } = whole;
    let found = target.look(*kind).await.map_err(|error| fails("stored, but it cannot be read again", error))?;
    let stored = match found.content {
        Content::Readable { checkpoint, .. } => checkpoint,
        Content::Nothing | Content::Unreadable { .. } => Box::default(),
    };
    let all = checkpoint.task_cursors.len();
    if positions(&stored) != positions(&checkpoint) || stored.task_cursors.len() != all {
        return Err(format!("{kind}: {} has something else than what was stored there", target.place()));
    }
    if from.lease_state() != LeaseState::Held {
        return Err(format!(
            "{kind}: copied, but another replica leads in the source by now: it can be ahead of the copy"
        ));
    }
    let cursors = match all {
        0 => String::new(),
        _ => format!(" and {} task cursors", table::grouped(all as u64)),
    };
    let legacy = match &checkpoint.legacy {
        Some(legacy) => format!(", with the legacy value {}", legacy.value),
        None => String::new(),
    };
    Ok(format!("copied {}{cursors}{legacy} to {}", listed(&positions(&checkpoint)), target.place()))
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
