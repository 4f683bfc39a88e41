//! What the sink has to know of a service that takes records by tens.

use std::fmt;

use futures_util::future::BoxFuture;

use super::{Fault, Reach, Service};
use crate::record::Record;

/// What differs from service to service.
pub(in crate::sink) trait Api: fmt::Debug + Send + Sync {
    /// The client, and what it found out about the target.
    type Client: Send + Sync;
    /// A record as the service takes it.
    type Entry: Clone + Send + Sync;

    /// The value of `SINK_TYPE`.
    fn name(&self) -> &'static str;

    /// How messages name it.
    fn service(&self) -> &'static Service;

    /// The name of the target.
    fn target(&self) -> &str;

    /// The most bytes of a call.
    fn call_bytes(&self) -> usize;

    /// A call has one record of each key. A service that drops repeats needs that, and one that can fail to take a record and
    /// take the next one of its key: sent again, the first would come behind it.
    fn keeps_keys_apart(&self) -> bool;

    /// Makes a client.
    fn reach(&self) -> BoxFuture<'_, Result<Reach<Self::Client>, Fault>>;

    /// The record as the service takes it, and the bytes that it counts for.
    ///
    /// # Errors
    /// The service would never take it: the reason of a dead letter.
    fn entry(&self, record: &Record) -> Result<(Self::Entry, usize), String>;

    /// Sends one call, and gives an answer for each entry.
    fn call<'a>(
        &'a self,
        reach: &'a Reach<Self::Client>,
        entries: Vec<Self::Entry>,
    ) -> BoxFuture<'a, Result<Vec<Answer>, Fault>>;
}

/// The answer for one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sink) enum Answer {
    /// It has an id at the service.
    Taken,
    /// There is an error code for it.
    Failed {
        code: String,
        /// Words of the service.
        said: String,
        /// The service says that the fault is the sender's.
        is_ours: bool,
    },
    /// There is nothing about it.
    Missing,
}

/// The answers for so many entries whose ids are `0`, `1` and so on. What has another id is left out.
#[cfg(any(feature = "sns", feature = "sqs"))]
pub(in crate::sink) fn by_number(count: usize, answers: impl IntoIterator<Item = (String, Answer)>) -> Vec<Answer> {
    let mut all = vec![Answer::Missing; count];
    for (id, answer) in answers {
        if let Some(place) = id.parse().ok().and_then(|number: usize| all.get_mut(number)) {
            *place = answer;
        }
    }
    all
}
