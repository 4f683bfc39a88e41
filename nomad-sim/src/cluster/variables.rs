//! Writes of variables, as entries of the log.

use std::time::Duration;

use super::Cluster;
use crate::history::{Entry, Silent};
use crate::server::lock;
use crate::variables::{Write, Written};

impl Cluster {
    /// Decides a write at the end of the log and commits what it changes.
    pub(crate) async fn write_variable(&self, write: &Write) -> Written {
        let mut player = self.player.lock().await;
        let log = player.last_index;
        let (written, change) = lock(&self.variables).write(write, log);
        let (index, publishes) = (written.index, self.config.variable_events);
        if let Some(change) = change {
            let lines = if publishes { change.event(index).into_iter().collect() } else { Vec::new() };
            let silent = vec![Silent::Variable(change)];
            self.commit(&mut player, Entry { index, lines, silent, ..Entry::default() }).await;
        }
        // A history has its own indexes, which what is written in between must not overtake.
        player.last_index = if publishes { index } else { log };
        written
    }

    /// A lock's time, in nanoseconds, at the speed of this cluster.
    pub(crate) fn lock_time(&self, nanos: i64) -> Duration {
        Duration::from_nanos(u64::try_from(nanos).unwrap_or_default()).div_f64(self.config.lock_speed)
    }
}
