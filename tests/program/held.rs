//! What holds a pipeline, and what the status says of it.

use nomad_firehose::lease::LeaseState;

use crate::support::{Bench, until};

#[tokio::test]
async fn a_record_that_no_program_takes_holds_the_pipeline_until_its_lease_is_lost() {
    let mut bench = Bench::holding(|config| config.jq = Some("if .bad then error(\"no\") else . end".into()));
    bench.submit(["{}", "{}", "{\"bad\":1}", "{}"]).await;
    let mut arrived = 0;
    while arrived < 2 {
        arrived += bench.next().await.expect("records").len();
    }
    until("blocked", || bench.phase().contains("takes no jobs record a/3: the program failed: no; fix")).await;
    assert!(!bench.status.is_ready());
    assert_eq!(bench.acknowledged(), 2);
    bench.lease.set(LeaseState::Lost);
    until("the record is dropped", || bench.phase() == "leader").await;
    bench.lease.set(LeaseState::Held);
    bench.submit(["{\"next\":1}"]).await;
    assert_eq!(bench.next().await.expect("records")[0].0, "a/5");
    assert_eq!(bench.acknowledged(), 2);
}

#[tokio::test]
async fn a_record_that_ends_the_worker_holds_the_pipeline() {
    let mut bench = Bench::holding(|config| config.jq = Some("def f: 1+f; if .bad then f else . end".into()));
    bench.submit(["{}", "{\"bad\":1}", "{}"]).await;
    assert_eq!(bench.next().await.expect("records").len(), 1);
    until("blocked", || bench.phase().contains("record a/2: the program overflowed its stack")).await;
    assert_eq!(bench.acknowledged(), 1);
}

#[tokio::test]
async fn a_worker_that_cannot_be_started_is_reported() {
    let mut bench = Bench::with(|config| config.worker = "/nonexistent/worker".into());
    bench.submit(["{}"]).await;
    until("blocked", || {
        bench.phase().contains("the process that runs jq cannot be started: the system did not start it")
    })
    .await;
    assert_eq!(bench.acknowledged(), 0);
    bench.close_behind();
    let handle = bench.handle.clone().expect("open");
    assert!(handle.drain().await.is_err());
}

#[tokio::test]
async fn a_worker_that_ends_at_its_start_is_reported() {
    let mut bench = Bench::with(|config| config.worker = "/bin/false".into());
    bench.submit(["{}"]).await;
    until("blocked", || bench.phase().contains("cannot be started: the jq worker ended with code 1")).await;
}
