//! The sink `s3`: a stand-in for S3 of its own for each check. Batches are small, so that there are many.

use serde_json::json;

use crate::{
    common::{
        gate::Gate,
        order::Leaps,
        s3::{BUCKET, S3},
    },
    rig::{Cause, Rig, suffer_at},
};

const SECRET: [&str; 2] = ["hush-hush-key", "hush-hush-token"];

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
    const SECRETS: &'static [&'static str] = &SECRET;
    /// An object that is written again has its key and its content: it is the same.
    const IS_ONCE: bool = true;

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "s3".into()),
            ("SINK_S3_URL", format!("s3://{BUCKET}/prefix")),
            ("SINK_S3_KEY", "{Kind}".into()),
            ("SINK_S3_ENDPOINT", self.gate.url()),
            // Compressed, they would pass a slow connection at once.
            ("SINK_S3_COMPRESSION", "none".into()),
            ("SINK_S3_BATCH_SIZE", "8KiB".into()),
            ("SINK_S3_BATCH_INTERVAL", "50ms".into()),
            ("AWS_ACCESS_KEY_ID", "AKIDTEST".into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET[0].into()),
            ("AWS_SESSION_TOKEN", SECRET[1].into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            ("HOME", "/nonexistent".into()),
        ]
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

    /// The sink waits two minutes for an answer. A connection that breaks meanwhile tells as little.
    async fn end_silence(&mut self) {
        self.gate.cut();
    }

    async fn program_ended(&mut self) {
        self.gate.cut_once();
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
