//! Reports the state of the process to the service manager that has started it: see `sd_notify(3)`.
//!
//! The process counts as started once every kind is led or has a leader, or the coordinator says why not. A standby is started. So is a
//! program that waits for Nomad or Consul: it goes on as soon as they are back, and a restart would not help.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{
    pulse,
    sys::service::{self, Manager},
    telemetry::{Board, Phase, Row},
};

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// After this time the process counts as started, whatever its state.
const STARTED_AFTER: Duration = Duration::from_secs(20);

/// The longest time without a beat that is not held against a runtime, where the watchdog is more patient.
const STUCK: Duration = Duration::from_secs(2);

/// The most bytes of a status.
const MOST: usize = 500;

/// The service manager, or none.
#[derive(Clone, Debug)]
pub struct Service(Option<Arc<Manager>>);

impl Service {
    /// The service manager that has started this process.
    pub fn of_environment() -> Self {
        Service(
            Manager::of_environment()
                .unwrap_or_else(|error| {
                    warn!(%error, "cannot reach the service manager");
                    None
                })
                .map(Arc::new),
        )
    }

    /// Tells the manager how the pipelines of `board` are until it is dropped; once `stop` is cancelled, that they stop.
    pub async fn report(self, board: Board, stop: CancellationToken) {
        let Some(manager) = self.0 else { return };
        let mut reporter =
            Reporter { manager, told: String::new(), is_started: false, is_stopping: false, was_stuck: false };
        let watchdog = service::watchdog();
        let mut looks = interval(watchdog.map_or(LOOK, |within| LOOK.min(within / 4).max(Duration::from_millis(1))));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (begin, mut alive) = (Instant::now(), None::<Instant>);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled(), if !reporter.is_stopping => {}
            }
            reporter.look(&board.rows(), begin.elapsed(), stop.is_cancelled());
            if let Some(within) = watchdog
                && alive.is_none_or(|alive| alive.elapsed() >= within / 4)
                && reporter.is_alive(within)
            {
                alive = Some(Instant::now());
            }
        }
    }

    /// Tells the manager that the configuration is read again until the result is dropped.
    #[must_use]
    pub fn reloading(&self) -> Reloading<'_> {
        if let Some(manager) = &self.0 {
            tell(manager, &format!("RELOADING=1\nMONOTONIC_USEC={}\n", service::now().as_micros()));
        }
        Reloading(self)
    }
}

/// The configuration is being read again.
#[derive(Debug)]
pub struct Reloading<'a>(&'a Service);

impl Drop for Reloading<'_> {
    fn drop(&mut self) {
        if let Some(manager) = &self.0.0 {
            tell(manager, "READY=1\n");
        }
    }
}

struct Reporter {
    manager: Arc<Manager>,
    /// The status that the manager has.
    told: String,
    is_started: bool,
    is_stopping: bool,
    /// Whether a runtime was stuck at the last look.
    was_stuck: bool,
}

impl Reporter {
    /// Tells what has changed.
    fn look(&mut self, rows: &[Row], up: Duration, stopping: bool) {
        let mut words = String::new();
        if !self.is_started && !stopping && (is_started(rows) || up >= STARTED_AFTER) {
            self.is_started = true;
            words += "READY=1\n";
        }
        if !self.is_stopping && stopping {
            self.is_stopping = true;
            words += "STOPPING=1\n";
        }
        let status = status(rows, stopping);
        if status != self.told {
            words += &format!("STATUS={status}\n");
            self.told = status;
        }
        if !words.is_empty() {
            tell(&self.manager, &words);
        }
    }

    /// Tells the manager that the process is alive, unless one of its runtimes is stuck. Returns whether it was told.
    fn is_alive(&mut self, within: Duration) -> bool {
        if let Some((pipeline, silent)) = pulse::stuck(STUCK.max(within / 4)) {
            if !self.was_stuck {
                self.was_stuck = true;
                error!(pipeline = (!pipeline.is_empty()).then_some(&*pipeline), ?silent, "runtime makes no progress");
            }
            return false;
        }
        self.was_stuck = false;
        tell(&self.manager, "WATCHDOG=1\n");
        true
    }
}

/// A manager that cannot be told now gets the next message.
fn tell(manager: &Manager, words: &str) {
    if let Err(error) = manager.tell(words) {
        tracing::debug!(%error, "service manager not told");
    }
}

/// Whether it is known of every kind who leads it, or why that is not known.
fn is_started(rows: &[Row]) -> bool {
    !rows.is_empty() && rows.iter().all(|row| row.phase != Phase::Starting)
}

/// All kinds in one line. Those that need help come first.
fn status(rows: &[Row], stopping: bool) -> String {
    let mut parts: Vec<String> = Vec::new();
    if stopping {
        parts.push("stopping: delivering what was read".to_owned());
    }
    let blocked = rows.iter().filter_map(|row| match &row.phase {
        Phase::Blocked { reason } => Some(format!("blocked: {}: {reason}", row.name)),
        _ => None,
    });
    parts.extend(blocked);
    let names = |wanted: fn(&Phase) -> bool| {
        let names: Vec<_> = rows.iter().filter(|row| wanted(&row.phase)).map(|row| row.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    parts.extend(names(|phase| *phase == Phase::Starting).map(|names| format!("starting: {names}")));
    parts.extend(
        names(|phase| *phase == Phase::Connecting).map(|names| format!("leader, connecting to Nomad: {names}")),
    );
    let leads = |phase: &Phase| matches!(phase, Phase::Leading { .. } | Phase::Polling { .. });
    parts.extend(names(leads).map(|names| format!("leader: {names}")));
    parts.extend(names(|phase| *phase == Phase::Standby).map(|names| format!("standby: {names}")));
    let mut text = parts.join("; ");
    text.truncate(text.floor_char_boundary(MOST));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kind::Kind,
        telemetry::{Leadership, Metrics, Outline, SourceState, Status},
    };

    fn board() -> (Board, Status) {
        let (kinds, board) = ([Kind::Jobs, Kind::Nodes], Board::default());
        let status = Status::new(&kinds);
        board.show(None, &Metrics::new(&kinds), &status, Outline::default());
        (board, status)
    }

    #[test]
    fn the_status_names_first_what_needs_somebody() {
        let (board, states) = board();
        assert_eq!(status(&board.rows(), false), "starting: nodes, jobs");
        assert!(!is_started(&board.rows()));
        states.lease(Kind::Jobs, Leadership::Standby);
        states.lease(Kind::Nodes, Leadership::Leading);
        assert_eq!(status(&board.rows(), false), "leader, connecting to Nomad: nodes; standby: jobs");
        assert!(is_started(&board.rows()), "a Nomad that is down does not keep it from being started");
        states.source(Kind::Nodes, "*", SourceState::Streaming);
        assert_eq!(status(&board.rows(), false), "leader: nodes; standby: jobs");
        states.lease(Kind::Nodes, Leadership::Blocked { reason: "denied\nREADY=1".repeat(200) });
        let shown = status(&board.rows(), true);
        assert!(shown.starts_with("stopping: delivering what was read; blocked: nodes: denied READY=1"), "{shown}");
        assert!(!shown.contains('\n') && shown.len() <= MOST, "{shown}");
    }
}
