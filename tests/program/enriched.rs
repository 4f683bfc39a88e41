//! What is read from Nomad beside the record.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use nomad_firehose::{
    program::{Enrich, Extra},
    record::Record,
};

use crate::support::Bench;

/// Takes longer for earlier records.
#[derive(Debug, Default)]
struct Slow {
    called: AtomicUsize,
    at_once: AtomicUsize,
    most: AtomicUsize,
}

impl Enrich for Slow {
    fn extra<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Extra> {
        Box::pin(async move {
            self.called.fetch_add(1, Ordering::Relaxed);
            let now = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20 - record.index.0 % 20)).await;
            self.at_once.fetch_sub(1, Ordering::Relaxed);
            let diff = Some(format!("{{\"Env\":\"hunter2\",\"index\":{}}}", record.index.0).into());
            Extra { diff, node: Some("{\"Name\":\"n1\"}".into()), job: None }
        })
    }
}

#[tokio::test]
async fn several_records_are_enriched_at_a_time_and_keep_their_order() {
    let slow = Arc::new(Slow::default());
    let change = |config: &mut nomad_firehose::program::Config| {
        config.jq = Some("[$diff, $node.Name, $job]".into());
        config.redact = vec!["..Env".parse().expect("a path")];
    };
    let mut bench = Bench::enriched(change, Some(Arc::<Slow>::clone(&slow)));
    bench.submit((0..60).map(|_| "{}")).await;
    let expected: Vec<_> = (1..=60)
        .map(|n| (format!("a/{n}"), format!("[{{\"Env\":\"[redacted]\",\"index\":{n}}},\"n1\",null]")))
        .collect();
    assert_eq!(bench.drained().await, expected);
    let most = slow.most.load(Ordering::Relaxed);
    assert!((2..=16).contains(&most), "{most}");
}

#[tokio::test]
async fn nothing_is_read_for_a_program_that_does_not_use_it() {
    let slow = Arc::new(Slow::default());
    let change = |config: &mut nomad_firehose::program::Config| config.jq = Some("\"$diff\", $meta.id".into());
    let mut bench = Bench::enriched(change, Some(Arc::<Slow>::clone(&slow)));
    bench.submit(["{}"]).await;
    assert_eq!(bench.drained().await.len(), 2);
    assert_eq!(slow.called.load(Ordering::Relaxed), 0);
}
