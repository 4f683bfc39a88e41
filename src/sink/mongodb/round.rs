//! Stores one batch: in order, over what is there already.

use std::collections::HashSet;

use ::mongodb::{
    Collection,
    bson::{Document, doc},
    error::{ErrorKind, InsertManyError},
    options::ReadConcern,
};
use futures_util::TryStreamExt as _;
use tokio::time::timeout;

use super::{
    Settings, document,
    fault::{DUPLICATE, Fault},
};
use crate::{
    kind::Kind,
    lease::LeaseState,
    record::Record,
    sink::{ErrorClass, Outcome},
};

/// A batch on its way.
pub(super) struct Round<'a> {
    settings: &'a Settings,
    batch: &'a [Record],
    outcomes: Vec<Option<Outcome>>,
    /// The keys of refused records. What follows under them must not stand in front of them, should they be taken later.
    refused: HashSet<(Kind, &'a str)>,
}

impl<'a> Round<'a> {
    pub(super) fn new(settings: &'a Settings, batch: &'a [Record]) -> Self {
        Round { settings, batch, outcomes: batch.iter().map(|_| None).collect(), refused: HashSet::new() }
    }

    /// Stores all of it, as far as that goes. After a failure other than a refusal of data, nothing more is stored.
    pub(super) async fn through(&mut self, database: &::mongodb::Database) -> Result<(), Fault> {
        let mut kinds: Vec<(Kind, Vec<usize>)> = Vec::new();
        for (number, record) in self.batch.iter().enumerate() {
            match kinds.iter_mut().find(|(kind, _)| *kind == record.kind) {
                Some((_, of_kind)) => of_kind.push(number),
                None => kinds.push((record.kind, vec![number])),
            }
        }
        for (kind, numbers) in kinds {
            let collection = database.collection(&self.settings.config.collection_of(kind));
            self.store(&collection, numbers).await?;
        }
        Ok(())
    }

    async fn store(&mut self, collection: &Collection<Document>, numbers: Vec<usize>) -> Result<(), Fault> {
        let mut rest = self.documents(numbers);
        while !rest.is_empty() {
            if !self.batch.iter().all(|record| record.ack.lease_state() == LeaseState::Held) {
                return Err(Fault::unheld());
            }
            let Some((at, fault)) = self.insert(collection, &rest).await? else {
                rest.iter().for_each(|(number, _)| self.outcomes[*number] = Some(Outcome::Delivered));
                return Ok(());
            };
            // In order: those before it are stored, those behind it are not.
            let behind = rest.split_off(at);
            rest.iter().for_each(|(number, _)| self.outcomes[*number] = Some(Outcome::Delivered));
            rest = behind;
            let first = rest[0].0;
            match fault {
                // It was stored before. What was sent with it then probably was, too: asked at once, not found out one by one.
                Failed::Known => {
                    self.outcomes[first] = Some(Outcome::Delivered);
                    rest = self.without_known(collection, rest.split_off(1)).await?;
                }
                Failed::Duplicate(fault) => {
                    rest = self.without_known(collection, rest).await?;
                    // Its id is not there: it is a value that has to be unique.
                    if rest.first().is_some_and(|(number, _)| *number == first) {
                        self.refuse(first, fault.reason, &mut rest);
                    }
                }
                Failed::Other(fault) if fault.class == ErrorClass::Rejected => {
                    self.refuse(first, fault.reason, &mut rest)
                }
                Failed::Other(fault) => return Err(fault),
            }
        }
        Ok(())
    }

    /// The documents of these records. One that cannot be made is refused.
    fn documents(&mut self, numbers: Vec<usize>) -> Vec<(usize, Document)> {
        let mut documents = Vec::with_capacity(numbers.len());
        for number in numbers {
            if self.refused.contains(&self.key(number)) {
                continue;
            }
            match document::of(&self.batch[number], self.settings.cluster.as_deref()) {
                Ok(document) => documents.push((number, document)),
                Err(reason) => self.refuse(number, reason, &mut Vec::new()),
            }
        }
        documents
    }

