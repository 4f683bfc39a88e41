//! The stages between source and delivery, in their order.

use crate::{
    config::Stages,
    delivery::Handle,
    program::{self, Surroundings},
};

/// Starts the stages that have something to do. What is written to the returned handle passes all of them, and arrives at
/// `delivery`.
pub(super) fn before(delivery: Handle, stages: &Stages, around: &Surroundings) -> Handle {
    let mut next = delivery;
    if let Some(config) = &stages.program {
        next = program::spawn(config.clone(), around.clone(), None, next);
    }
    next
}
