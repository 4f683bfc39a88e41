//! What the run does when delivery ends by itself.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::Shutdown;
use crate::sink::Closed;

/// Waits for the end of delivery. If the sink takes nothing more, cancels `sink_closed`; if delivery fails unexpectedly, stops the
/// run at once.
pub async fn watch_delivery(
    delivery: JoinHandle<Result<(), Closed>>,
    sink_closed: CancellationToken,
    shutdown: Shutdown,
) {
    match delivery.await {
        Ok(Err(reason)) => {
            info!(%reason, "sink closed by its reader");
            sink_closed.cancel();
        }
        Ok(Ok(())) => {}
        Err(panic) => {
            error!(%panic, "delivery task failed");
            shutdown.abort.cancel();
            shutdown.stop.cancel();
        }
    }
}