    /// Inserts in order. The place that failed, if one did, and why.
    async fn insert(
        &self,
        collection: &Collection<Document>,
        documents: &[(usize, Document)],
    ) -> Result<Option<(usize, Failed)>, Fault> {
        let Settings { config, .. } = self.settings;
        let inserted = collection.insert_many(documents.iter().map(|(_, document)| document)).ordered(true);
        let inserted = timeout(config.timeout, async { inserted.await }).await;
        let error = match inserted.map_err(|_| Fault::late(&config.shown, config.timeout))? {
            Ok(_) => return Ok(None),
            Err(error) => error,
        };
        let ErrorKind::InsertMany(InsertManyError { write_errors, write_concern_error, .. }) = &*error.kind else {
            return Err(Fault::of(&error, &config.shown));
        };
        // What is stored may be lost again: all of it is sent again, and what stays is known then.
        if let Some(error) = write_concern_error {
            return Err(Fault::of_code(error.code, &error.message, &config.shown));
        }
        let Some(first) = write_errors.as_ref().and_then(|errors| errors.first()) else {
            return Err(Fault::of(&error, &config.shown));
        };
        let fault = Fault::of_code(first.code, &first.message, &config.shown);
        let failed = match index_of(&first.message) {
            _ if first.code != DUPLICATE => Failed::Other(fault),
            // With the write concern `majority`, the server answers this too only when a majority has all up to it.
            Some("_id_") => Failed::Known,
            Some(_) => Failed::Other(fault),
            None => Failed::Duplicate(fault),
        };
        Ok(Some((first.index.min(documents.len() - 1), failed)))
    }

    /// Takes what a majority has already for delivered. Gives the others.
    async fn without_known(
        &mut self,
        collection: &Collection<Document>,
        documents: Vec<(usize, Document)>,
    ) -> Result<Vec<(usize, Document)>, Fault> {
        let Settings { config, cluster } = self.settings;
        let ids: Vec<String> =
            documents.iter().map(|(number, _)| document::id(&self.batch[*number], cluster.as_deref())).collect();
        if ids.is_empty() {
            return Ok(documents);
        }
        let asked = async {
            let found = collection.find(doc! {"_id": {"$in": &ids}}).projection(doc! {"_id": 1});
            found.read_concern(ReadConcern::majority()).await?.try_collect::<Vec<Document>>().await
        };
        let found = timeout(config.timeout, asked).await.map_err(|_| Fault::late(&config.shown, config.timeout))?;
        let found = found.map_err(|error| Fault::of(&error, &config.shown))?;
        let known: HashSet<&str> = found.iter().filter_map(|document| document.get_str("_id").ok()).collect();
        let mut others = Vec::new();
        for ((number, document), id) in documents.into_iter().zip(&ids) {
            if known.contains(id.as_str()) {
                self.outcomes[number] = Some(Outcome::Delivered);
            } else {
                others.push((number, document));
            }
        }
        Ok(others)
    }

    fn refuse(&mut self, number: usize, reason: String, rest: &mut Vec<(usize, Document)>) {
        self.outcomes[number] = Some(Outcome::Reject { reason });
        let key = self.key(number);
        self.refused.insert(key);
        rest.retain(|(number, _)| self.key(*number) != key);
    }

    /// The outcome of each record, after `fault` where there was one.
    pub(super) fn outcomes(self, fault: Option<&Fault>) -> Vec<Outcome> {
        let Round { batch, outcomes, refused, .. } = self;
        let of = |(outcome, record): (Option<Outcome>, &Record)| match (outcome, fault) {
            (Some(outcome), _) => outcome,
            (None, Some(fault)) if !refused.contains(&(record.kind, &*record.key)) => fault.outcome(),
            (None, _) => Outcome::not_sent(),
        };
        outcomes.into_iter().zip(batch).map(of).collect()
    }

    fn key(&self, number: usize) -> (Kind, &'a str) {
        let record = &self.batch[number];
        (record.kind, &record.key)
    }
}

/// Why a document was not inserted.
enum Failed {
    /// Its id is there already.
    Known,
    /// A value is there already that has to be unique: the server does not say which.
    Duplicate(Fault),
    /// Anything else.
    Other(Fault),
}

/// The index that a duplicate is about, which MongoDB names. That of `_id` is `_id_`.
fn index_of(message: &str) -> Option<&str> {
    message.split_once("index: ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duplicate_names_its_index() {
        for (message, index) in [
            ("E11000 duplicate key error collection: a.b index: _id_ dup key: { _id: \"x\" }", Some("_id_")),
            ("E11000 duplicate key error collection: a.b index: JobID_1 dup key: { JobID: \"x\" }", Some("JobID_1")),
            ("E11000 duplicate key error collection: a.b", None),
        ] {
            assert_eq!(index_of(message), index, "{message}");
        }
    }
}
