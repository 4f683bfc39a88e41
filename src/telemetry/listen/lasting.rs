//! Which connections last.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Says of a connection that it gets events for as long as it lasts.
#[derive(Clone, Debug, Default)]
pub(super) struct Lasting(Arc<AtomicBool>);

impl Lasting {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
