//! The sink `mongodb`: a collection of its own for each check, on one FerretDB.

use std::{
    collections::HashSet,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
};

use ::mongodb::{
    Collection,
    bson::{Document, doc},
};
use futures_util::TryStreamExt as _;
use tokio::sync::Mutex;

use crate::{
    common::{
        ferretdb::{self, DATABASE, Ferretdb},
        gate::Gate,
        order::Leaps,
    },
    rig::{Cause, Rig, suffer_at},
};

/// The server that checks share as long as any of them runs.
static SERVER: Mutex<Weak<Ferretdb>> = Mutex::const_new(Weak::new());

async fn server() -> Arc<Ferretdb> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Ferretdb::start().await);
    *shared = Arc::downgrade(&server);
    server
}

/// A server behind a gate, and a consumer that does not go through it.
struct Mongodb {
    gate: Gate,
    name: String,
    collection: Collection<Document>,
    /// The ids of the documents that were read.
    read: HashSet<String>,
    _server: Arc<Ferretdb>,
}

impl Mongodb {
    async fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server().await;
        let name = format!("check_{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let collection = server.collection(&name).await;
        let gate = Gate::start(&server.address()).await;
        Mongodb { gate, name, collection, read: HashSet::new(), _server: server }
    }
}

impl Rig for Mongodb {
    /// Documents are inserted in order, and one that fails stops the others.
    const LEAPS: Leaps = Leaps::Never;
    const IS_ONCE: bool = true;
    const TROUBLES: &'static [Cause] = &[Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = "";
    const SECRETS: &'static [&'static str] = &[];

    fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("SINK_TYPE", "mongodb".into()),
            ("SINK_MONGODB_CONNECTION", ferretdb::url(&self.gate.addr().to_string())),
            ("SINK_MONGODB_DATABASE", DATABASE.into()),
            ("SINK_MONGODB_COLLECTION", self.name.clone()),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    /// In the order in which they were inserted.
    async fn received(&mut self) -> Vec<String> {
        let found = self.collection.find(doc! {}).await.expect("documents");
        let documents: Vec<Document> = found.try_collect().await.expect("documents");
        let new = documents.iter().filter(|it| self.read.insert(it.get_str("_id").expect("an id").to_owned()));
        new.map(ferretdb::body).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        suffer_at(&self.gate, cause);
    }

    async fn recover(&mut self) {
        self.gate.open();
    }
}

suite! {
    Mongodb::start().await;
    order_per_key: passes,
    partial_failure: "FerretDB refuses no single document for now",
    unknown_outcome: passes,
    reject_with_stop: "FerretDB has no validation of documents: see tests/sink_mongodb.rs for what the sink itself refuses",
    reject_to_file: "FerretDB has no validation of documents: see tests/sink_mongodb.rs for what the sink itself refuses",
    drain_on_stop: passes,
    reconnect: passes,
    back_pressure: passes,
    bytes_in_flight: passes,
    secrets: "FerretDB's login does not work with this client: tests/sink_mongodb.rs looks for the password through refused logins",
    kill_in_mid_batch: "FerretDB goes on with the command of a client that is gone, beside the same documents sent again, so their order is open",
}
