//! The sink `postgres`: a schema of its own for each check, on one server.

use std::{
    collections::HashSet,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::{
    common::{
        gate::Gate,
        order::Leaps,
        postgres::{self, PASSWORD, Swallow, WRITER},
    },
    rig::{Cause, Rig, suffer_at},
};

/// The server that checks share as long as any of them runs.
static SERVER: Mutex<Weak<postgres::Postgres>> = Mutex::const_new(Weak::new());

async fn server() -> Arc<postgres::Postgres> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(postgres::Postgres::start().await);
    *shared = Arc::downgrade(&server);
    server
}

/// A server behind a gate, and a consumer that does not go through it.
struct Postgres {
    gate: Gate,
    swallow: Swallow,
    table: String,
    client: Client,
    /// The ids of the rows that were read.
    read: HashSet<String>,
    _server: Arc<postgres::Postgres>,
}

impl Postgres {
    async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server().await;
        let schema = format!("check_{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let table = format!("{schema}.nomad_evaluations");
        let client = server.client().await;
        // As the sink would create it, but that it keeps the bodies as they are.
        let create = format!(
            "CREATE SCHEMA {schema} AUTHORIZATION {WRITER}; CREATE TABLE {table} (id text PRIMARY KEY, key text NOT NULL, \
             kind text NOT NULL, cluster text, namespace text, job_id text, node_name text, nomad_index bigint NOT NULL, \
             time timestamptz, body json NOT NULL, inserted_at timestamptz NOT NULL DEFAULT now()); \
             ALTER TABLE {table} OWNER TO {WRITER}"
        );
        client.batch_execute(&create).await.expect("a schema");
        let gate = Gate::start(&server.address()).await;
        let swallow = Swallow::start(&gate.addr().to_string()).await;
        Postgres { gate, swallow, table, client, read: HashSet::new(), _server: server }
    }
}

impl Rig for Postgres {
    /// A transaction holds all that was due before.
    const LEAPS: Leaps = Leaps::Never;
    const IS_ONCE: bool = true;
    const TROUBLES: &'static [Cause] = &[Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = "violates check constraint";
    const SECRETS: &'static [&'static str] = &[PASSWORD];

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "postgres".into()),
            ("SINK_POSTGRES_URL", postgres::url(&self.swallow.address)),
            ("SINK_POSTGRES_TABLE", self.table.replace("evaluations", "{Kind}")),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    /// A reader sees a transaction whole, and orders its rows by the index.
    async fn received(&mut self) -> Vec<String> {
        let statement = format!("SELECT id, body::text FROM {} ORDER BY inserted_at, nomad_index", self.table);
        let rows = self.client.query(&statement, &[]).await.expect("rows");
        let new = rows.into_iter().filter(|row| self.read.insert(row.get(0)));
        new.map(|row| row.get(1)).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        match cause {
            // It commits, and nobody says so.
            Cause::Silent => self.swallow.set(true),
            Cause::Refusing => {
                let check = format!("ALTER TABLE {} ADD CHECK (body->>'TriggeredBy' <> 'other')", self.table);
                self.client.batch_execute(&check).await.expect("a constraint");
            }
            cause => suffer_at(&self.gate, cause),
        }
    }

    async fn recover(&mut self) {
        self.gate.open();
        self.swallow.set(false);
        let constraint = format!("{}_body_check", self.table.split('.').nth(1).expect("a name"));
        let check = format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {constraint}", self.table);
        self.client.batch_execute(&check).await.expect("no constraint");
    }
}

suite! {
    Postgres::start().await;
    order_per_key: passes,
    partial_failure: "a batch is one transaction, all of which is written or nothing",
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
