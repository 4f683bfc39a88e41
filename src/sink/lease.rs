//! When to give up a write that is under way.

use std::time::Duration;

use tokio::time::sleep;

use crate::{lease::LeaseState, ledger::AckHandle, record::Record};

/// How soon a lease that is not held any more is noticed.
const CHECK: Duration = Duration::from_millis(20);

/// Waits until a lease among these records is not held. If the far side reads slowly, the bytes in a buffer could be
/// sent long after that.
pub(super) async fn until_unheld(records: impl IntoIterator<Item = &Record>) {
    let mut leases: Vec<&AckHandle> = Vec::new();
    for Record { ack, .. } in records {
        if !leases.iter().any(|known| known.has_lease_of(ack)) {
            leases.push(ack);
        }
    }
    while leases.iter().all(|ack| ack.lease_state() == LeaseState::Held) {
        sleep(CHECK).await;
    }
}
