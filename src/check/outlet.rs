//! The sinks: what can be tried without sending, and one marked record if it is asked for.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    clock::{Clock, Hang},
    in_pipeline,
};
use crate::{
    checkpoint::Checkpoint,
    config::{Pipeline, Shared},
    coordinator::none::Always,
    finding::Finding,
    ledger::{Effect, Ledger},
    position::RaftIndex,
    record::{Envelope, Record},
    sink::Outcome,
};

const HANG: Hang = Hang { who: "the sink", fix: "check the server of the sink, and the network to it" };

/// What is left of the time when a sink has to have its findings.
const MARGIN: Duration = Duration::from_millis(200);

pub(super) async fn check(shared: &Shared, pipelines: &[Pipeline], send_test: bool, clock: Clock) -> Vec<Finding> {
    let all = pipelines.iter().map(|pipeline| async move {
        let (mut findings, sent) = tokio::join!(of_sink(pipeline, clock), async {
            if send_test { Some(test(shared, pipeline, clock).await) } else { None }
        });
        findings.extend(sent);
        findings
    });
    join_all(all).await.into_iter().flatten().collect()
}

async fn of_sink(pipeline: &Pipeline, clock: Clock) -> Vec<Finding> {
    let begun = Instant::now();
    let within = (clock.end() - MARGIN).saturating_duration_since(begun);
    let found = tokio::time::timeout_at(clock.end(), pipeline.sink.check(within)).await;
    let found = found.unwrap_or_else(|_| {
        let what = format!("sink {}", pipeline.sink.name());
        vec![Finding::failed(what, format!("{} did not answer within {within:.1?}", HANG.who), HANG.fix)]
    });
    let timed = |found: Finding| {
        let what = in_pipeline(pipeline, &found.what);
        let took = if found.took.is_zero() { begun.elapsed() } else { found.took };
        Finding { what, took, ..found }
    };
    found.into_iter().map(timed).collect()
}

/// Sends one record through the sink as a run would, once.
async fn test(shared: &Shared, pipeline: &Pipeline, clock: Clock) -> Finding {
    let what = in_pipeline(pipeline, "sink test record");
    let send = async {
        let (mut sink, _) = match pipeline.sink.build(shared.cluster.as_deref()) {
            Ok(built) => built,
            Err(error) => return Finding::of_setting(&what, error),
        };
        let record = record(pipeline);
        let id = record.id.clone();
        match sink.send(&[record]).await.as_deref() {
            Ok([Outcome::Delivered]) => Finding::ok(&what, format!("delivered, with the id {id}")),
            Ok([Outcome::Retry { reason, .. }]) => Finding::of_error(&what, format!("not delivered: {reason}")),
            Ok([Outcome::Reject { reason }]) => {
                Finding::of_error(&what, format!("the sink rejects it, which need not be so for records: {reason}"))
            }
            Ok(_) => Finding::failed(&what, "the sink gave no answer for it", HANG.fix),
            Err(closed) => Finding::of_error(&what, closed),
        }
    };
    clock.timed(&what, HANG, send).await
}

/// A record that nobody can take for an event.
fn record(pipeline: &Pipeline) -> Record {
    let now = SystemTime::now();
    let id = format!("nomad-firehose-check-{:016x}", fastrand::u64(..));
    let ledger = Ledger::new(Arc::new(Always), Checkpoint::default());
    let ack = ledger.enter(Effect::default(), 1, None).expect("a new ledger has a lease");
    let body = serde_json::json!({
        "NomadFirehoseTest": true,
        "ID": id,
        "Time": humantime::format_rfc3339_seconds(now).to_string(),
        "text": "Test record of nomad-firehose check --send-test. It is no event: ignore it.",
    });
    let nothing: Arc<str> = "".into();
    Record {
        kind: pipeline.kinds[0],
        id: id.as_str().into(),
        key: id.as_str().into(),
        namespace: Arc::clone(&nothing),
        job: Arc::clone(&nothing),
        node: nothing,
        group: None,
        index: RaftIndex(0),
        time: None,
        body: body.to_string().into(),
        envelope: Envelope::None,
        ack,
    }
}
