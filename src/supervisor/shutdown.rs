//! The end of a run, from SIGTERM to the end of the process:
//!
//! 1. **Signal.** The binary cancels [`Shutdown::stop`] on the first SIGINT or SIGTERM, and [`Shutdown::abort`] on a second one.
//! 2. **Source.** The supervisor stops every stream and every list. What a page has delivered by then is stored as known.
//! 3. **Drain.** Delivery sends what was read until the sink has acknowledged all of it.
//! 4. **Final checkpoint.** Each kind stores what was acknowledged, as soon as its checkpoint was compared with the cluster.
//! 5. **Release.** The leases are given back, so that a standby takes over at once.
//! 6. **Close.** The coordinator ends its session. The binary exits with 0 if steps 3 to 5 are complete, otherwise with 1.
//!
//! [`Plan::grace`](super::Plan::grace) bounds steps 2 to 5, and its last [`SAVE_WITHIN`] belongs to steps 4 and 5: when the drain is
//! not complete by then, it is given up. An abort gives it up at once. What is given up is not in the checkpoint, so the next
//! leader sends it again.
//!
//! If the sink closes, the run goes straight to step 5 and exits with 0: what the far side had not read was not delivered, and a
//! checkpoint could cover it.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Run, or_resume_panic};
use crate::coordinator::Coordinator;

/// The part of the grace period that is kept for the final checkpoint and the release.
const SAVE_WITHIN: Duration = Duration::from_millis(500);
/// How long the final checkpoint of a short run may wait for Nomad to say which cluster this is.
pub(super) const COMPARED_WITHIN: Duration = Duration::from_secs(10);
/// What happens to undelivered records, for the log.
const RESEND: &str = "send undelivered records again at the next start";

/// How a run is ended from outside.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Stop reading, deliver what was read, store the checkpoint, release the lease.
    pub stop: CancellationToken,
    /// Give up at once what is not delivered.
    pub abort: CancellationToken,
}

/// Why a run ended.
#[derive(Debug)]
pub enum Ending {
    /// It was asked to stop.
    Stopped {
        /// Whether everything that was read is delivered, and stored as delivered.
        clean: bool,
    },
    /// The sink takes nothing more. The checkpoint was left as it was.
    SinkClosed,
}

/// How a drain ended.
enum Drain {
    /// The sink has acknowledged everything that was read.
    Complete,
    /// The grace period or an abort ended it.
    GivenUp,
    SinkClosed,
}

impl Run<'_> {
    /// Steps 2 to 5.
    pub(super) async fn stop(&mut self) -> Ending {
        let deadline = Instant::now() + self.plan.grace;
        self.standby = None;
        let save_from = deadline - SAVE_WITHIN.min(self.plan.grace);
        match self.drain_until(save_from).await {
            Drain::Complete if !self.shutdown.abort.is_cancelled() => {
                let until = (Instant::now() + COMPARED_WITHIN).min(save_from);
                Ending::Stopped { clean: self.save_and_release(until, deadline).await }
            }
            Drain::Complete | Drain::GivenUp => {
                // What was acknowledged is still worth storing. The grace period may be over, so this has a deadline of its own.
                self.save_and_release(Instant::now(), Instant::now() + SAVE_WITHIN).await;
                Ending::Stopped { clean: false }
            }
            Drain::SinkClosed => self.release_after_sink_closed().await,
        }
    }

    /// Steps 2 and 3. If it gives up at `deadline`, it also cancels [`Shutdown::abort`], which ends delivery.
    async fn drain_until(&mut self, deadline: Instant) -> Drain {
        let is_leader = !self.leases.led.is_empty();
        let groups = std::mem::take(&mut self.groups);
        groups.iter().for_each(|group| group.stop.cancel());
        let drained = async {
            for group in groups {
                group.stop().await;
            }
            while let Some(drained) = self.draining.join_next().await {
                or_resume_panic(drained);
            }
            while let Some(ended) = self.tasks.join_next().await {
                or_resume_panic(ended);
            }
            if self.ctx.delivery.drain().await.is_err() {
                info!("delivery ended");
            }
        };
        tokio::select! {
            () = drained => {}
            () = sleep_until(deadline) => {
                warn!(action = RESEND, "grace period expired");
                self.shutdown.abort.cancel();
                return Drain::GivenUp;
            }
            () = self.shutdown.abort.cancelled() => {
                warn!(action = RESEND, "stop aborted");
                return Drain::GivenUp;
            }
            () = self.sink_closed.cancelled() => return Drain::SinkClosed,
        }
        if is_leader {
            let kinds = self.plan.kinds.iter();
            let records: u64 = kinds.map(|(kind, _)| self.ctx.metrics.summary(*kind).delivered).sum();
            info!(records, "drained");
        }
        Drain::Complete
    }

    /// Steps 4 and 5. Checkpoints that were not compared with the cluster wait for that `until` then. Returns whether both steps were
    /// done by `deadline`: a disk that hangs must not keep the process. An abort that comes during it ends it too.
    async fn save_and_release(&mut self, until: Instant, deadline: Instant) -> bool {
        let was_aborted = self.shutdown.abort.is_cancelled();
        tokio::select! {
            saved = self.leases.finish(until) => saved,
            () = self.shutdown.abort.cancelled(), if !was_aborted => false,
            () = sleep_until(deadline) => {
                warn!("final checkpoint or release timed out");
                false
            }
        }
    }

    /// Step 5 alone.
    pub(super) async fn release_after_sink_closed(&mut self) -> Ending {
        self.leases.release().await;
        Ending::SinkClosed
    }
}

/// Step 6, as far as the coordinator is concerned.
pub(super) async fn close(coordinator: &dyn Coordinator) {
    if timeout(SAVE_WITHIN, coordinator.close()).await.is_err() {
        info!(action = "let its session expire", "coordinator did not close in time");
    }
}
