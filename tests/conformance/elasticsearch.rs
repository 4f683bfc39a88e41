//! The sink `elasticsearch`: a stand-in for the bulk API of its own for each check.

use crate::{
    common::{
        bulk::{Bulk, Mood},
        gate::Gate,
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
    bulk: Bulk,
    gate: Gate,
    given: usize,
}

impl Behind {
    async fn start() -> Self {
        let bulk = Bulk::start().await;
        let gate = Gate::start(&bulk.server.addr().to_string()).await;
        Behind { bulk, gate, given: 0 }
    }
}

impl Rig for Behind {
    /// A document that fails alone does not hold those behind it in its request.
    const LEAPS: Leaps = Leaps::SentAgain;
    /// Without a document that is rejected for now: those behind it are there already when they come again, and so stay in front
    /// of it. In an index nothing has a place: readers sort by `nomad.index`.
    const TROUBLES: &'static [Cause] = &[Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = "mapper_parsing_exception";
    const SECRETS: &'static [&'static str] = &SECRET;

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "elasticsearch".into()),
            ("SINK_ELASTICSEARCH_ADDRESS", self.gate.url()),
            ("SINK_ELASTICSEARCH_TOKEN", SECRET[0].into()),
            ("SINK_ELASTICSEARCH_HEADERS", format!("X-Key: {}", SECRET[1])),
            ("SINK_ELASTICSEARCH_BATCH_COUNT", "50".into()),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        let more = self.bulk.stored_since(self.given);
        self.given += more.len();
        more.into_iter().map(|document| document.source["body"].to_string()).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        match cause {
            Cause::Partial => self.bulk.is(Mood::Busy(BUSY)),
            Cause::Refusing => self.bulk.is(Mood::Refusing(OTHER)),
            cause => suffer_at(&self.gate, cause),
        }
    }

    async fn recover(&mut self) {
        self.bulk.is(Mood::Well);
        self.gate.open();
    }
}

suite! {
    Behind::start().await;
    order_per_key: passes,
    partial_failure: passes,
    unknown_outcome: "what comes again is there already, so that no consumer sees whether it came",
    reject_with_stop: passes,
    reject_to_file: passes,
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: passes,
    kill_in_mid_batch: passes,
}
