//! The probe: a record of another key, sent right after the sink refused one.

use std::slice;

use tokio::time::Instant;

use super::{Worker, ask};
use crate::{
    delivery::batch::Batch,
    lease::LeaseState,
    record::Record,
    sink::{Closed, Outcome},
};

/// Where the record of a probe waits.
#[derive(Clone, Copy)]
enum ProbeSource {
    Batch(usize),
    Backlog(usize),
}

impl Worker {
    /// Finds out whether the refusal of the first record, which was sent alone, is about that record. Its outcome then
    /// says so, and becomes a rejection once that is proven.
    pub(super) async fn examine(&mut self, batch: &mut Batch, outcomes: &mut [Outcome]) -> Result<(), Closed> {
        let [outcome] = outcomes else {
            self.suspect.clear();
            return Ok(());
        };
        let Outcome::Retry { reason, after, refusal: Some(answer), .. } = outcome else {
            self.suspect.clear();
            return Ok(());
        };
        let probed = match self.find_probe(batch) {
            Some(place) => Some(self.probe(batch, place).await?),
            None => None,
        };
        let refused = &batch.records[0];
        let finding = match probed {
            Some(Outcome::Delivered) => Some(self.suspect.passed(refused, Instant::now())),
            Some(Outcome::Retry { after: asked, .. }) => {
                *after = (*after).max(asked);
                None
            }
            Some(Outcome::Reject { .. }) => None,
            None => self.suspect.known(refused),
        };
        let Some(finding) = finding else { return Ok(()) };
        let text = finding.text(refused, answer);
        if finding.is_proven() {
            *outcome = Outcome::Reject { reason: text };
        } else {
            *reason = text;
        }
        Ok(())
    }

    /// The first record of another key than the refused one, if its write may start now.
    fn find_probe(&mut self, batch: &Batch) -> Option<ProbeSource> {
        let place = match self.first_of_another_key(batch) {
            Some(place) => place,
            None => {
                // Queued bodies count in the window, wherever they wait.
                for _ in 0..self.policy.queue {
                    let Ok(message) = self.queue.try_recv() else { break };
                    self.backlog.take(message);
                }
                let found = self.first_of_another_key(batch);
                match found {
                    None if self.suspect.pass_over_none() => self.first_of_another_key(batch)?,
                    found => found?,
                }
            }
        };
        let record = match place {
            ProbeSource::Batch(number) => batch.records.get(number),
            ProbeSource::Backlog(number) => self.backlog.record(number),
        };
        record.is_some_and(|record| record.ack.lease_state() == LeaseState::Held).then_some(place)
    }

    /// The record found is the first undelivered one of its key: an earlier one would have been found instead, or has
    /// the refused key. Records whose lease is lost are never delivered.
    fn first_of_another_key(&self, batch: &Batch) -> Option<ProbeSource> {
        let refused = batch.records.first()?;
        let fits = |record: &Record| {
            (record.kind, &record.key) != (refused.kind, &refused.key)
                && !self.suspect.passes_over(record)
                && record.ack.lease_state() != LeaseState::Lost
        };
        let in_batch = batch.records.iter().position(fits).map(ProbeSource::Batch);
        in_batch.or_else(|| self.backlog.position(fits).map(ProbeSource::Backlog))
    }

    /// Sends the record at `place` alone. If the sink accepts it, it is delivered; otherwise it stays unchanged in its
    /// place.
    async fn probe(&mut self, batch: &mut Batch, place: ProbeSource) -> Result<Outcome, Closed> {
        let record = match place {
            ProbeSource::Batch(number) => Some(&batch.records[number]),
            ProbeSource::Backlog(number) => self.backlog.record(number),
        };
        let record = record.expect("the place of a record");
        let (kind, bytes) = (record.kind, record.body.len());
        let outcomes = ask(&*self.sink, &*self.observer, slice::from_ref(record)).await?;
        let outcome = outcomes.into_iter().next().expect("one outcome a record");
        if !matches!(outcome, Outcome::Delivered) {
            self.suspect.failed(record);
            self.observer.retried(kind, 1);
            return Ok(outcome);
        }
        let record = match place {
            ProbeSource::Batch(number) => Some(batch.remove(number)),
            ProbeSource::Backlog(number) => self.backlog.remove(number),
        };
        record.expect("the place of a record").ack.delivered();
        self.observer.delivered(kind, 1, bytes);
        Ok(outcome)
    }
}
