//! The one task that writes the Variable of a lease: heartbeats, and the head of the checkpoint with them.
//!
//! Every write is on the condition that the Variable has not changed since the one before. A deposed leader cannot write, because
//! whoever deposed it has written. A write whose answer was lost may still take effect: then the next one is refused, and Nomad's
//! answer shows that the Variable is ours.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use super::{
    record::{Content, Heartbeat},
    shared::Shared,
};
use crate::{
    coordinator::{clock::Moment, hold::Hold},
    lease::LeaseState,
    nomad::{self, Variable, Written},
    position::RaftIndex,
    telemetry::Duty,
    throttle::Outage,
};

/// Requests that wait for the writer.
const QUEUE: usize = 4;
/// How long a heartbeat waits for a change that is to go with it.
const GATHER: Duration = Duration::from_millis(5);
/// How soon after a failure the next heartbeat is tried.
const RETRY: Duration = Duration::from_millis(300);
/// The deadline of giving the lease back.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(2);
/// The most writes without an answer that are remembered.
const MOST_UNKNOWN: usize = 64;

/// Why a write is not known to be stored.
#[derive(Debug)]
pub(super) enum NotStored {
    /// Another replica leads, and nothing was written.
    Lost,
    /// It may have been written, or may still arrive.
    Unknown(Arc<nomad::Error>),
}

enum Request {
    Save { content: Content, reply: oneshot::Sender<Result<(), NotStored>> },
    GiveBack(oneshot::Sender<Result<(), NotStored>>),
}

/// The way to the writer of a lease.
#[derive(Debug)]
pub(super) struct Requests {
    sender: mpsc::Sender<Request>,
    /// Changes when the writer is about to send a heartbeat.
    pub(super) due: watch::Receiver<u64>,
}

impl Requests {
    /// Writes `content`, if the lease is still ours.
    pub(super) async fn save(&self, content: Content) -> Result<(), NotStored> {
        self.ask(|reply| Request::Save { content, reply }).await
    }

    /// Writes that the lease is given back, and ends the writer.
    pub(super) async fn give_back(&self) -> Result<(), NotStored> {
        self.ask(Request::GiveBack).await
    }

    async fn ask(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<(), NotStored>>) -> Request,
    ) -> Result<(), NotStored> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(request(reply)).await.map_err(|_| NotStored::Lost)?;
        answer.await.unwrap_or(Err(NotStored::Lost))
    }
}

/// The writer of one lease.
pub(super) struct Writer {
    shared: Arc<Shared>,
    hold: Arc<Hold>,
    path: String,
    /// The index of the Variable after our last write.
    index: RaftIndex,
    content: Content,
    counter: u64,
    /// The writes since then whose answers were lost.
    unknown: Vec<(u64, Moment)>,
    next_beat: Instant,
    due: watch::Sender<u64>,
    outage: Outage,
    /// Whether the log says that the lease ran out.
    suspended: bool,
    /// Another replica leads.
    is_over: bool,
}

/// What a writer begins with.
pub(super) struct Begin {
    pub(super) index: RaftIndex,
    pub(super) content: Content,
}

