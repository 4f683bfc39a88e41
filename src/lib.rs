//! Stand-in.

pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod kind;
pub mod ledger;
pub mod marks;
pub mod position;
pub mod record;
pub mod sink;
pub mod telemetry;
