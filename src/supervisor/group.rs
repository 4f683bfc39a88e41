//! Kinds whose leases came together: they share one connection, and stop together.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Plan,
    leases::{Led, store},
    or_raise,
};
use crate::{
    kind::Kind,
    source::{self, Context, Reading, Warm},
    telemetry::{Leadership, Metrics},
    throttle::Throttle,
};

/// How soon after the start something is stored, as soon as there is something: whoever takes over from a leader that
/// died young, or is started again and again, goes on from there and does not begin anew.
const FIRST_SAVE: Duration = Duration::from_millis(100);

/// Some kinds that are read and delivered.
pub(super) struct Group {
    pub(super) kinds: Vec<Kind>,
    pub(super) stop: CancellationToken,
    tracker: TaskTracker,
}

impl Group {
    /// Starts the lanes and savers of `led` in `tasks`; each kind is stored `every` so often.
    pub(super) fn start(
        ctx: &Context,
        plan: &Plan,
        every: Duration,
        led: &[Led],
        warm: Warm,
        tasks: &mut JoinSet<()>,
    ) -> Group {
        let mut ctx = ctx.clone();
        ctx.stop = CancellationToken::new();
        for led in led {
            // Before the lanes speak: what they say is said under this lease.
            ctx.status.lease(led.kind, Leadership::Leading);
            ctx.metrics.leader(led.kind, true);
        }
        let reading =
            |led: &Led| Reading { kind: led.kind, topics: led.topics.clone(), ledger: Arc::clone(&led.ledger) };
        let readings: Vec<Reading> = led.iter().map(reading).collect();
        let tracker = TaskTracker::new();
        let mut streams = source::spawn(&ctx, &plan.namespaces, &readings, warm);
        tasks.spawn(tracker.track_future(async move {
            while let Some(ended) = streams.join_next().await {
                or_raise(ended);
            }
        }));
        for led in led {
            let saver = save_regularly(led.clone(), every, ctx.stop.clone(), ctx.metrics.clone());
            tasks.spawn(tracker.track_future(saver));
        }
        Group { kinds: led.iter().map(|led| led.kind).collect(), stop: ctx.stop, tracker }
    }

    /// Reads no further, and waits until all that was read is handed to delivery. A save under way is waited for: two at
    /// once could end in the wrong order.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

async fn save_regularly(led: Led, every: Duration, stop: CancellationToken, metrics: Metrics) {
    let (mut first, mut log) = (true, Throttle::default());
    let mut next = Instant::now() + every.min(FIRST_SAVE);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep_until(next) => {}
        }
        next += if first { every.min(FIRST_SAVE) } else { every };
        if led.has_news() {
            let hurry = (!std::mem::take(&mut first)).then_some(&stop);
            store(&led, hurry, &metrics, &mut log).await;
        }
        next = next.max(Instant::now());
    }
}
