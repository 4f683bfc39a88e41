//! Nomad's Variables with their locks, held to recordings of a real cluster.
//!
//! A write is decided at the end of the log (`write.rs`, after Nomad's state store) and committed to every server as
//! the change that it makes (`table.rs`). Timers of locks are the leader's alone (`timers.rs`, and `locks.rs` outside
//! of this folder): they are known by the lock's id, only an acquire makes one, and one that has run out removes
//! whatever lock the variable has by then. These are Nomad's own traits, and what makes its locks dangerous to rely on.

mod access;
mod body;
pub(crate) mod check;
mod faults;
mod table;
mod timers;
mod variable;
mod write;

pub(crate) use access::allows;
pub use access::{Capability, VariableRule, Workload};
pub(crate) use body::Body;
pub(crate) use faults::Faults;
pub use faults::Lost;
pub use table::Change;
pub(crate) use table::Variables;
pub(crate) use timers::{Found, Timers};
pub(crate) use variable::{Items, Variable, several};
pub(crate) use write::{Head, Operation, Outcome, Write, Written};
