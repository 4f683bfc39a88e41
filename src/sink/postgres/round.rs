//! What becomes of one batch: a transaction for all of it, or for halves until the refused records stand alone.

use std::collections::HashSet;

use super::{Settings, fault::Fault, session::Session};
use crate::{
    kind::Kind,
    record::Record,
    sink::{ErrorClass, Outcome},
};

/// A batch on its way.
pub(super) struct Round<'a> {
    settings: &'a Settings,
    batch: &'a [Record],
    outcomes: Vec<Option<Outcome>>,
    /// The records of the transaction under way.
    under_way: Vec<usize>,
    /// The keys of refused records. What follows under them must not stand in front of them, should they be taken later.
    refused: HashSet<(Kind, &'a str)>,
}

impl<'a> Round<'a> {
    pub(super) fn new(settings: &'a Settings, batch: &'a [Record]) -> Self {
        let outcomes = batch.iter().map(|_| None).collect();
        Round { settings, batch, outcomes, under_way: Vec::new(), refused: HashSet::new() }
    }

    /// Writes all of it, as far as that goes. After a failure other than a refusal of data, nothing more is written.
    pub(super) async fn through(&mut self, session: &mut Session) -> Result<(), Fault> {
        // The last part is next, so that halves stay in order.
        let mut parts: Vec<Vec<usize>> = vec![(0..self.batch.len()).collect()];
        while let Some(mut part) = parts.pop() {
            part.retain(|number| !self.refused.contains(&self.key(*number)));
            if part.is_empty() {
                continue;
            }
            let records: Vec<&Record> = part.iter().map(|number| &self.batch[*number]).collect();
            self.under_way.clone_from(&part);
            match session.write(self.settings, &records).await {
                Ok(()) => part.iter().for_each(|number| self.outcomes[*number] = Some(Outcome::Delivered)),
                Err(fault) if fault.class != ErrorClass::Rejected => return Err(fault),
                Err(fault) if part.len() == 1 => {
                    self.outcomes[part[0]] = Some(fault.outcome());
                    self.refused.insert(self.key(part[0]));
                }
                Err(fault) => {
                    tracing::debug!(reason = %fault.reason, records = part.len(), "a batch is refused, its halves are sent");
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
            }
            self.under_way.clear();
        }
        Ok(())
    }

    /// Whether a record was refused.
    pub(super) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// The outcome of each record, after `fault` where there was one.
    pub(super) fn outcomes(self, fault: Option<&Fault>) -> Vec<Outcome> {
        let Round { mut outcomes, under_way, .. } = self;
        if let Some(fault) = fault {
            // Without one under way, none was sent.
            let about = if under_way.is_empty() { (0..outcomes.len()).collect() } else { under_way };
            for number in about {
                outcomes[number].get_or_insert_with(|| fault.outcome());
            }
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(Outcome::not_sent)).collect()
    }

    fn key(&self, number: usize) -> (Kind, &'a str) {
        let record = &self.batch[number];
        (record.kind, &record.key)
    }
}
