//! Who leads each kind, whether that leader lives, and whether the checkpoint belongs to this cluster and can be read.

use std::time::Duration;

use futures_util::future::join_all;

use super::{Here, consul::HANG, in_pipeline, storage};
use crate::{
    check::clock::{Clock, Hang},
    cluster::{self, Difference, Identity, Verdict},
    config::Pipeline,
    coordinator::inspect::{Content, Inspected, Inspector, Leader, Unit},
    finding::Finding,
    kind::Kind,
    lease::Error,
    nomad::Config as NomadClient,
    supervisor::is_below,
};

/// How long to wait for a heartbeat, whatever the lease is, and for Nomad to say which cluster it is.
const HEARTBEAT: Duration = Duration::from_millis(2500);
const KNOWN_WITHIN: Duration = Duration::from_millis(1500);

const DISK: Hang = Hang { who: "the file system", fix: "check the disk of NOMAD_FIREHOSE_DATA_DIR" };

/// Looks at every kind of every pipeline.
pub(super) async fn check(
    (pipelines, nomad): (&[Pipeline], &NomadClient),
    here: Option<&Here>,
    clock: Clock,
) -> Vec<Finding> {
    let all = pipelines.iter().map(|pipeline| async move {
        let Some((place, setting)) = storage(pipeline, nomad) else { return Vec::new() };
        let keeper = match place.open() {
            Ok(keeper) => keeper,
            Err(error) => return vec![Finding::of_setting(in_pipeline(pipeline, "stored state"), error)],
        };
        let keeper = &*keeper;
        let looks = pipeline.kinds.iter().map(|kind| async move {
            let (hang, name) = match keeper.unit() {
                Unit::Keys => (HANG, "consul"),
                Unit::Variables => (super::nomad::HANG, "variable"),
                Unit::Files => (DISK, "file"),
            };
            let what = in_pipeline(pipeline, &format!("{name} {kind}"));
            let stored = Stored { keeper, kind: *kind, what: &what, setting, here };
            clock.timed(&what, hang, stored.look()).await
        });
        join_all(looks).await
    });
    join_all(all).await.into_iter().flatten().collect()
}

/// The stored state of one kind.
struct Stored<'a> {
    keeper: &'a dyn Inspector,
    kind: Kind,
    what: &'a str,
    setting: &'static str,
    here: Option<&'a Here>,
}

impl Stored<'_> {
    async fn look(&self) -> Finding {
        let found = match self.keeper.look(self.kind).await {
            Ok(found) => found,
            Err(Error::Consul(error)) => return super::consul::of_error(self.what, &error),
            // The first lease makes the directory.
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Finding::ok(self.what, "no replica leads, no checkpoint: a first start");
            }
            Err(error) => return Finding::of_error(self.what, error),
        };
        if let Some(objection) = self.objection(&found).await {
            return objection;
        }
        let stored = match &found.content {
            Content::Nothing => "no checkpoint: a first start".to_owned(),
            Content::Readable { checkpoint, .. } => {
                let positions =
                    checkpoint.streams.iter().map(|(name, stream)| format!("{name} at {}", stream.position.index));
                let positions: Vec<_> = positions.collect();
                format!(
                    "checkpoint of {}",
                    if positions.is_empty() { "no stream".to_owned() } else { positions.join(", ") }
                )
            }
            Content::Unreadable { path, reason, reset } => {
                let text = format!("the checkpoint {path} cannot be read: {reason}");
                return Finding::failed(self.what, text, format!("restore it, or remove it with: {reset}"));
            }
        };
        self.of_leader(&found.leader, &stored).await
    }

    /// Why a run would refuse the checkpoint: another cluster has stored it.
    async fn objection(&self, found: &Inspected) -> Option<Finding> {
        let Content::Readable { checkpoint, .. } = &found.content else { return None };
        let (stored, here) = (checkpoint.cluster.as_ref()?, self.here?);
        here.known.settled_within(KNOWN_WITHIN).await;
        let ours: Identity = here.known.identity();
        let Verdict::Other(difference) = ours.verdict(stored, cluster::now()) else { return None };
        if difference == Difference::Keys && is_below(&here.client, self.kind, checkpoint).await {
            let text = "the checkpoint is ahead of this cluster, which was restored or rebuilt: a run starts over and sends all again";
            return Some(Finding::warning(
                self.what,
                text,
                format!("if it is another cluster, correct {}", self.setting),
            ));
        }
        let text = format!("the stored checkpoint belongs to another cluster: {difference}");
        let reset = self.keeper.reset(self.kind);
        let fix = format!(
            "set {} to a place that no other cluster uses, or, if it is the same cluster, remove the checkpoint with: {reset}",
            self.setting
        );
        Some(Finding::failed(self.what, text, fix))
    }

    async fn of_leader(&self, leader: &Leader, stored: &str) -> Finding {
        match leader {
            Leader::None => Finding::ok(self.what, format!("no replica leads, {stored}")),
            Leader::Known { holder, lease: Some(lease), .. } => {
                let within = HEARTBEAT.min(*lease);
                let beat = match self.keeper.heartbeat(self.kind, within).await {
                    Ok(beat) => beat,
                    Err(error) => return Finding::of_error(self.what, error),
                };
                match beat {
                    Some(after) => {
                        let after = after.as_secs_f64();
                        Finding::ok(self.what, format!("{holder} leads, next heartbeat after {after:.1}s, {stored}"))
                    }
                    // It writes one about every third of the lease.
                    None if within < *lease / 2 => {
                        Finding::ok(self.what, format!("{holder} leads, lease {lease:?}, {stored}"))
                    }
                    None => {
                        let text = format!(
                            "{holder} holds the lease of {lease:?}, and wrote no heartbeat for {within:?}; {stored}"
                        );
                        let fix = "a standby takes over after the lease; if none runs, start one, and look for what became of the leader";
                        Finding::warning(self.what, text, fix)
                    }
                }
            }
            Leader::Known { holder, .. } => Finding::ok(self.what, format!("{holder} leads, {stored}")),
            Leader::Silent { session } => {
                let text = format!(
                    "session {session} of a program without heartbeats, such as the original, holds the lock; {stored}"
                );
                Finding::warning(self.what, text, "stop that program; a run waits until it gives the lock back")
            }
            Leader::NoLock { path, flags } => {
                let text = format!("the key {path} is no lock (flags {flags:#x})");
                Finding::failed(
                    self.what,
                    text,
                    "remove the key if no program needs it, or set NOMAD_FIREHOSE_CONSUL_PREFIX to another folder",
                )
            }
        }
    }
}
