//! Windows. It has no signals but those of the console, no modes of files, and no service manager of the kind that is spoken to here.

pub(crate) mod clock;
pub(crate) mod files;
pub(crate) mod machine;
pub(crate) mod process;
pub(crate) mod service;
pub(crate) mod signals;
pub(crate) mod sockets;
pub(crate) mod standard;
