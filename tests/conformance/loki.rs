//! The sink `loki`: a stand-in for Loki of its own for each check.

use crate::{
    common::{
        gate::Gate,
        loki::{Loki, Mood},
        order::Leaps,
    },
    rig::{Cause, Rig, suffer_at},
};

const SECRET: [&str; 2] = ["hush-hush-token", "hush-hush-header"];

/// As it stands in a record.
const BUSY: &str = r#""TriggeredBy":"busy""#;
const OTHER: &str = r#""TriggeredBy":"other""#;

/// A server behind a gate.
struct Behind {
    loki: Loki,
    gate: Gate,
    given: usize,
}

impl Behind {
    async fn start() -> Self {
        let loki = Loki::start().await;
        let gate = Gate::start(&loki.server.addr().to_string()).await;
        Behind { loki, gate, given: 0 }
    }
}

impl Rig for Behind {
    /// Of a request that Loki refuses in part, it has taken the rest.
    const LEAPS: Leaps = Leaps::SentAgain;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = "max entry size";
    const SECRETS: &'static [&'static str] = &SECRET;

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "loki".into()),
            ("SINK_LOKI_ADDRESS", self.gate.url()),
            ("SINK_LOKI_TOKEN", SECRET[0].into()),
            ("SINK_LOKI_HEADERS", format!("X-Key: {}", SECRET[1])),
            ("SINK_LOKI_BATCH_COUNT", "50".into()),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        let more = self.loki.stored_since(self.given);
        self.given += more.len();
        more.into_iter().map(|entry| entry.line).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        match cause {
            Cause::Partial => self.loki.is(Mood::Busy(BUSY)),
            Cause::Refusing => self.loki.is(Mood::Refusing(OTHER)),
            cause => suffer_at(&self.gate, cause),
        }
    }

    async fn recover(&mut self) {
        self.loki.is(Mood::Well);
        self.gate.open();
    }
}

suite! {
    Behind::start().await;
    order_per_key: passes,
    partial_failure: "Loki answers for a whole request, and drops what it has already when the request comes again",
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
