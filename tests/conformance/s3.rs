//! The sink `s3`: a stand-in for S3 of its own for each check. Batches are small, so that there are many.

use serde_json::json;

use crate::{
    common::{
        aws::{CREDENTIALS, SECRETS},
        gate::Gate,
        order::Leaps,
        s3::{BUCKET, S3},
    },
    rig::{Cause, Rig, suffer_at},
};

/// A bucket behind a gate.
struct Objects {
    server: S3,
    gate: Gate,
}

impl Objects {
    async fn start() -> Self {
        let server = S3::start().await;
        Objects { gate: Gate::start(&server.address()).await, server }
    }
}

impl Rig for Objects {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Down, Cause::Silent, Cause::Slow];
    const REFUSAL: &'static str = "";
    const SECRETS: &'static [&'static str] = &SECRETS;
    /// An object that is written again has its key and its content: it is the same.
    const IS_ONCE: bool = true;

    fn variables(&self) -> Vec<(&'static str, String)> {
        let sink = vec![
            ("SINK_TYPE", "s3".into()),
            ("SINK_S3_URL", format!("s3://{BUCKET}/prefix")),
            ("SINK_S3_KEY", "{Kind}".into()),
            ("SINK_S3_ENDPOINT", self.gate.url()),
            // Compressed, they would pass a slow connection at once.
            ("SINK_S3_COMPRESSION", "none".into()),
            ("SINK_S3_BATCH_SIZE", "8KiB".into()),
            ("SINK_S3_BATCH_INTERVAL", "50ms".into()),
        ];
        [sink, CREDENTIALS.map(|(name, value)| (name, value.to_owned())).to_vec()].concat()
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        self.server.more().await
    }

    async fn suffer(&mut self, cause: Cause) {
        suffer_at(&self.gate, cause);
    }

    async fn recover(&mut self) {
        self.server.suffer(json!({})).await;
        self.gate.open();
    }
}

suite! {
    Objects::start().await;
    order_per_key: passes,
    partial_failure: "an object is there as a whole or not at all; tests/sink_s3.rs refuses one of several",
    unknown_outcome: passes,
    reject_with_stop: "S3 takes whatever bytes an object has",
    reject_to_file: "S3 takes whatever bytes an object has",
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: passes,
    kill_in_mid_batch: passes,
}
