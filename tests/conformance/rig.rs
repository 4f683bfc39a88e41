//! A sink's server with what can befall it.

use crate::common::{Process, Setup, gate::Gate, order::Leaps};

/// What befalls a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Nobody is there: connections are cut, and new ones too.
    Down,
    /// It takes what comes, and no answer comes back.
    Silent,
    /// It takes nothing, and says nothing.
    Stalled,
    /// It takes [`SLOW`] bytes a second of each connection.
    Slow,
    /// It refuses the records with the mark `busy` for now.
    Partial,
    /// It refuses the records with the mark `other` as data.
    Refusing,
}

/// How much a slow server takes, bytes a second of each connection.
pub(crate) const SLOW: u32 = 64 << 10;

/// One sink's server, a consumer of it, and how to break it. A new one is well.
pub(crate) trait Rig {
    /// Whether a record may come in front of an earlier one of its key.
    const LEAPS: Leaps;

    /// Whether the far side keeps each id once, so that a record that is sent again comes no second time.
    const IS_ONCE: bool = false;

    /// The causes through which order per key has to hold.
    const TROUBLES: &'static [Cause];

    /// What the log and the dead letters say of a record that is refused as data; empty where none is.
    const REFUSAL: &'static str;

    /// What must never be shown, as it stands in the variables.
    const SECRETS: &'static [&'static str];

    /// Bytes of the buffers that the client takes at the start, and that only count once they fill.
    const BUFFERS: u64 = 0;

    /// What the program needs to reach it: `SINK_TYPE` and so on.
    fn variables(&self) -> Vec<(&'static str, String)>;

    /// The gate in front of the server, if there is one.
    fn gate(&self) -> Option<&Gate> {
        None
    }

    /// Lines that are about to be published. A sink for people does not send bodies: its rig keeps them to find them again.
    fn published(&mut self, _lines: &[String]) {}

    /// Starts the program.
    fn spawn(&mut self, setup: &Setup) -> Process {
        setup.spawn()
    }

    /// The bodies that a consumer has received since the last time, in order.
    async fn received(&mut self) -> Vec<String>;

    /// Breaks it.
    async fn suffer(&mut self, cause: Cause);

    /// Mends it, whatever it suffers from.
    async fn recover(&mut self);

    /// Ends a silence in such a way that the program hears no answer to what it sent, and without waiting for it to give
    /// up by itself: a sink waits for an answer for seconds or minutes, and a connection that breaks meanwhile tells as little.
    async fn end_silence(&mut self) {
        self.gate().expect("it is never silent without a gate").cut();
    }

    /// The program has ended: lets nothing of it arrive from now on that has not yet, and that it was not told of.
    async fn program_ended(&mut self) {
        self.gate().expect("what becomes of the rest without a gate is said by each rig").cut_once();
    }
}

/// How a mark stands in a record: as what triggered an evaluation.
pub(crate) fn written(task_cursor: &str) -> String {
    format!("\"TriggeredBy\":\"{task_cursor}\"")
}

/// Lets a server behind a gate suffer, as far as a gate can.
pub(crate) fn suffer_at(gate: &Gate, cause: Cause) {
    match cause {
        Cause::Down => gate.cut(),
        Cause::Silent => gate.shut_outwards(),
        Cause::Stalled => gate.shut(),
        Cause::Slow => gate.slow_down(SLOW),
        Cause::Partial | Cause::Refusing => unreachable!("a gate knows no records"),
    }
}
