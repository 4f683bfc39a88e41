//! The sink `sns`: a FIFO topic of its own for each check, with a queue that gets its messages, on one stand-in for SNS and SQS.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use serde_json::json;

use crate::{
    common::{aws::Aws, gate::Gate, order::Leaps},
    rig::{Cause, Rig, suffer_at, written},
};

const SECRET: [&str; 2] = ["hush-hush-key", "hush-hush-token"];

/// A topic behind a gate.
struct Sns {
    /// The name of the topic and of its queue.
    name: String,
    arn: String,
    server: Arc<Aws>,
    gate: Gate,
}

impl Sns {
    async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = Aws::shared().await;
        let name = format!("topic-{}.fifo", COUNT.fetch_add(1, Ordering::SeqCst));
        let arn = server.create_topic(&name).await;
        let gate = Gate::start(&server.address()).await;
        Sns { name, arn, server, gate }
    }
}

impl Rig for Sns {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow];
    const REFUSAL: &'static str = "InvalidParameter";
    const SECRETS: &'static [&'static str] = &SECRET;

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "sns".into()),
            ("SINK_SNS_TOPIC_ARN", self.arn.clone()),
            ("AWS_ENDPOINT_URL_SNS", self.gate.url()),
            ("AWS_ACCESS_KEY_ID", "AKIDTEST".into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET[0].into()),
            ("AWS_SESSION_TOKEN", SECRET[1].into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            ("HOME", "/nonexistent".into()),
        ]
    }

    async fn received(&mut self) -> Vec<String> {
        self.server.take(&self.name).await.into_iter().map(|message| message.body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        let cause = match cause {
            Cause::Partial => json!({"fail": [[written("busy"), "InternalError", false]]}),
            Cause::Refusing => json!({"fail": [[written("other"), "InvalidParameter", true]]}),
            cause => return suffer_at(&self.gate, cause),
        };
        self.server.suffer(&self.name, cause).await;
    }

    async fn recover(&mut self) {
        self.server.suffer(&self.name, json!({})).await;
        self.gate.open();
    }

    /// The sink waits half a minute for an answer. A connection that breaks meanwhile tells as little.
    async fn end_silence(&mut self) {
        self.gate.cut();
    }

    async fn program_ended(&mut self) {
        self.gate.cut_once();
    }
}

suite! {
    Sns::start().await;
    order_per_key: passes,
    partial_failure: passes,
    unknown_outcome: "a FIFO topic drops what is sent again, so nothing comes twice; tests/sink_sns.rs has it with a standard one",
    reject_with_stop: passes,
    reject_to_file: passes,
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: passes,
    kill_in_mid_batch: passes,
}
