//! The sink `nats`: a stream of its own for each check, on one server.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU32, Ordering},
};

use serde_json::json;
use tokio::sync::Mutex;

use crate::{
    common::{
        gate::Gate,
        nats::{self, Client},
        order::Leaps,
    },
    rig::{Cause, Rig, suffer_at},
};

const SECRET: &str = "hush-hush";
const MARKS: [&str; 3] = ["default", "busy", "other"];

/// The server that checks share as long as any of them runs.
static SERVER: Mutex<Weak<nats::Nats>> = Mutex::const_new(Weak::new());

async fn server() -> Arc<nats::Nats> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(nats::Nats::start(SECRET).await);
    *shared = Arc::downgrade(&server);
    server
}

/// A server behind a gate, and a consumer that does not go through it.
struct Nats {
    gate: Gate,
    /// The name of the stream, with which its subjects begin.
    name: String,
    /// The stream that refuses some records, where there is one.
    refusing: Option<String>,
    client: Client,
    taken: u64,
    _server: Arc<nats::Nats>,
}

impl Nats {
    async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server().await;
        let name = format!("check-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let mut client = server.client().await;
        let gate = Gate::start(&server.address()).await;
        client.create_stream(&name, &[], json!({"subjects": MARKS.map(|mark| format!("{name}.{mark}"))})).await;
        client.consume(&name).await;
        Nats { gate, name, refusing: None, client, taken: 0, _server: server }
    }

    async fn bind(&mut self, marks: &[&str]) {
        let subjects: Vec<String> = marks.iter().map(|mark| format!("{}.{mark}", self.name)).collect();
        let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
        self.client.update_stream(&self.name, &subjects).await;
    }

    /// Another stream for the records with this mark, which takes none of them.
    async fn refuse(&mut self, mark: &str, limits: serde_json::Value) {
        let rest: Vec<&str> = MARKS.into_iter().filter(|it| *it != mark).collect();
        self.bind(&rest).await;
        let refusing = format!("{}-{mark}", self.name);
        self.client.create_stream(&refusing, &[&format!("{}.{mark}", self.name)], limits).await;
        self.refusing = Some(refusing);
    }
}

impl Rig for Nats {
    /// A record goes when the one before it is stored.
    const LEAPS: Leaps = Leaps::Never;
    const IS_ONCE: bool = true;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = "message size exceeds maximum allowed";
    const SECRETS: &'static [&'static str] = &[SECRET];

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "nats".into()),
            ("SINK_NATS_URL", format!("nats://{}", self.gate.addr())),
            ("SINK_NATS_SUBJECT", format!("{}.{{TriggeredBy}}", self.name)),
            ("SINK_NATS_USERNAME", "writer".into()),
            ("SINK_NATS_PASSWORD", SECRET.into()),
            // However long a busy machine stands still.
            ("SINK_NATS_ACK_TIMEOUT", "30s".into()),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        let count = self.client.count(&self.name).await;
        let more = self.client.take(&self.name, count - self.taken).await;
        self.taken = count;
        more.into_iter().map(|message| message.body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        match cause {
            // A full stream that discards no old message for a new one.
            Cause::Partial => self.refuse("busy", json!({"max_bytes": 1, "discard": "new"})).await,
            Cause::Refusing => self.refuse("other", json!({"max_msg_size": 1})).await,
            cause => suffer_at(&self.gate, cause),
        }
    }

    async fn recover(&mut self) {
        self.gate.open();
        if let Some(refusing) = self.refusing.take() {
            self.client.delete_stream(&refusing).await;
        }
        self.bind(&MARKS).await;
    }
}

suite! {
    Nats::start().await;
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