impl Writer {
    /// Starts the task. It ends when the lease is lost or given back, or when nobody can ask it any more.
    pub(super) fn start(shared: Arc<Shared>, hold: Arc<Hold>, Begin { index, content }: Begin) -> Requests {
        let (sender, requests) = mpsc::channel(QUEUE);
        let (due, received) = watch::channel(0);
        let path = shared.path(hold.kind);
        let next_beat = shared.next_beat();
        let writer = Writer {
            shared,
            hold,
            path,
            index,
            content,
            counter: 0,
            unknown: Vec::new(),
            next_beat,
            due,
            outage: Outage::new("writing heartbeats to Nomad"),
            suspended: false,
            is_over: false,
        };
        let tracker = writer.shared.tasks.clone();
        tracker.spawn(writer.run(requests));
        Requests { sender, due: received }
    }

    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let stop = self.shared.stop.clone();
        while !self.is_over {
            let request = tokio::select! {
                biased;
                request = requests.recv() => request,
                () = stop.cancelled() => {
                    self.hold.lose();
                    self.give_back().await.ok();
                    return;
                }
                () = sleep_until(self.next_beat) => {
                    // The lease offers now what changed, so that it goes along with this heartbeat.
                    self.due.send_modify(|number| *number += 1);
                    match tokio::time::timeout(GATHER, requests.recv()).await {
                        Ok(request) => request,
                        Err(_) => {
                            // Its failure is logged, and the next one follows.
                            self.write().await.ok();
                            continue;
                        }
                    }
                }
            };
            match request {
                Some(Request::Save { content, reply }) => {
                    self.content = content;
                    let written = self.write().await;
                    // A store that no longer waits offers its change again.
                    reply.send(written).ok();
                }
                Some(Request::GiveBack(reply)) => {
                    reply.send(self.give_back().await).ok();
                    return;
                }
                // Nobody has it any more.
                None => {
                    self.hold.lose();
                    self.give_back().await.ok();
                    return;
                }
            }
        }
    }

    /// Sends a heartbeat, with the content.
    async fn write(&mut self) -> Result<(), NotStored> {
        loop {
            self.next_beat = self.shared.next_beat();
            // It is about to be given back.
            if self.hold.lease_state() == LeaseState::Lost {
                return Err(NotStored::Lost);
            }
            match self.put(false, self.shared.term()).await {
                Ok(Some(())) => {
                    self.outage.over();
                    self.shared.metrics.heartbeat(true);
                    if std::mem::take(&mut self.suspended) {
                        info!(kind = %self.hold.kind, "leases renewed");
                        self.shared.status.coordinator(Duty::Renewal, None);
                    }
                    return Ok(());
                }
                // An earlier write of ours had arrived.
                Ok(None) => {}
                Err(NotStored::Lost) => {
                    if std::mem::take(&mut self.suspended) {
                        self.shared.status.coordinator(Duty::Renewal, None);
                    }
                    self.is_over = true;
                    self.hold.lose();
                    return Err(NotStored::Lost);
                }
                Err(NotStored::Unknown(error)) => {
                    self.failed(&error);
                    return Err(NotStored::Unknown(error));
                }
            }
        }
    }

    fn failed(&mut self, error: &nomad::Error) {
        self.outage.log(error);
        self.shared.metrics.heartbeat(false);
        self.next_beat = self.next_beat.min(Instant::now() + RETRY.mul_f64(0.5 + fastrand::f64()));
        if !self.suspended && self.hold.lease_state() == LeaseState::Suspended {
            self.suspended = true;
            error!(kind = %self.hold.kind, "leases not renewed in time");
        }
        if self.suspended {
            let reason = format!("cannot renew the lease: {error}");
            self.shared.status.coordinator(Duty::Renewal, Some(reason));
        }
    }

    /// One write. `None` where the Variable had changed by an earlier write of ours: then it is to be tried again.
    async fn put(&mut self, released: bool, within: Duration) -> Result<Option<()>, NotStored> {
        self.counter += 1;
        let items = self.content.items(&self.shared.heartbeat(self.counter, released));
        let (place, sent) = (&self.shared.options.place, self.shared.clock.now());
        match self.shared.client.put_variable(place, &self.path, (&items, self.index), within).await {
            Ok(Written::Done(index)) => {
                self.index = index;
                self.unknown.clear();
                self.hold.renewed(sent);
                Ok(Some(()))
            }
            Ok(Written::Conflict(now)) => self.conflict(now, within).await.map(|()| None),
            Err(error) => {
                if self.unknown.len() == MOST_UNKNOWN {
                    self.unknown.remove(0);
                }
                self.unknown.push((self.counter, sent));
                Err(NotStored::Unknown(Arc::new(error)))
            }
        }
    }

    /// The Variable is not as we left it.
    async fn conflict(&mut self, now: Option<Variable>, within: Duration) -> Result<(), NotStored> {
        let now = match now {
            Some(now) => Some(now),
            // It is gone, or somebody has locked it.
            None => {
                let (client, place) = (&self.shared.client, &self.shared.options.place);
                let found = client.variable(place, &self.path, None, within).await;
                found.map_err(|error| NotStored::Unknown(Arc::new(error)))?
            }
        };
        let ours = now.as_ref().and_then(Heartbeat::of).filter(|heartbeat| heartbeat.id == self.shared.id);
        match (now, ours) {
            (Some(now), Some(_)) if now.index == self.index => {
                let text = format!("the Variable {} is locked; release the lock with: nomad var lock", self.path);
                let address = self.shared.client.address().to_owned();
                let what = format!("the Variable {}", self.path);
                Err(NotStored::Unknown(Arc::new(nomad::Error::Garbage { address, what, text })))
            }
            (Some(now), Some(heartbeat)) if !heartbeat.released => {
                self.index = now.index;
                if let Some((_, sent)) = self.unknown.iter().find(|(counter, _)| *counter == heartbeat.counter) {
                    self.hold.renewed(*sent);
                }
                Ok(())
            }
            (now, _) => {
                if self.hold.lease_state() != LeaseState::Lost {
                    let reason = match now {
                        Some(_) => "another replica has taken it",
                        None => "its Variable is gone",
                    };
                    warn!(kind = %self.hold.kind, reason, "lease lost");
                }
                Err(NotStored::Lost)
            }
        }
    }

    async fn give_back(&mut self) -> Result<(), NotStored> {
        let deadline = Instant::now() + GIVE_BACK_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.put(true, left).await {
                Ok(Some(())) => return Ok(()),
                // What was to be given back is no longer ours.
                Err(NotStored::Lost) => return Ok(()),
                Err(error) if left.is_zero() => return Err(error),
                Ok(None) | Err(NotStored::Unknown(_)) => {
                    tokio::time::sleep(RETRY.min(left) / 6).await;
                }
            }
        }
    }
}
