//! The bound on bytes in flight. A line or a listed object takes its share before it is processed, and frees it when
//! the last of its records is delivered.

use std::sync::Arc;

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::telemetry::Metrics;

/// A share of a window. It is freed when the last clone is dropped.
pub type Share = Arc<Reserved>;

/// Bytes of a window that are in use.
#[derive(Debug)]
pub struct Reserved {
    permit: OwnedSemaphorePermit,
    /// All bytes of the bound that they are taken from.
    of: u32,
    received: Instant,
    metrics: Metrics,
}

impl Reserved {
    /// When what it stands for was received.
    pub fn received(&self) -> Instant {
        self.received
    }

    /// The part of the bound that is in use by this share, from 0 to 1.
    pub fn portion(&self) -> f64 {
        self.permit.num_permits() as f64 / f64::from(self.of)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.metrics.in_flight_freed(self.permit.num_permits());
    }
}

/// Bounds on bytes in flight. Lines and listed objects have one each, so that lines that wait behind a page never
/// starve the page.
#[derive(Clone, Debug)]
pub struct Window {
    lines: Bound,
    pages: Bound,
}

#[derive(Clone, Debug)]
struct Bound {
    semaphore: Arc<Semaphore>,
    bytes: u32,
    metrics: Metrics,
}

impl Window {
    /// A window of `bytes`: three quarters for lines, one for listed objects.
    pub fn new(bytes: usize, metrics: &Metrics) -> Self {
        let page = bytes / 4;
        metrics.window(bytes);
        Window { lines: Bound::new(bytes - page, metrics.clone()), pages: Bound::new(page, metrics.clone()) }
    }

    /// Waits until there is any room for a line. Call it before reading a line, so that at most one line in memory has
    /// no share.
    pub async fn room(&self) {
        drop(self.lines.take(1, Instant::now()).await);
    }

    /// Whether there is room for a line now.
    pub fn has_room(&self) -> bool {
        self.lines.semaphore.available_permits() > 0
    }

    /// Waits for the share of a line of `bytes`. A line larger than the window takes all of it.
    pub async fn line(&self, bytes: usize) -> Option<Share> {
        self.lines.take(bytes, Instant::now()).await
    }

    /// The same for a line that was received at `received`.
    pub async fn received_line(&self, bytes: usize, received: Instant) -> Option<Share> {
        self.lines.take(bytes, received).await
    }

    /// How many bytes of listed objects may be in flight.
    pub fn for_objects(&self) -> usize {
        self.pages.bytes as usize
    }

    /// Waits for the share of a listed object.
    pub async fn object(&self, bytes: usize) -> Option<Share> {
        self.pages.take(bytes, Instant::now()).await
    }
}

impl Bound {
    fn new(bytes: usize, metrics: Metrics) -> Self {
        let bytes = u32::try_from(bytes.max(1)).unwrap_or(u32::MAX);
        Bound { semaphore: Arc::new(Semaphore::new(bytes as usize)), bytes, metrics }
    }

    /// `None` only when the semaphore is closed, which never happens.
    async fn take(&self, bytes: usize, received: Instant) -> Option<Share> {
        let share = u32::try_from(bytes).unwrap_or(u32::MAX).clamp(1, self.bytes);
        let permit = Arc::clone(&self.semaphore).acquire_many_owned(share).await.ok()?;
        self.metrics.in_flight_taken(permit.num_permits());
        Some(Arc::new(Reserved { permit, of: self.bytes, received, metrics: self.metrics.clone() }))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_line_waits_for_room_and_a_page_never_waits_for_lines() {
        let window = Window::new(1024, &Metrics::new(&[]));
        let huge = window.line(1 << 30).await;
        assert!(window.room().now_or_never().is_none());
        assert!(window.object(200).now_or_never().is_some());
        drop(huge);
        assert_eq!(window.line(192).await.expect("room").portion(), 0.25);
        assert_eq!(window.object(1 << 30).await.expect("room").portion(), 1.0);
        assert!(window.line(768).now_or_never().is_some());
    }
}
