//! One message for a sink: its identity, and the ack handle that says what became of it.

use std::{collections::BTreeMap, fmt, num::NonZeroU64, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{kind::Kind, ledger::AckHandle, position::RaftIndex};

/// When something happened: nanoseconds since 1970, by Nomad's clocks. It is after 1970 and before the year 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(NonZeroU64);

impl Time {
    /// The time of this many nanoseconds since 1970; `None` for 0, which means that Nomad knows none, and for more than
    /// Go can count.
    pub fn new(nanoseconds: u64) -> Option<Self> {
        NonZeroU64::new(nanoseconds).filter(|nanoseconds| i64::try_from(nanoseconds.get()).is_ok()).map(Time)
    }

    /// Nanoseconds since 1970.
    pub fn nanoseconds(self) -> u64 {
        self.0.get()
    }
}

/// What the body is, for a sink that tells its receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Envelope {
    /// JSON, and nothing more is said about it.
    #[default]
    None,
    /// A CloudEvent in structured mode.
    CloudEvent,
    /// The data of a CloudEvent in binary mode: these attributes have to be sent as headers.
    Attributes(Box<Attributes>),
}

/// The attributes of a CloudEvent by their names, but for its `datacontenttype`, which is always `application/json`.
pub type Attributes = BTreeMap<String, String>;

/// One message for a sink.
pub struct Record {
    /// The pipeline that it came from.
    pub kind: Kind,
    /// Stable identity: the same event has the same id from any replica, after any restart, from any server.
    pub id: Box<str>,
    /// Records of one key reach the consumer in order: an allocation, a job, a node, an evaluation, a deployment.
    pub key: Arc<str>,
    /// The namespace of the object; empty where it has none (nodes).
    pub namespace: Arc<str>,
    /// The job the record belongs to; empty where there is none.
    pub job: Arc<str>,
    /// The name of the node the record belongs to; empty where there is none, or where the event does not say it.
    pub node: Arc<str>,
    /// What counting rules and summaries gather by; `None` without a rule.
    pub group: Option<Arc<str>>,
    /// The raft index of the version that the record was made of. A task event can come at another index from another
    /// replica, so it is no part of the identity.
    pub index: RaftIndex,
    /// When it happened, where a stage has read it from a body that it then replaced. Ask [`crate::meta::time`].
    pub time: Option<Time>,
    /// The message, one JSON text without a line break.
    pub body: Bytes,
    /// What the body is.
    pub envelope: Envelope,
    /// Reports that the record is delivered. Dropping it undelivered leaves the record unacknowledged.
    pub ack: AckHandle,
}

impl fmt::Debug for Record {
    /// Without the body: it can carry secrets and be many MiB.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("id", &self.id)
            .field("key", &self.key)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
