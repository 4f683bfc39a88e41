//! The bound on label sets. Each of them is a stream, for which Loki keeps an index and memory.

use std::{collections::HashSet, mem, time::Duration};

use tokio::time::Instant;

/// How long a label set counts after its last record, at least. Loki closes a stream after about half an hour without
/// entries.
const KEPT: Duration = Duration::from_secs(3600);

/// The label sets of the last one to two hours.
#[derive(Debug)]
pub(super) struct Streams {
    most: usize,
    newer: HashSet<Box<str>>,
    older: HashSet<Box<str>>,
    /// When the newer ones began.
    since: Instant,
    /// The log says that there are too many.
    is_reported: bool,
}

impl Streams {
    pub(super) fn new(most: usize) -> Self {
        let (newer, older) = (HashSet::new(), HashSet::new());
        Streams { most, newer, older, since: Instant::now(), is_reported: false }
    }

    /// Whether a record may have these labels: they are known, or there is room for them.
    pub(super) fn admit(&mut self, labels: &str) -> bool {
        if self.since.elapsed() >= KEPT {
            self.older = mem::take(&mut self.newer);
            (self.since, self.is_reported) = (Instant::now(), false);
        }
        if self.newer.contains(labels) {
            return true;
        }
        if !self.older.remove(labels) && self.newer.len() + self.older.len() >= self.most {
            if !mem::replace(&mut self.is_reported, true) {
                tracing::warn!(
                    most = self.most,
                    effect = "records of further label sets go to the stream overflow=true, with these labels in their structured metadata",
                    fix = "remove a label from SINK_LOKI_LABELS, or raise SINK_LOKI_MAX_STREAMS",
                    "too many label sets"
                );
            }
            return false;
        }
        self.newer.insert(labels.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_set_is_forgotten_after_its_last_record_and_never_before() {
        let mut streams = Streams::new(2);
        assert!(streams.admit("a") && streams.admit("b") && !streams.admit("c") && streams.admit("a"));
        tokio::time::advance(KEPT).await;
        assert!(streams.admit("a") && !streams.admit("c") && streams.admit("b") && !streams.admit("c"));
        tokio::time::advance(KEPT).await;
        assert!(streams.admit("a") && !streams.admit("c"));
        tokio::time::advance(KEPT).await;
        assert!(streams.admit("c") && streams.admit("a") && !streams.admit("b"));
    }

    proptest! {
        #[test]
        fn no_more_sets_are_admitted_than_there_may_be(labels in proptest::collection::vec("[a-h]", 1..60), most in 1_usize..6) {
            let mut streams = Streams::new(most);
            let admitted: HashSet<_> = labels.iter().filter(|labels| streams.admit(labels)).collect();
            let different: HashSet<_> = labels.iter().collect();
            prop_assert_eq!(admitted.len(), different.len().min(most));
        }
    }
}
