//! Several replicas on one real Consul: whatever happens to the one that leads, to Consul, or to the network between
//! them, one emits at a time, and nothing is lost.
//!
//! The default suite goes through each fault once or twice; `make chaos` does it as often as `CHAOS` says.

#![allow(unreachable_pub, reason = "shared by the tests of one program")]

#[path = "../common/mod.rs"]
mod common;
mod journal;
mod replicas;
mod rival;

mod away;
mod barred;
mod ended;
mod frozen;
mod killed;
#[cfg(feature = "postgres")]
mod once;
mod one_kind;
mod original;
mod partition;
mod refused;
mod stopped;
mod wiped;
