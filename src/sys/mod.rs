//! What differs between operating systems, and nothing else: every other module is the same on all of them.
//!
//! `unix` and `windows` have the same files with the same functions. Where a system has nothing of the kind, its function says so and
//! does the safe thing.

use std::time::Duration;

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use self::unix::{clock, files, machine, process, service, signals, sockets, standard};
#[cfg(windows)]
pub(crate) use self::windows::{clock, files, machine, process, service, signals, sockets, standard};

/// What this process uses of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// User and system time of all threads.
    pub(crate) processor: Duration,
    /// Resident memory, bytes.
    pub(crate) memory: u64,
    pub(crate) threads: u64,
    /// Open file descriptors.
    pub(crate) descriptors: u64,
    /// `None` without a limit.
    pub(crate) descriptor_limit: Option<u64>,
}

/// What was sent to this process, with its name for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It shall stop.
    Stop(&'static str),
    /// It shall read its configuration again.
    #[cfg_attr(windows, expect(dead_code, reason = "nothing asks for it there"))]
    Reload(&'static str),
    /// It means nothing to this program.
    #[cfg_attr(windows, expect(dead_code, reason = "nothing of the kind is sent there"))]
    Meaningless(&'static str),
}
