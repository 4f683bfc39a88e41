//! What one Variable holds: the heartbeat of the leader, and the head of the checkpoint.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::{Checkpoint, check_version},
    cluster,
    nomad::{Items, Variable},
};

/// The keys of the items.
const HEARTBEAT: &str = "heartbeat";
const CHECKPOINT: &str = "checkpoint";
const TASK_CURSORS: &str = "task_cursors";

/// That a leader lives. Unknown fields are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Heartbeat {
    /// The coordinator that wrote it: a number by chance, another one for each start of a process.
    pub(super) id: String,
    /// Grows with each write of this leader.
    pub(super) counter: u64,
    /// The leader's lease: after this time without a heartbeat it does not emit.
    pub(super) lease_ms: u64,
    /// Its name, for people.
    #[serde(default)]
    pub(super) holder: String,
    /// The cluster that it reads, as far as it knows it.
    #[serde(default, deserialize_with = "cluster::lenient", skip_serializing_if = "Option::is_none")]
    pub(super) cluster: Option<cluster::Identity>,
    /// It has given the lease back.
    #[serde(default)]
    pub(super) released: bool,
}

impl Heartbeat {
    /// `None` where there is none: then it proves nothing.
    pub(super) fn of(variable: &Variable) -> Option<Self> {
        serde_json::from_str(variable.items.get(HEARTBEAT)?).ok()
    }

    pub(super) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// The stored checkpoint, but for what other Variables hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// The text of a [`Head`]; `None` before the first checkpoint.
    pub(super) head: Option<String>,
    /// The task cursors that were set last, as [`super::parts`] writes them.
    pub(super) recent: Option<String>,
}

impl Content {
    pub(super) fn of(variable: &Variable) -> Self {
        let text = |key: &str| variable.items.get(key).cloned();
        Content { head: text(CHECKPOINT), recent: text(TASK_CURSORS) }
    }

    /// The items of the Variable with this heartbeat.
    pub(super) fn items(&self, heartbeat: &Heartbeat) -> Items {
        let heartbeat = serde_json::to_string(heartbeat).expect("texts and numbers are JSON");
        let mut items: Items = BTreeMap::from([(HEARTBEAT.to_owned(), heartbeat)]);
        let parts = [(CHECKPOINT, &self.head), (TASK_CURSORS, &self.recent)];
        items.extend(parts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text.clone()?))));
        items
    }

    /// The head; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read; the text says why.
    pub(super) fn parse(&self) -> Result<Option<Head>, String> {
        #[derive(Deserialize)]
        struct Layout {
            version: u32,
        }
        let Some(text) = &self.head else { return Ok(None) };
        // The layout decides what else is there, so report a wrong version first.
        let Layout { version } = serde_json::from_str(text).map_err(|error| error.to_string())?;
        check_version(version)?;
        serde_json::from_str(text).map(Some).map_err(|error| error.to_string())
    }
}

/// The text of the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    /// Without its task cursors.
    #[serde(flatten)]
    pub(super) checkpoint: Checkpoint,
    /// The Variables that hold them.
    #[serde(default)]
    pub(super) parts: Parts,
}

/// The names of the Variables with task cursors, below the one with the head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parts {
    /// A part of all tasks each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pages: Vec<String>,
    /// What was set after the pages, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) logs: Vec<String>,
}

impl Parts {
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.pages.iter().chain(&self.logs)
    }
}
