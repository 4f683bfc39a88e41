//! What an operator sees: the log, the metrics, and the status pages.

mod arrivals;
pub mod board;
pub mod facets;
pub mod journal;
pub mod lag;
pub mod latency;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod outline;
pub mod phase;
pub mod recent;
pub mod status;

pub use board::{Board, Row};
pub use facets::{Cause, Duty, Leadership, ListState, SinkState, SourceState};
pub use journal::Journal;
pub use lag::{Backlog, Front};
pub use latency::Latency;
pub use log::{Log, LogFormat, change, init, name_thread};
pub use metrics::Metrics;
pub use outline::Outline;
pub use phase::Phase;
pub use recent::{Recent, Tap};
pub use status::Status;
