//! The sink `eventbridge`: an event bus of its own for each check, on one stand-in for EventBridge.

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

/// An event bus behind a gate.
struct EventBridge {
    bus: String,
    server: Arc<Aws>,
    gate: Gate,
}

impl EventBridge {
    async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = Aws::shared().await;
        let bus = format!("check-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        server.create_bus(&bus).await;
        let gate = Gate::start(&server.address()).await;
        EventBridge { bus, server, gate }
    }
}

impl Rig for EventBridge {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Silent, Cause::Slow];
    const REFUSAL: &'static str = "MalformedDetail";
    const SECRETS: &'static [&'static str] = &SECRET;

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "eventbridge".into()),
            ("SINK_EVENT_BUS_NAME", self.bus.clone()),
            ("AWS_ENDPOINT_URL_EVENTBRIDGE", self.gate.url()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_ACCESS_KEY_ID", "AKIDTEST".into()),
            ("AWS_SECRET_ACCESS_KEY", SECRET[0].into()),
            ("AWS_SESSION_TOKEN", SECRET[1].into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            ("HOME", "/nonexistent".into()),
        ]
    }

    async fn received(&mut self) -> Vec<String> {
        self.server.take_events(&self.bus).await.into_iter().map(|message| message.body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        let cause = match cause {
            Cause::Partial => json!({"fail": [[written("busy"), "InternalFailure", false]]}),
            Cause::Refusing => json!({"fail": [[written("other"), "MalformedDetail", true]]}),
            cause => return suffer_at(&self.gate, cause),
        };
        self.server.suffer(&self.bus, cause).await;
    }

    async fn recover(&mut self) {
        self.server.suffer(&self.bus, json!({})).await;
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
    EventBridge::start().await;
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
