//! The sink `otlp`, over HTTP and over gRPC: a receiver of its own for each check.

use crate::{
    common::{
        gate::Gate,
        order::Leaps,
        otlp::{Mood, Receiver},
    },
    rig::{Cause, Rig, suffer_at},
};

const SECRET: [&str; 2] = ["hush-hush-token", "hush-hush-header"];

/// As it stands in a record.
const BUSY: &str = r#""TriggeredBy":"busy""#;
const OTHER: &str = r#""TriggeredBy":"other""#;

/// A server behind a gate.
struct Behind {
    receiver: Receiver,
    gate: Gate,
    protocol: &'static str,
    given: usize,
}

impl Behind {
    async fn start() -> Self {
        Self::of(Receiver::start().await, "http/protobuf").await
    }

    async fn start_grpc() -> Self {
        Self::of(Receiver::start_grpc().await, "grpc").await
    }

    async fn of(receiver: Receiver, protocol: &'static str) -> Self {
        let gate = Gate::start(&receiver.server.addr().to_string()).await;
        Behind { receiver, gate, protocol, given: 0 }
    }
}

impl Rig for Behind {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = "no such stream";
    const SECRETS: &'static [&'static str] = &SECRET;

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "otlp".into()),
            ("SINK_OTLP_ADDRESS", self.gate.url()),
            ("SINK_OTLP_PROTOCOL", self.protocol.into()),
            ("SINK_OTLP_TOKEN", SECRET[0].into()),
            ("SINK_OTLP_HEADERS", format!("X-Key: {}", SECRET[1])),
            ("SINK_OTLP_BATCH_COUNT", "50".into()),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        let more = self.receiver.stored_since(self.given);
        self.given += more.len();
        more.into_iter().map(|entry| entry.body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        match cause {
            Cause::Partial => self.receiver.is(Mood::Busy(BUSY)),
            Cause::Refusing => self.receiver.is(Mood::Refusing(OTHER)),
            cause => suffer_at(&self.gate, cause),
        }
    }

    async fn recover(&mut self) {
        self.receiver.is(Mood::Well);
        self.gate.open();
    }
}

suite! {
    Behind::start().await;
    order_per_key: passes,
    partial_failure: "a receiver answers for a whole request, and does not say which log records it rejected",
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

/// The same with calls.
mod grpc {
    use super::Behind;

    suite! {
        Behind::start_grpc().await;
        order_per_key: passes,
        partial_failure: "a receiver answers for a whole request, and does not say which log records it rejected",
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
}
