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
        // It ends when it is aborted, or when nobody can write to it any more: before the end of the run, a stage has failed.
        Ok(Ok(())) if shutdown.stop.is_cancelled() || shutdown.abort.is_cancelled() => {}
        Ok(Ok(())) => {
            error!(reason = "a stage before it ended", "delivery task failed");
            shutdown.abort.cancel();
            shutdown.stop.cancel();
        }
        Err(panic) => {
            error!(%panic, "delivery task failed");
            shutdown.abort.cancel();
            shutdown.stop.cancel();
        }
    }
}
