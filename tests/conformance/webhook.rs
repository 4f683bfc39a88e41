//! The sinks that post one message to a service: `slack`, `discord`, `teams`, `pagerduty` and `alertmanager`.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use serde_json::Value;

use crate::{
    common::{
        gate::Gate,
        order::Leaps,
        server::{Reply, Server},
    },
    rig::{Cause, Rig, suffer_at},
};

const SECRET: &str = "hushhushhushhushhushhushhushhush";

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Slack,
    Discord,
    Teams,
    PagerDuty,
    Alertmanager,
}

impl Service {
    /// What the program needs to send to `url`.
    fn variables(self, url: &str) -> Vec<(&'static str, String)> {
        let hook = format!("{url}/hooks/{SECRET}");
        match self {
            Service::Slack => vec![("SINK_TYPE", "slack".into()), ("SINK_SLACK_URL", hook)],
            Service::Discord => vec![("SINK_TYPE", "discord".into()), ("SINK_DISCORD_URL", hook)],
            Service::Teams => vec![("SINK_TYPE", "teams".into()), ("SINK_TEAMS_URL", hook)],
            Service::PagerDuty => vec![
                ("SINK_TYPE", "pagerduty".into()),
                ("SINK_PAGERDUTY_URL", format!("{url}/v2/enqueue")),
                ("SINK_PAGERDUTY_ROUTING_KEY", SECRET.into()),
            ],
            Service::Alertmanager => vec![
                ("SINK_TYPE", "alertmanager".into()),
                ("SINK_ALERTMANAGER_URL", url.replace("http://", &format!("http://me:{SECRET}@"))),
            ],
        }
    }

    /// The names and values that a person reads in a payload.
    fn fields(self, payload: &Value) -> HashMap<String, String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let pairs = |list: &Value, name: &str| {
            let pair = |pair: &Value| Some((text(&pair[name])?, text(&pair["value"])?));
            list.as_array().into_iter().flatten().filter_map(pair).collect()
        };
        let members = |object: &Value| {
            let member = |(name, value): (&String, &Value)| Some((name.replace('_', " "), text(value)?));
            object.as_object().into_iter().flatten().filter_map(member).collect()
        };
        match self {
            Service::Slack => {
                let blocks = payload["attachments"][0]["blocks"].as_array().expect("blocks");
                let fields = blocks.iter().flat_map(|block| block["fields"].as_array().into_iter().flatten());
                let pair = |field: &Value| {
                    let (name, value) = field["text"].as_str()?.split_once('\n')?;
                    Some((name.trim_matches('*').to_owned(), value.to_owned()))
                };
                fields.filter_map(pair).collect()
            }
            Service::Discord => pairs(&payload["embeds"][0]["fields"], "name"),
            Service::Teams => {
                let body = payload["attachments"][0]["content"]["body"].as_array().expect("a body");
                body.iter()
                    .find(|element| element["type"] == "FactSet")
                    .map(|set| pairs(&set["facts"], "title"))
                    .unwrap_or_default()
            }
            Service::PagerDuty => members(&payload["payload"]["custom_details"]),
            Service::Alertmanager => members(&payload["annotations"]),
        }
    }

    /// What its server answers to a good message.
    fn taken(self) -> Reply {
        match self {
            Service::Teams | Service::PagerDuty => Reply::TakeAs(202),
            _ => Reply::Take,
        }
    }
}

/// Its server behind a gate.
struct Webhook {
    service: Service,
    server: Server,
    gate: Gate,
    /// What the server itself suffers from.
    cause: Arc<Mutex<Option<Cause>>>,
    /// The evaluations that were published, by what a message shows of them.
    published: HashMap<(String, String), String>,
    given: usize,
}

impl Webhook {
    async fn start(service: Service) -> Self {
        let cause = Arc::new(Mutex::new(None));
        let now = Arc::clone(&cause);
        let server = Server::start(move |body| {
            let body: Value = serde_json::from_str(body).expect("JSON");
            let message = if let Value::Array(alerts) = &body { &alerts[0] } else { &body };
            let mark = service.fields(message).remove("Triggered by").unwrap_or_default();
            match *now.lock().expect("no panic") {
                Some(Cause::Partial) if mark == "busy" => Reply::Status(503),
                Some(Cause::Refusing) if mark == "other" => Reply::Status(400),
                _ => service.taken(),
            }
        });
        let server = server.await;
        let gate = Gate::start(&server.addr().to_string()).await;
        Webhook { service, server, gate, cause, published: HashMap::new(), given: 0 }
    }
}

impl Rig for Webhook {
    const LEAPS: Leaps = Leaps::Never;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = "400";
    const SECRETS: &'static [&'static str] = &[SECRET];

    fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = self.service.variables(&self.gate.url());
        // A summary is no record: the checks are of the sink.
        variables.push(("NOMAD_FIREHOSE_NOTIFY_WINDOW", "0s".into()));
        variables
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
        let more = self.server.taken_since(self.given);
        self.given += more.len();
        let body = |payload: &Value| {
            let mut fields = self.service.fields(payload);
            let mut field = |name: &str| fields.remove(name).unwrap_or_else(|| panic!("no {name} in {payload}"));
            self.published[&(field("Evaluation"), field("Index"))].clone()
        };
        more.iter().map(body).collect()
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

/// The same checks for each service.
macro_rules! service {
    ($name:ident, $service:ident) => {
        mod $name {
            suite! {
                super::Webhook::start(super::Service::$service).await;
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
    };
}

service!(slack, Slack);
service!(discord, Discord);
service!(teams, Teams);
service!(pagerduty, PagerDuty);
service!(alertmanager, Alertmanager);
