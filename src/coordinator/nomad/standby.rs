//! The standby of one resource: it watches the leader's Variable, and takes the lease when that is over.
//!
//! One blocking query is open at a time. It answers at once when the leader gives the lease back, and otherwise when the lease should
//! be over.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tracing::{debug, info};

use super::{
    expiry::{Expiry, Seen},
    lease::NomadLease,
    record::{Content, Heartbeat},
    shared::{SETTING, Shared, leader},
    store::Store,
    writer::{Begin, Writer},
};
use crate::{
    backoff::Backoff,
    checkpoint::Checkpoint,
    coordinator::{Turns, clock::Moment, hold::Hold, reach::CheckpointReach, reset::reset_in_variables},
    kind::Kind,
    lease::Error,
    nomad::{self, Variable, Written},
    position::RaftIndex,
    telemetry::Duty,
    throttle::Outage,
};

/// The deadline of a read, beside the time that it is to wait.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// The shortest wait of a blocking query: less would only ask more often.
const SHORTEST: Duration = Duration::from_millis(20);
/// How much longer a blocking query may take than we wait for it.
const SLACK: Duration = Duration::from_secs(1);

/// Waits for the lease of one resource.
pub(super) struct Standby {
    shared: Arc<Shared>,
    kind: Kind,
    path: String,
    expiry: Expiry,
    /// The Variable as it was last seen; `None` where there was none.
    last: Option<Variable>,
    /// A checkpoint made from what the leader had told, for the case that its own is gone.
    known: Option<Checkpoint>,
    /// The leader that the log has named.
    named: Option<String>,
    watching: Outage,
    taking: Outage,
    backoff: Backoff,
}

impl Standby {
    pub(super) fn new(shared: Arc<Shared>, kind: Kind) -> Self {
        Standby {
            path: shared.path(kind),
            shared,
            kind,
            expiry: Expiry::default(),
            last: None,
            known: None,
            named: None,
            watching: Outage::new("watching the leaders in Nomad"),
            taking: Outage::new("taking leases in Nomad"),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
        }
    }

    /// Waits until the lease is ours.
    ///
    /// # Errors
    /// The leader belongs to another cluster.
    pub(super) async fn wait(mut self) -> Result<NomadLease, Error> {
        let taken = self.until_taken().await;
        self.shared.muster.done(self.kind);
        if taken.is_ok() {
            self.shared.muster.all_taken().await;
        }
        self.shared.status.barred(self.kind, None);
        taken
    }

    async fn until_taken(&mut self) -> Result<NomadLease, Error> {
        // After a failure the state is read at once, and not waited for.
        let mut is_known = false;
        loop {
            let (now, due) = (self.shared.clock.now(), self.due());
            let after = self.last.as_ref().map_or(RaftIndex(0), |last| last.index);
            let wait = due.map_or(SHORTEST, |due| due.since(now).max(SHORTEST));
            // It answers up to a sixteenth of the wait too late.
            let blocking = (is_known && after.0 > 0).then_some((after, wait + SLACK));
            let (client, place) = (&self.shared.client, &self.shared.options.place);
            let found = tokio::select! {
                found = client.variable(place, &self.path, blocking, READ_WITHIN) => found,
                // The write that takes the lease shows whether the Variable is as it was seen.
                () = sleep(wait), if blocking.is_some() && due.is_some() => Ok(self.last.clone()),
            };
            match found {
                Ok(found) => self.saw(found)?,
                Err(error) => {
                    self.watching.log(&error);
                    self.shared.status.coordinator(Duty::Watch, Some(error.to_string()));
                    self.expiry.restart();
                    is_known = false;
                    sleep(self.backoff.failed()).await;
                    continue;
                }
            }
            self.watching.over();
            self.backoff.reset();
            self.shared.status.coordinator(Duty::Watch, None);
            is_known = true;
            let now = self.shared.clock.now();
            let is_over = self.expiry.is_over(now) && self.due().is_none_or(|due| now >= due);
            // One that somebody has deleted is created at once, and the lease waited for afterwards.
            if !is_over && self.last.is_some() {
                continue;
            }
            // It is seen through, even where nobody waits for the lease any more: then that is dropped, which gives it back.
            self.shared.muster.takes(self.kind);
            let take = self.chance().take();
            match self.shared.tasks.spawn(take).await.map_err(|_| Error::Lost)? {
                Ok(Ok(lease)) => return Ok(lease),
                Ok(Err(now)) => {
                    debug!(kind = %self.kind, "lease refused: the Variable has changed");
                    self.taking.over();
                    self.shared.status.barred(self.kind, None);
                    self.saw(now)?;
                    is_known = self.last.is_some();
                }
                Err(error) => {
                    self.shared.muster.done(self.kind);
                    self.taking.log(&error);
                    self.shared.status.barred(self.kind, Some(format!("cannot take the lease: {error}")));
                    if error.is_retryable() {
                        self.expiry.restart();
                    }
                    is_known = false;
                    sleep(self.backoff.failed()).await;
                }
            }
        }
    }

