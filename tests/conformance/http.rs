//! The sink `http` in its three formats.

use std::sync::{Arc, Mutex};

use crate::{
    common::{
        gate::Gate,
        order::Leaps,
        server::{Reply, Server},
    },
    rig::{Cause, Rig, suffer_at, written},
};

const SECRET: [&str; 2] = ["hush-hush-token", "hush-hush-header"];

/// A server behind a gate.
struct Http {
    format: &'static str,
    server: Server,
    gate: Gate,
    /// What the server itself suffers from.
    cause: Arc<Mutex<Option<Cause>>>,
    given: usize,
}

impl Http {
    async fn start(format: &'static str) -> Self {
        let cause = Arc::new(Mutex::new(None));
        let now = Arc::clone(&cause);
        let server = Server::start(move |body| match *now.lock().expect("no panic") {
            Some(Cause::Partial) if body.contains(&written("busy")) => Reply::Status(503),
            Some(Cause::Refusing) if body.contains(&written("other")) => Reply::Status(422),
            _ => Reply::Take,
        });
        let server = server.await;
        let gate = Gate::start(&server.addr().to_string()).await;
        Http { format, server, gate, cause, given: 0 }
    }
}

impl Rig for Http {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = "422";
    const SECRETS: &'static [&'static str] = &SECRET;

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "http".into()),
            ("SINK_HTTP_ADDRESS", format!("{}/records", self.gate.url())),
            ("SINK_HTTP_FORMAT", self.format.into()),
            ("SINK_HTTP_TOKEN", SECRET[0].into()),
            ("SINK_HTTP_HEADERS", format!("X-Key: {}", SECRET[1])),
            ("SINK_WORKER_COUNT", "4".into()),
            ("SINK_BATCH_COUNT", "50".into()),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        let more = self.server.taken_since(self.given);
        self.given += more.len();
        more.iter().map(ToString::to_string).collect()
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

mod single {
    suite! {
        super::Http::start("single").await;
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
}

mod array {
    suite! {
        super::Http::start("array").await;
        order_per_key: passes,
        partial_failure: "one answer is for a whole request",
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

mod ndjson {
    suite! {
        super::Http::start("ndjson").await;
        order_per_key: passes,
        partial_failure: "one answer is for a whole request",
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
