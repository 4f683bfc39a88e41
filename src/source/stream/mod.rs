//! One connection to Nomad's event stream: how it is opened, read, and buffered.

pub(in crate::source) mod absence;
pub(in crate::source) mod plausible;
pub(in crate::source) mod reader;
pub(in crate::source) mod replay_buffer;
pub(in crate::source) mod subscription;
