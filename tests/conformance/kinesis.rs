//! The sink `kinesis`: a stream of its own for each check, on one stand-in for Kinesis.

use std::sync::{
    Arc, Mutex, Weak,
    atomic::{AtomicU32, Ordering},
};

use serde_json::Value;

use crate::{
    common::{
        self,
        aws::{CREDENTIALS, SECRETS},
        gate::Gate,
        kinesis_proxy::{Call, Proxy, Reply},
        order::Leaps,
    },
    rig::{Cause, Rig, suffer_at},
};

/// The server that checks share as long as any of them runs.
static SERVER: tokio::sync::Mutex<Weak<common::kinesis::Kinesis>> = tokio::sync::Mutex::const_new(Weak::new());

async fn server() -> Arc<common::kinesis::Kinesis> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(common::kinesis::Kinesis::start().await);
    *shared = Arc::downgrade(&server);
    server
}

/// A stream behind a proxy that refuses records, behind a gate.
struct Kinesis {
    stream: String,
    server: Arc<common::kinesis::Kinesis>,
    _proxy: Proxy,
    gate: Gate,
    /// What the server itself suffers from.
    cause: Arc<Mutex<Option<Cause>>>,
    /// Where each shard is read on.
    shards: Vec<Value>,
}

impl Kinesis {
    async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server().await;
        let stream = format!("check-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        // One shard, for the partition keys are not those of the records.
        server.create_stream(&stream, 1).await;
        let shards = server.shards(&stream).await;
        let cause = Arc::new(Mutex::new(None));
        let now = Arc::clone(&cause);
        let proxy = Proxy::start(server.url(), move |call| answer(*now.lock().expect("no panic"), call)).await;
        let gate = Gate::start(proxy.url().trim_start_matches("http://")).await;
        Kinesis { stream, server, _proxy: proxy, gate, cause, shards }
    }
}

/// The partition keys are the marks.
fn answer(cause: Option<Cause>, call: &Call) -> Reply {
    let marked = |task_cursor: &str| -> Vec<usize> {
        let keys = call.keys.iter().enumerate();
        keys.filter(|(_, key)| *key == task_cursor).map(|(number, _)| number).collect()
    };
    match cause {
        Some(Cause::Partial) => Reply::Fail(marked("busy"), "ProvisionedThroughputExceededException"),
        Some(Cause::Refusing) if !marked("other").is_empty() => {
            Reply::Error(400, "ValidationException", "1 validation error detected".to_owned())
        }
        _ => Reply::Pass,
    }
}

impl Rig for Kinesis {
    /// A record that fails alone does not hold those behind it in its call.
    const LEAPS: Leaps = Leaps::SentAgain;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow];
    const REFUSAL: &'static str = "ValidationException";
    const SECRETS: &'static [&'static str] = &SECRETS;

    fn variables(&self) -> Vec<(&'static str, String)> {
        let sink = vec![
            ("SINK_TYPE", "kinesis".into()),
            ("SINK_KINESIS_STREAM_NAME", self.stream.clone()),
            ("SINK_KINESIS_PARTITION_KEY", "{TriggeredBy}".into()),
            ("AWS_ENDPOINT_URL_KINESIS", self.gate.url()),
            ("AWS_REGION", "us-east-1".into()),
        ];
        [sink, CREDENTIALS.map(|(name, value)| (name, value.to_owned())).to_vec()].concat()
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        let more = self.server.read(&mut self.shards).await;
        more.into_iter().map(|stored| stored.body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        if matches!(cause, Cause::Partial | Cause::Refusing) {
            *self.cause.lock().expect("no panic") = Some(cause);
        } else {
            suffer_at(&self.gate, cause);
        }
    }

    async fn recover(&mut self) {
        *self.cause.lock().expect("no panic") = None;
        self.gate.open();
    }
}

suite! {
    Kinesis::start().await;
    order_per_key: passes,
    partial_failure: passes,
    unknown_outcome: passes,
    reject_with_stop: passes,
    reject_to_file: passes,
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: passes,
    kill_in_mid_batch: passes,
}
