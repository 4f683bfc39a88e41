//! Spreads the leases of many pipelines over the replicas: who leads fewest takes the next one first.
//!
//! A replica takes one lease after the other, and waits before each, the longer the more it leads already. A replica that leads
//! less is quicker, so it gets the lock. No replica needs to know of the others, and a replica that is alone gets all.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::sleep,
};

/// How much longer a replica waits for each lease that it holds. Consul answers in a few milliseconds.
const STEP: Duration = Duration::from_millis(25);
/// The most leases that count. It bounds what the spread costs a take-over: 250 ms.
const MOST: usize = 10;

/// The turns of the pipelines of one process.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    led: Arc<AtomicUsize>,
    next: Arc<Mutex<()>>,
}

/// The right to try, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _next: OwnedMutexGuard<()>,
}

/// A lease that counts as held until this is dropped.
#[derive(Debug)]
pub struct Seat(Arc<AtomicUsize>);

impl Turns {
    /// Waits until it is this pipeline's turn.
    pub async fn wait(&self) -> Turn {
        let next = Arc::clone(&self.next).lock_owned().await;
        let led = self.led.load(Ordering::Relaxed);
        if let Ok(led) = u32::try_from(led.min(MOST)) {
            sleep(STEP * led).await;
        }
        Turn { _next: next }
    }

    /// Counts a lease that was taken.
    pub fn seat(&self) -> Seat {
        self.led.fetch_add(1, Ordering::Relaxed);
        Seat(Arc::clone(&self.led))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_leads_more_waits_longer_and_one_at_a_time() {
        let turns = Turns::default();
        let started = Instant::now();
        drop(turns.wait().await);
        assert_eq!(started.elapsed(), Duration::ZERO);
        let seats: Vec<_> = (0..3).map(|_| turns.seat()).collect();
        let turn = turns.wait().await;
        assert_eq!(started.elapsed(), STEP * 3);
        let other = turns.clone();
        let waiting = tokio::spawn(async move { drop(other.wait().await) });
        tokio::time::sleep(STEP * 100).await;
        assert!(!waiting.is_finished());
        drop(turn);
        waiting.await.expect("its turn comes");
        drop(seats);
        let started = Instant::now();
        drop(turns.wait().await);
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
