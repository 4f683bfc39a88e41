//! Carries every event of a HashiCorp Nomad cluster into a sink, and loses none.
//!
//! # Layout
//!
//! Data flows one way, and the modules stand in its order. Read [`supervisor`] first: it owns a run from the lease to
//! the last checkpoint. Then follow an event:
//!
//! - [`nomad`]: the client of Nomad's HTTP API. It knows connections, tokens and permissions, and nothing of records.
//! - [`source`]: the event stream, the proof that nothing lies between two connections ([`source::proof`]), and the lists
//!   that give what could have been missed.
//! - [`resource`]: from events and listed objects to records. Pure functions; the task diff is here.
//! - [`ledger`]: which lines are delivered, and how far that reaches without a hole. With [`marks`] and [`position`] it
//!   becomes the [`checkpoint`].
//! - [`delivery`]: batches, retries, order, and [dead letters](dead_letter). The only place that tries again.
//! - [`sink`]: where records go. A sink sends once, and answers for each record.
//! - [`coordinator`]: who may emit, and where it goes on.
//! - [`consul`]: the client of Consul's HTTP API, for the coordinator of that name. [`http`] is what both clients share.
//!
//! Around them: [`cli`] and [`config`] give the settings, [`telemetry`] what an operator sees, and `redact` keeps
//! secrets out of that.

pub mod backoff;
pub mod checkpoint;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod consul;
pub mod coordinator;
pub mod dead_letter;
pub mod delivery;
mod files;
pub mod http;
pub mod json;
pub mod kind;
pub mod lease;
pub mod ledger;
pub mod nomad;
pub mod position;
pub mod process;
pub mod record;
mod redact;
pub mod replay;
pub mod resource;
pub mod settings;
pub mod sink;
pub mod source;
pub mod state;
pub mod supervisor;
pub mod task_cursors;
pub mod telemetry;
pub mod template;
mod throttle;
mod tls;
pub mod window;
