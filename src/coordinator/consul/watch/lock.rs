//! Watches one lock, so that the standby notices at once when it is given back.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Notify, time::sleep};

use super::READ_WITHIN;
use crate::{
    backoff::Backoff,
    consul::{Get, Read},
    coordinator::consul::shared::Shared,
};

/// How long a blocking query may wait.
const LOCK_WAIT: Duration = Duration::from_secs(60);

/// Notifies `changed` when the lock changes.
pub(super) async fn watch(shared: Arc<Shared>, key: String, changed: Arc<Notify>) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    let mut after = None;
    loop {
        // Not all standbys come back at the same moment.
        let wait = LOCK_WAIT.mul_f64(0.8 + 0.4 * fastrand::f64());
        let get = Get { consistent: true, after, wait };
        match shared.client.get(&key, get, READ_WITHIN).await {
            Ok(Read { index, .. }) => {
                backoff.reset();
                if after != Some(index) {
                    changed.notify_one();
                }
                after = Some(index);
            }
            // The rounds of the standby report the failure.
            Err(_) => {
                after = None;
                sleep(backoff.failed()).await;
            }
        }
    }
}
