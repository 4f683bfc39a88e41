//! What an operator sees: log lines on stderr, metrics, and a small status listener.

pub mod facets;
pub mod lag;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod phase;
pub mod status;

pub use facets::{Duty, Leadership, ListState, SinkState, SourceState};
pub use lag::{Backlog, Front};
pub use log::init;
pub use metrics::Metrics;
pub use phase::Phase;
pub use status::Status;
