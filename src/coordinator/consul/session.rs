//! Keeps one session alive for the process, leader or standby.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::shared::Shared;
use crate::{
    backoff::Backoff,
    consul::{Session, SessionId},
    telemetry::Duty,
    throttle::Outage,
};

/// The deadline of each call.
const WITHIN: Duration = Duration::from_secs(5);

/// Creates a session, renews it, and creates another one when it is gone, until `stop`. Then it destroys the last one.
pub(super) async fn keep(shared: Arc<Shared>, current: watch::Sender<Option<SessionId>>, stop: CancellationToken) {
    let kept = stop.run_until_cancelled(renew(&shared, &current)).await;
    debug_assert!(kept.is_none(), "it has no end of its own");
    let last = current.send_replace(None);
    if let Some(session) = last
        && let Err(error) = shared.client.destroy_session(&session, WITHIN).await
    {
        debug!(%error, "cannot destroy session");
    }
}

async fn renew(shared: &Shared, current: &watch::Sender<Option<SessionId>>) {
    let mut outage = Outage::new("keeping a session in consul");
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let options = &shared.options;
    let wanted = Session {
        name: options.session_name.clone(),
        ttl: options.session_ttl,
        // When Consul ends the session, the leader can emit for this long, and no original program may lead meanwhile.
        // Standbys know that without it.
        lock_delay: options.lease,
        node_checks: options.node_checks,
    };
    loop {
        let session = match shared.client.create_session(&wanted, WITHIN).await {
            Ok(session) => session,
            Err(error) => {
                outage.log(&error);
                shared.status.coordinator(Duty::Session, Some(error.to_string()));
                sleep(backoff.failed()).await;
                continue;
            }
        };
        outage.over();
        shared.status.coordinator(Duty::Session, None);
        backoff.reset();
        info!(session = session.as_str(), name = options.session_name, "session created");
        current.send_replace(Some(session.clone()));
        loop {
            // Not all processes renew at the same moment, even if they started together.
            sleep(options.session_ttl.mul_f64(0.3 + 0.1 * fastrand::f64())).await;
            let mut renewed = shared.client.renew_session(&session, WITHIN).await;
            while let Err(error) = &renewed {
                outage.log(error);
                sleep(backoff.failed()).await;
                renewed = shared.client.renew_session(&session, WITHIN).await;
            }
            outage.over();
            backoff.reset();
            if matches!(renewed, Ok(false)) {
                warn!(session = session.as_str(), "session ended by consul");
                current.send_replace(None);
                break;
            }
        }
    }
}
