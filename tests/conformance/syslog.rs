//! The sink `syslog`: a server of its own for each check. Most checks ask what becomes of a record that is not acknowledged, and syslog
//! acknowledges none.

use crate::{
    common::{
        gate::Gate,
        order::Leaps,
        rsyslog::{Rsyslog, body},
    },
    rig::{Cause, Rig, suffer_at},
};

/// A server behind a gate.
struct Syslog {
    gate: Gate,
    server: Rsyslog,
}

impl Syslog {
    async fn start() -> Self {
        let server = Rsyslog::start().await;
        Syslog { gate: Gate::start(&server.address()).await, server }
    }
}

impl Rig for Syslog {
    const LEAPS: Leaps = Leaps::Never;
    // What a connection holds when it is cut is lost.
    const TROUBLES: &'static [Cause] = &[Cause::Slow];
    const REFUSAL: &'static str = "";
    const SECRETS: &'static [&'static str] = &[];

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "syslog".into()),
            ("SINK_SYSLOG_PROTO", "tcp".into()),
            ("SINK_SYSLOG_ADDR", self.gate.addr().to_string()),
        ]
    }

    async fn received(&mut self) -> Vec<String> {
        self.server.more().iter().map(|message| body(message).to_owned()).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        suffer_at(&self.gate, cause);
    }

    async fn recover(&mut self) {
        self.gate.open();
    }

    async fn program_ended(&mut self) {}
}

suite! {
    Syslog::start().await;
    order_per_key: passes,
    partial_failure: "syslog has no answers",
    unknown_outcome: "syslog has no answers: what is written counts as delivered",
    reject_with_stop: "a server never refuses a message; a datagram can be too large: see tests/sink_syslog.rs",
    reject_to_file: "a server never refuses a message; a datagram can be too large: see tests/sink_syslog.rs",
    drain_on_stop: "what the buffers of the system hold counts as delivered, so nothing is left to do",
    reconnect: "a connection that is accepted and closed later takes what is written to it",
    back_pressure: "what the buffers of the system hold, which is more than the window, counts as delivered",
    bytes_in_flight: "what the buffers of the system hold, which is more than the window, counts as delivered",
    secrets: "the sink has none",
    kill_in_mid_batch: "what the buffers of the system hold counts as delivered, and is lost with the connection",
}
