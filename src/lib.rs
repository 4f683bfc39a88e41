//! Stand-in.

pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod dead_letter;
pub mod delivery;
pub mod kind;
pub mod ledger;
pub mod marks;
pub mod nomad;
pub mod position;
pub mod record;
pub mod resource;
pub mod sink;
pub mod source;
pub mod supervisor;
pub mod telemetry;
