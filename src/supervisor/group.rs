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
    or_resume_panic,
};
use crate::{
    kind::Kind,
    source::{self, Context, Reading, Warm},
    telemetry::{Leadership, Metrics, metrics::Transition},
    throttle::Throttle,
};

/// How soon after the start a first checkpoint is stored, once there is something to store. A leader that dies young, or that is
/// restarted again and again, then leaves progress behind.
const FIRST_SAVE: Duration = Duration::from_millis(100);

/// Some kinds that are read and delivered.
pub(super) struct Group {
    pub(super) kinds: Vec<Kind>,
    pub(super) stop: CancellationToken,
    tracker: TaskTracker,
}

impl Group {
    /// Starts the streams of `led` in `tasks`.
    pub(super) fn start(ctx: &Context, plan: &Plan, led: &[Led], warm: Warm, tasks: &mut JoinSet<()>) -> Group {
        let mut ctx = ctx.clone();
        ctx.stop = CancellationToken::new();
        for led in led {
            // Before the streams start: a new lease clears what the streams of the last one reported.
            ctx.status.lease(led.kind, Leadership::Leading);
            ctx.metrics.lease(led.kind, Transition::Acquired);
        }
        let reading =
            |led: &Led| Reading { kind: led.kind, topics: led.topics.clone(), ledger: Arc::clone(&led.ledger) };
        let readings: Vec<Reading> = led.iter().map(reading).collect();
        let tracker = TaskTracker::new();
        let mut streams = source::spawn(&ctx, &plan.namespaces, &plan.kinds, &readings, warm);
        tasks.spawn(tracker.track_future(async move {
            while let Some(ended) = streams.join_next().await {
                or_resume_panic(ended);
            }
        }));
        Group { kinds: led.iter().map(|led| led.kind).collect(), stop: ctx.stop, tracker }
    }

    /// Stores the progress of each of `led` at an interval of `every`, in `tasks`, until the group stops.
    pub(super) fn save_regularly(&self, led: &[Led], every: Duration, metrics: &Metrics, tasks: &mut JoinSet<()>) {
        for led in led {
            let saver = save_regularly(led.clone(), every, self.stop.clone(), metrics.clone());
            tasks.spawn(self.tracker.track_future(saver));
        }
    }

    /// Stops reading, and waits until delivery has everything that was read. It also waits for a save under way: two saves at once
    /// could land in the wrong order.
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
