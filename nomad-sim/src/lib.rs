//! A stand-in for a Nomad cluster's HTTP API, for tests and demonstrations where no real Nomad can run.
//!
//! It serves the subset that an event carrier uses: the event stream with its small buffer and its odd start rules,
//! paged lists, blocking queries, full objects, namespaces and tokens; and Nomad's Variables with their locks, which a
//! coordinator uses. Its tests hold it to recordings of a real cluster. It can break in every way that a real one was seen to break.
//!
//! # Layout
//!
//! A [`history`](History) yields entries of the raft log; the cluster commits each to its [servers](Server): lines go
//! into the server's event buffer (`ring.rs`), objects into its tables (`state.rs`, `table.rs`). `http/` answers from
//! both. Writes of variables are decided in `variables/`. Read `sim.rs` first, the handle that tests hold, or `cluster.rs`, which commits an entry.
//!
//! # What it does not do
//!
//! Filter expressions, `reverse`, gzip, TLS, writes other than of variables. Of variables: their events go to
//! management tokens alone, and a removal of a lock that the log refused is not tried again. Child counts of job summaries are an
//! approximation. Garbage collection, which publishes nothing, takes place with a `JobBatchDeregistered` line.
//!
//! # Example
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sim = nomad_sim::Sim::builder().recording("stream.ndjson").buffer(100).servers(2).start().await?;
//! sim.play_to(40).await;
//! sim.server(0).restart();
//! println!("{} has seen {} requests", sim.url(0), sim.requests().len());
//! sim.stop().await;
//! # Ok(()) }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test that cannot go on fails"))]

mod acl;
mod address;
mod builder;
mod cluster;
mod duration;
mod filter;
mod history;
mod http;
mod json;
mod line;
mod locks;
mod object;
mod orders;
mod ring;
mod server;
mod sim;
mod state;
mod stub;
mod summary;
mod table;
mod variables;
mod versions;

pub use acl::Policy;
pub use address::{Address, Listener};
pub use builder::{Builder, Error};
pub use cluster::{Broker, Evidence, Request};
pub use history::{Empty, Entry, Generator, GeneratorOptions, History, Recording, RecordingError, Repeat, Silent};
pub use line::{Error as LineError, Event, Line};
pub use object::{AllocationFacts, Body, Object, Render};
pub use server::{Hanging, Lag, Server};
pub use sim::Sim;
pub use table::Kind;
pub use variables::{Capability, Change as VariableChange, Lost, VariableRule, Workload};
