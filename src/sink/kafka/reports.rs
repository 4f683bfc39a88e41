//! The answers for the records of one batch.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::Notify;

/// What became of a record: acknowledged, or not and why.
pub(super) type Report = Result<(), RDKafkaErrorCode>;

/// The answers for one batch, as they come.
#[derive(Debug)]
pub(super) struct Reports {
    state: Mutex<State>,
    complete: Notify,
}

#[derive(Debug)]
struct State {
    reports: Vec<Option<Report>>,
    /// How many records are in the client's hands.
    left: usize,
}

impl Reports {
    /// For so many records.
    pub(super) fn new(records: usize) -> Arc<Self> {
        let state = State { reports: vec![None; records], left: 0 };
        Arc::new(Reports { state: Mutex::new(state), complete: Notify::new() })
    }

    /// What goes to the client with this record.
    pub(super) fn ticket(self: &Arc<Self>, number: usize) -> Box<Ticket> {
        self.with(|state| state.left += 1);
        Box::new(Ticket { reports: Arc::clone(self), number })
    }

    /// Waits until there is an answer for each record that went to the client.
    pub(super) async fn until_complete(&self) {
        loop {
            let complete = self.complete.notified();
            if self.with(|state| state.left == 0) {
                return;
            }
            complete.await;
        }
    }

    /// The answers so far.
    pub(super) fn take(&self) -> Vec<Option<Report>> {
        self.with(|state| std::mem::take(&mut state.reports))
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One record in the client's hands.
#[derive(Debug)]
pub(super) struct Ticket {
    reports: Arc<Reports>,
    number: usize,
}

impl Ticket {
    /// Notes the client's answer.
    pub(super) fn stamp(self, failure: Option<RDKafkaErrorCode>) {
        let number = self.number;
        self.reports.with(|state| {
            // Whoever waited may have taken the answers and gone.
            if let Some(report) = state.reports.get_mut(number) {
                *report = Some(failure.map_or(Ok(()), Err));
            }
        });
    }
}

impl Drop for Ticket {
    /// Also where the client returns it with an error, or lets go of it without an answer.
    fn drop(&mut self) {
        let left = self.reports.with(|state| {
            state.left -= 1;
            state.left
        });
        if left == 0 {
            self.reports.complete.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_batch_is_complete_when_no_record_is_in_the_clients_hands() {
        let reports = Reports::new(3);
        assert!(reports.until_complete().now_or_never().is_some(), "nothing was sent");
        let tickets = [0, 1, 2].map(|number| reports.ticket(number));
        let mut waits = Box::pin(reports.until_complete());
        for (ticket, failure) in tickets.into_iter().zip([None, Some(RDKafkaErrorCode::QueueFull), None]) {
            assert!((&mut waits).now_or_never().is_none());
            match failure {
                // Given back.
                None if ticket.number == 2 => drop(ticket),
                failure => ticket.stamp(failure),
            }
        }
        waits.await;
        assert_eq!(reports.take(), [Some(Ok(())), Some(Err(RDKafkaErrorCode::QueueFull)), None]);
    }
}