    /// When the lease may be taken; `None` where nobody leads.
    fn due(&self) -> Option<Moment> {
        let due = self.expiry.due()?;
        Some(self.shared.muster.due(self.kind, self.shared.interval()).map_or(due, |all| all.max(due)))
    }

    /// Takes in what the Variable is now.
    fn saw(&mut self, found: Option<Variable>) -> Result<(), Error> {
        let heartbeat = found.as_ref().and_then(Heartbeat::of);
        let index = found.as_ref().map_or(RaftIndex(0), |found| found.index);
        let seen = Seen { index, heartbeat: heartbeat.as_ref() };
        self.expiry.observe(seen, &self.shared.id, self.shared.clock.now());
        let led = heartbeat.filter(|heartbeat| !heartbeat.released && heartbeat.id != self.shared.id);
        if let Some(heartbeat) = &led
            && let Some(difference) = self.shared.differs(heartbeat)
        {
            let (kind, what) = (self.kind, leader(&heartbeat.holder, self.kind));
            let reset = reset_in_variables(kind, &self.shared.path(kind));
            return Err(Error::Foreign { kind, what, difference, setting: SETTING, reset });
        }
        match (self.expiry.leader(), self.expiry.due()) {
            (Some(leader), Some(due)) => self.shared.muster.waits(self.kind, &leader.id, due),
            _ => self.shared.muster.done(self.kind),
        }
        let checkpoint = found.as_ref().and_then(|found| Content::of(found).parse().ok()?);
        if let Some(head) = &checkpoint {
            let reach = CheckpointReach::of(&head.checkpoint);
            self.known = reach.checkpoint(head.checkpoint.cluster.as_ref());
            // The positions are of use while somebody leads.
            self.publish(led.as_ref().map(|_| reach));
        }
        self.shared.status.holder(self.kind, led.as_ref().map(|heartbeat| heartbeat.holder.clone()));
        if let Some(heartbeat) = led
            && self.named.replace(heartbeat.id.clone()).as_ref() != Some(&heartbeat.id)
        {
            info!(kinds = self.kind.name(), leader = heartbeat.holder, "standing by");
        }
        self.last = found;
        Ok(())
    }

    /// Publishes how far the leader has come; `None` while we wait for none.
    fn publish(&self, reach: Option<CheckpointReach>) {
        self.shared.positions.send_if_modified(|positions| match reach {
            Some(reach) => positions.insert(self.kind, reach.positions.clone()) != Some(reach.positions),
            None => positions.remove(&self.kind).is_some(),
        });
    }

    /// What [`Take::take`] needs.
    fn chance(&mut self) -> Take {
        Take {
            shared: Arc::clone(&self.shared),
            kind: self.kind,
            path: self.path.clone(),
            last: self.last.clone(),
            known: self.known.clone(),
            from: self.expiry.leader().map(|leader| leader.holder.clone()),
            silence: self.expiry.silence().filter(|_| self.last.is_none()),
        }
    }
}

/// The lease is over.
struct Take {
    shared: Arc<Shared>,
    kind: Kind,
    path: String,
    /// The Variable as it was last seen.
    last: Option<Variable>,
    known: Option<Checkpoint>,
    /// The leader whose lease is over, if it did not give it back.
    from: Option<String>,
    /// How long to wait before the lease holds.
    silence: Option<Duration>,
}

impl Take {
    /// One write that takes the lease, if the Variable is as it was last seen. Otherwise returns what it is now.
    async fn take(self) -> Result<Result<NomadLease, Option<Variable>>, nomad::Error> {
        let Take { shared, kind, path, last, known, from, silence } = self;
        let _turn = match &shared.options.turns {
            Some(turns) => Some(turns.wait().await),
            None => None,
        };
        let content = last.as_ref().map(Content::of).unwrap_or_default();
        let before = last.map_or(RaftIndex(0), |last| last.index);
        let place = &shared.options.place;
        let write = async |counter, before| {
            let (items, sent) = (content.items(&shared.heartbeat(counter, false)), shared.clock.now());
            let written = shared.client.put_variable(place, &path, (&items, before), shared.term()).await?;
            Ok::<_, nomad::Error>((written, sent))
        };
        let (mut written, mut sent) = write(0, before).await?;
        if let (Written::Done(index), Some(silence)) = (&written, silence) {
            sleep(silence).await;
            (written, sent) = write(1, *index).await?;
        }
        let index = match written {
            Written::Done(index) => index,
            Written::Conflict(now) => return Ok(Err(now)),
        };
        match from {
            Some(from) => {
                shared.metrics.of(kind).takeovers.inc();
                let (kinds, reason) = (kind.name(), "its leader sent no heartbeat within the lease");
                info!(kinds, from, reason, "leases taken over");
            }
            None => info!(kinds = kind.name(), "leases taken"),
        }
        let seat = shared.options.turns.as_ref().map(Turns::seat);
        let hold = Arc::new(Hold::new(kind, Arc::clone(&shared.clock), (shared.term(), sent), seat));
        let store = Store::new(Arc::clone(&shared), kind, content.clone(), known);
        let requests = Writer::start(shared, Arc::clone(&hold), Begin { index, content });
        Ok(Ok(NomadLease::new(hold, store, requests)))
    }
}
