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
    finding::{Finding, State},
    ledger::{Effect, Ledger},
    position::RaftIndex,
    record::{Envelope, Record},
    sink::Outcome,
};

const HANG: Hang = Hang { who: "the sink", fix: "check the server of the sink, and the network to it" };

/// The ends of the variables that say where a sink is, the best first.
const PLACES: [&str; 5] = ["_ADDRESS", "_CONNECTION", "_HOST", "_STREAM_NAME", "_URL"];

/// What a check of the health of a server says in place of a fix.
const NO_FIX: &str = "nothing is sent until it does";

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
        with_fix(pipeline, Finding { what, took, ..found })
    };
    found.into_iter().map(timed).collect()
}

/// What to do about an answer of the sink that says nothing of it.
fn fix(pipeline: &Pipeline) -> String {
    let settings = pipeline.sink.definition().settings;
    let place = PLACES.iter().find_map(|end| settings.iter().find(|setting| setting.variable.ends_with(*end)));
    match place {
        Some(place) => format!("check {}, and the log of the server there", place.variable),
        None => HANG.fix.to_owned(),
    }
}

/// The same finding, with a fix if it failed without one.
fn with_fix(pipeline: &Pipeline, found: Finding) -> Finding {
    let has_fix = found.fix.as_deref().is_some_and(|fix| fix != NO_FIX);
    if found.state != State::Failed || has_fix {
        return found;
    }
    Finding { fix: Some(fix(pipeline)), ..found }
}

/// A record that was not delivered. Of a server's own words, the end after a semicolon is no fix unless it names a setting.
fn undelivered(pipeline: &Pipeline, what: &str, reason: &str) -> Finding {
    let found = Finding::of_error(what, reason);
    let names_setting = found.fix.as_deref().is_some_and(|fix| fix.contains("SINK_"));
    if reason.contains(" answered ") && !names_setting {
        return Finding::failed(what, reason, fix(pipeline));
    }
    with_fix(pipeline, found)
}

/// Sends one record through the sink as a run would, once.
async fn test(shared: &Shared, pipeline: &Pipeline, clock: Clock) -> Finding {
    let what = in_pipeline(pipeline, "sink test record");
    let send = async {
        let (sink, _) = match pipeline.sink.build(shared.cluster.as_deref()) {
            Ok(built) => built,
            Err(error) => return Finding::of_setting(&what, error),
        };
        let record = record(pipeline);
        let id = record.id.clone();
        let sent = sink.send(&[record]).await;
        sink.close().await;
        match sent.as_deref() {
            Ok([Outcome::Delivered]) => Finding::ok(&what, format!("delivered, with the id {id}")),
            Ok([Outcome::Retry { reason, .. }]) => undelivered(pipeline, &what, &format!("not delivered: {reason}")),
            Ok([Outcome::Reject { reason }]) => {
                let reason = format!("the sink rejects it, which need not be so for records: {reason}");
                undelivered(pipeline, &what, &reason)
            }
            Ok(_) => Finding::failed(&what, "the sink gave no answer for it", HANG.fix),
            Err(closed) => with_fix(pipeline, Finding::of_error(&what, closed)),
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
