//! What an operator sees: log lines on stderr, metrics, and a small status listener.

pub mod lag;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod phase;
pub mod status;

pub use lag::{Backlog, Front};
pub use log::{Log, LogFormat, init};
pub use metrics::Metrics;
pub use phase::Phase;
pub use status::{Duty, Leadership, ListState, SinkState, SourceState, Status};
