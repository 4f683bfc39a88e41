//! One connection to Nomad's event stream: how it is opened, read, and buffered, and when it counts as missing.

pub(crate) mod absence;
pub(crate) mod reader;
pub(crate) mod replay_buffer;
pub(crate) mod subscription;
pub(crate) mod unconfirmed;
