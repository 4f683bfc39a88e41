//! Linux, and with less of it macOS and the BSDs.

pub(crate) mod clock;
pub(crate) mod files;
pub(crate) mod machine;
pub(crate) mod process;
pub(crate) mod service;
pub(crate) mod signals;
pub(crate) mod sockets;
pub(crate) mod standard;
