//! When a write that is under way has to be given up.

use std::time::Duration;

use tokio::time::sleep;

use crate::{lease::LeaseState, ledger::AckHandle, record::Record};

/// How soon a lease that is not held any more is noticed.
const CHECK: Duration = Duration::from_millis(20);

/// Waits until a lease among these records is not held. What lies in a buffer and is not written yet could leave long
/// after that, where the far side reads slowly.
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
