//! The stages between source and delivery, in their order.

use crate::{
    config::Stages,
    delivery::Handle,
    digest, envelope,
    program::{self, Surroundings},
    rules,
};

/// Starts the stages that have something to do. What is written to the returned handle passes all of them, and arrives at
/// `delivery`.
pub(super) fn before(delivery: Handle, stages: &Stages, around: &Surroundings) -> Handle {
    let metrics = || around.metrics.clone();
    // The last stage is started first.
    let mut next = delivery;
    if let Some(config) = stages.digest {
        next = digest::spawn(config, metrics(), next);
    }
    next = envelope::spawn(stages.envelope, around.origin.clone(), next);
    if let Some(config) = stages.rules {
        next = rules::spawn(config, metrics(), next);
    }
    if let Some(config) = &stages.program {
        next = program::spawn(config.clone(), around.clone(), None, next);
    }
    next
}
