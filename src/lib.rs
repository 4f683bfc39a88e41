//! Carries every event of a HashiCorp Nomad cluster into a sink, and loses none.
//!
//! # Layout
//!
//! Data flows one way, and a module imports only from those before it in the list `FIREHOSE` of `tests/imports/main.rs`. Read [`supervisor`] first: it
//! owns a run from the lease to the last checkpoint, and says what happens between SIGTERM and exit. Then follow an
//! event:
//!
//! 1. [`nomad`]: the client of Nomad's HTTP API. It knows connections, tokens and permissions, and no records.
//!    [`nomad::line`] takes a line of the event stream apart.
//! 2. [`source`]: reads the stream, proves that nothing lies between two connections ([`source::resume::proof`]), and
//!    fills gaps from lists. Its page lists its own parts, bottom up.
//! 3. [`resource`]: makes records of events and listed objects. Pure functions; the diff of task events is here.
//! 4. [`ledger`]: which lines are delivered, and how far that reaches without a hole. With [`task_cursors`] and
//!    [`position`] it becomes the [`checkpoint`].
//! 5. [`delivery`]: batches, retries, order, and [dead letters](dead_letter). The only place that
//!    sends records again.
//! 6. [`sink`]: where records go. A sink sends once, and answers for each record. [`notify`] is what sinks for people share.
//! 7. [`coordinator`]: who may emit ([`lease`]), and where the checkpoint is stored. [`consul`] is the client of Consul's
//!    HTTP API; [`http`] is what both clients share.
//!
//! 8. [`pipeline`]: from the settings to a run, and several runs side by side.
//!
//! Around them: [`cli`] and [`config`] read the settings, [`telemetry`] shows an operator what happens, [`state`] prints
//! what is stored, [`replay`] sends dead letters again, and `redact` keeps secrets out of all of it.
//!
//! The words are those of the dictionary in `ARCHITECTURE.md`; how and why each part works is in `docs/internals.md`.

pub mod backoff;
pub mod check;
pub mod checkpoint;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod consul;
pub mod coordinator;
pub mod dead_letter;
pub mod delivery;
pub mod digest;
pub mod enrich;
pub mod envelope;
mod files;
pub mod finding;
pub mod headline;
pub mod health;
pub mod http;
pub mod identity;
pub mod index_file;
pub mod json;
pub mod kind;
pub mod lease;
pub mod ledger;
pub mod meta;
pub mod nomad;
pub mod notify;
pub mod pipeline;
pub mod position;
pub mod process;
pub mod program;
mod pulse;
pub mod record;
mod redact;
pub mod replay;
pub mod resource;
pub mod rules;
pub mod service;
pub mod settings;
pub mod sink;
pub mod source;
pub mod state;
pub mod supervisor;
mod sys;
pub mod task_cursors;
pub mod telemetry;
pub mod template;
mod throttle;
mod tls;
pub mod trial;
pub mod watch;
pub mod window;
