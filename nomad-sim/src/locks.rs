//! The life of a lock after its acquire, after `nomad/locks.go`.

use std::sync::Arc;

use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cluster::Cluster;
use crate::server::lock;
use crate::variables::{Found, Items, Operation, Variable, Write};

/// Nomad waits for twice the TTL, so that a holder is never late by its own clock.
const GRACE: u32 = 2;

/// Starts the timer of a lock that was acquired, unless its id has one.
pub(crate) fn start_timer(
    cluster: &Arc<Cluster>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    variable: &Arc<Variable>,
) {
    let Some(held) = &variable.lock else { return };
    let (term, number) = {
        let mut timers = lock(&cluster.timers);
        (timers.term, timers.start(&held.id, cluster.lock_time(held.ttl) * GRACE))
    };
    let Some(number) = number else { return };
    let (cluster, variable, stop) = (cluster.clone(), variable.clone(), stop.clone());
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = expire(&cluster, &variable, number, term) => {}
        }
    });
}

/// Starts the timers of all locks anew, as a new leader does: each with the TTL that its variable has now.
pub(crate) fn restart_timers(cluster: &Arc<Cluster>, tasks: &TaskTracker, stop: &CancellationToken) {
    lock(&cluster.timers).clear();
    let locked = lock(&cluster.variables).table.locked();
    locked.iter().for_each(|variable| start_timer(cluster, tasks, stop, variable));
}

/// Whether the lock has a timer, which then begins anew with the TTL that the variable has now.
pub(crate) fn renew(cluster: &Cluster, variable: &Variable) -> bool {
    let Some(held) = &variable.lock else { return false };
    lock(&cluster.timers).renew(&held.id, cluster.lock_time(held.ttl) * GRACE)
}

/// Waits for the end of a timer, then for the delay that the lock was acquired with, and removes the lock that the
/// variable has by then: without a look at its id.
async fn expire(cluster: &Cluster, variable: &Variable, number: u64, term: u64) {
    let Some(held) = &variable.lock else { return };
    loop {
        let found = lock(&cluster.timers).look(&held.id, number);
        match found {
            Found::Until(time) => sleep_until(time).await,
            Found::Over => break,
            Found::Gone => return,
        }
    }
    sleep(cluster.lock_time(held.delay)).await;
    if lock(&cluster.timers).term != term {
        return;
    }
    let removed = cluster
        .write_variable(&Write {
            operation: Operation::Release,
            namespace: variable.namespace.clone(),
            path: variable.path.clone(),
            items: Items::new(),
            lock: None,
        })
        .await;
    tracing::debug!(path = variable.path, outcome = ?removed.outcome, "lock expired");
}
