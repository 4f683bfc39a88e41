//! One record a request, several at a time, and never two of one key.

use std::collections::{BTreeSet, HashMap};

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::{Http, fault::Answer};
use crate::{record::Record, sink::Outcome};

/// Sends `batch`, with one worker exactly in its order. After a failure, no further request starts.
pub(super) async fn send(http: &Http, batch: &[Record]) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = batch.iter().map(|_| None).collect();
    let (mut ready, next) = chains(batch);
    let mut under_way = FuturesUnordered::new();
    let mut failed = false;
    loop {
        while !failed
            && under_way.len() < http.workers
            && let Some(number) = ready.pop_first()
        {
            let record = std::slice::from_ref(&batch[number]);
            under_way.push(async move { (number, http.exchange(record).await) });
        }
        let Some((number, answer)) = under_way.next().await else { break };
        failed |= matches!(answer, Answer::Retry { .. });
        outcomes[number] = Some(answer.into());
        ready.extend(next[number]);
    }
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(Outcome::not_sent)).collect()
}

/// The first record of each key, and for each record the next one of its key.
fn chains(batch: &[Record]) -> (BTreeSet<usize>, Vec<Option<usize>>) {
    let (mut first, mut next, mut last) = (BTreeSet::new(), vec![None; batch.len()], HashMap::new());
    for (number, record) in batch.iter().enumerate() {
        match last.insert((record.kind, &*record.key), number) {
            Some(before) => next[before] = Some(number),
            None => drop(first.insert(number)),
        }
    }
    (first, next)
}
