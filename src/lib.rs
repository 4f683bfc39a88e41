//! Stand-in.

pub mod checkpoint;
pub mod coordinator;
pub mod dead_letter;
pub mod delivery;
pub mod kind;
pub mod ledger;
pub mod marks;
pub mod position;
pub mod record;
pub mod sink;
