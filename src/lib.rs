//! Stand-in.

pub mod checkpoint;
pub mod coordinator;
pub mod kind;
pub mod ledger;
pub mod marks;
pub mod nomad;
pub mod position;
pub mod record;
pub mod resource;
pub mod sink;
pub mod source;
