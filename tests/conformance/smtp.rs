//! The sink `smtp`.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    common::{
        gate::Gate,
        order::Leaps,
        smtp::{Options, Smtp},
    },
    rig::{Cause, Rig, suffer_at},
};

const SECRET: &str = "hush-hush-password";
const LOGIN: &str = "me:hush-hush-password";

/// A mail server behind a gate.
struct Mail {
    server: Smtp,
    gate: Gate,
    /// The evaluations that were published, by what a mail shows of them.
    published: HashMap<(String, String), String>,
    /// How far its mails are read.
    place: u64,
}

impl Mail {
    async fn start() -> Self {
        let server = Smtp::start(Options { login: LOGIN, ..Options::default() }).await;
        let gate = Gate::start(&server.address()).await;
        Mail { server, gate, published: HashMap::new(), place: 0 }
    }
}

impl Rig for Mail {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = "554";
    const SECRETS: &'static [&'static str] = &[SECRET];

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "smtp".into()),
            ("SINK_SMTP_HOST", "127.0.0.1".into()),
            ("SINK_SMTP_PORT", self.gate.addr().port().to_string()),
            ("SINK_SMTP_TLS", "none".into()),
            ("SINK_SMTP_USERNAME", "me".into()),
            ("SINK_SMTP_PASSWORD", SECRET.into()),
            ("SINK_SMTP_FROM", "nomad@example.com".into()),
            ("SINK_SMTP_TO", "ops@example.com".into()),
            // A summary is no record: the checks are of the sink.
            ("NOMAD_FIREHOSE_NOTIFY_WINDOW", "0s".into()),
        ]
    }

    fn published(&mut self, lines: &[String]) {
        for line in lines {
            let line: Value = serde_json::from_str(line).expect("a line");
            let evaluation = &line["Events"][0]["Payload"]["Evaluation"];
            let id = evaluation["ID"].as_str().expect("an id").to_owned();
            self.published.insert((id, evaluation["ModifyIndex"].to_string()), evaluation.to_string());
        }
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        let more = self.server.taken_from(&mut self.place);
        let body = |mail: &Value| {
            let text = mail["text"].as_str().expect("a text");
            let field = |name: &str| {
                let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
            };
            self.published[&(field("Evaluation"), field("Index"))].clone()
        };
        more.iter().map(body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        match cause {
            Cause::Partial => self.server.suffer("451 Triggered by: busy"),
            Cause::Refusing => self.server.suffer("554 Triggered by: other"),
            // Each step of SMTP waits for an answer: a gate that lets none through would not let a mail through either.
            Cause::Silent => self.server.suffer("silent"),
            cause => suffer_at(&self.gate, cause),
        }
    }

    async fn recover(&mut self) {
        self.server.suffer("");
        self.gate.open();
    }
}

suite! {
    Mail::start().await;
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
