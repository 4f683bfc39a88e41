//! What the rigs for services of AWS share: a target of its own for each check, behind a gate, on one stand-in.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use serde_json::json;

use crate::{
    common::{
        aws::{Aws, CREDENTIALS},
        gate::Gate,
    },
    rig::{Cause, suffer_at, written},
};

/// The name of a queue, a topic or a bus, and its server behind a gate.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) server: Arc<Aws>,
    pub(crate) gate: Gate,
}

impl Target {
    /// A name that no other check has, with this suffix. What has it is yet to be made.
    pub(crate) async fn new(suffix: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = Aws::shared().await;
        let name = format!("check-{}{suffix}", COUNT.fetch_add(1, Ordering::SeqCst));
        let gate = Gate::start(&server.address()).await;
        Target { name, server, gate }
    }

    /// The variables for the address, in that with this name, and for the credentials.
    pub(crate) fn variables(&self, endpoint: &'static str) -> Vec<(&'static str, String)> {
        let credentials = CREDENTIALS.map(|(name, value)| (name, value.to_owned()));
        [(endpoint, self.gate.url())].into_iter().chain(credentials).collect()
    }

    /// Lets the service suffer. Of a call it answers some records with the first code for now, and refuses some with the second.
    pub(crate) async fn suffer(&self, cause: Cause, (for_now, refusal): (&str, &str)) {
        let cause = match cause {
            Cause::Partial => json!({"fail": [[written("busy"), for_now, false]]}),
            Cause::Refusing => json!({"fail": [[written("other"), refusal, true]]}),
            cause => return suffer_at(&self.gate, cause),
        };
        self.server.suffer(&self.name, cause).await;
    }

    pub(crate) async fn recover(&self) {
        self.server.suffer(&self.name, json!({})).await;
        self.gate.open();
    }
}
