//! The stages between source and delivery, in their order.

use crate::delivery::Handle;

/// What the source writes to, so that records pass the stages and arrive at `delivery`.
pub(super) fn before(delivery: Handle) -> Handle {
    delivery
}
