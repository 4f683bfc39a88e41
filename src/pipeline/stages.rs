//! The stages between source and delivery, in their order.

use std::sync::Arc;

use crate::{
    config::Stages,
    delivery::Handle,
    digest,
    enrich::Enricher,
    envelope,
    nomad::{self, Client, Config},
    program::{self, Enrich, Surroundings},
    rules,
};

/// Starts the stages that have something to do. What is written to the returned handle passes all of them, and arrives at
/// `delivery`.
///
/// # Errors
/// A certificate for Nomad cannot be used.
pub(super) fn before(
    delivery: Handle,
    stages: &Stages,
    nomad: &Config,
    around: &Surroundings,
) -> Result<Handle, nomad::Error> {
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
        let mentions = config.mentions();
        let enrich: Option<Arc<dyn Enrich>> = if mentions.any() {
            // It has a client of its own: when its requests fail, the source keeps its address.
            Some(Arc::new(
                Enricher::new(Client::new(nomad.clone())?, mentions, &around.metrics).shown_on(&around.status),
            ))
        } else {
            None
        };
        next = program::spawn(config.clone(), around.clone(), enrich, next);
    }
    Ok(next)
}
