//! `/events`: what the page shows, sent by the server each second (server-sent events). The events are `status`, what `/status`
//! answers, and `records`, the new headlines.
//!
//! All viewers share one report a second, and it is made only while there is one. A viewer that reads slowly skips reports.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response, Sse, sse::Event},
};
use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    View,
    lasting::Lasting,
    records::{Line, Lines},
    report::Report,
};

/// The most viewers at once.
pub(super) const VIEWERS: usize = 16;
/// How often the state is sent.
const EVERY: Duration = Duration::from_secs(1);

/// What is sent at one moment.
#[derive(Debug, Default)]
struct Tick {
    status: String,
    records: Vec<Arc<Line>>,
}

/// Those who view, and what they get.
#[derive(Clone, Debug)]
pub(super) struct Events {
    view: View,
    lines: Arc<Lines>,
    ticks: watch::Sender<Arc<Tick>>,
    viewers: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Events {
    /// Measures rates from now on, and makes reports while somebody views them, until `stop`.
    pub(super) fn start(view: View, stop: CancellationToken) -> Self {
        let viewers = Arc::new(Semaphore::new(VIEWERS));
        let events = Events { view, lines: Arc::default(), ticks: watch::Sender::default(), viewers, stop };
        tokio::spawn(events.clone().tick());
        events
    }

    async fn tick(self) {
        let mut clock = interval(EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = clock.tick() => {}
            }
            self.view.rates.sample(self.view.board.rows().iter());
            if self.ticks.receiver_count() > 0 {
                self.ticks.send_replace(self.now());
            }
        }
    }

    fn now(&self) -> Arc<Tick> {
        let status = serde_json::to_string(&Report::of(&self.view)).unwrap_or_default();
        Arc::new(Tick { status, records: self.lines.all(self.view.board.recent()) })
    }

    /// Sends the state to one more viewer, if there is room for one.
    pub(super) fn answer(&self, lasting: &Lasting) -> Response {
        let Ok(permit) = Arc::clone(&self.viewers).try_acquire_owned() else {
            let text = format!("there are {VIEWERS} viewers already\n");
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], text).into_response();
        };
        lasting.set();
        let viewer = Viewer {
            first: Some(self.now()),
            ticks: self.ticks.subscribe(),
            stop: self.stop.clone(),
            seen: 0,
            _permit: permit,
        };
        let ticks = stream::unfold(viewer, |mut viewer| async move { Some((viewer.next().await?, viewer)) });
        Sse::new(ticks.flat_map(stream::iter)).into_response()
    }
}

/// One who views.
struct Viewer {
    first: Option<Arc<Tick>>,
    ticks: watch::Receiver<Arc<Tick>>,
    stop: CancellationToken,
    /// The number of the last record that was sent.
    seen: u64,
    _permit: OwnedSemaphorePermit,
}

impl Viewer {
    /// The next events; `None` when the listener stops.
    async fn next(&mut self) -> Option<Vec<Result<Event, Infallible>>> {
        let tick = match self.first.take() {
            Some(first) => first,
            None => {
                let changed = self.stop.run_until_cancelled(self.ticks.changed()).await?;
                changed.ok()?;
                Arc::clone(&self.ticks.borrow_and_update())
            }
        };
        let mut events = vec![Ok(Event::default().event("status").data(&tick.status))];
        let new: Vec<&Line> = tick.records.iter().map(|line| &**line).filter(|line| line.number > self.seen).collect();
        if let Some(last) = new.last() {
            self.seen = last.number;
            let json = serde_json::to_string(&new).unwrap_or_default();
            events.push(Ok(Event::default().event("records").data(json)));
        }
        Some(events)
    }
}
