//! Processes: their limits, their parents and their ends.

use std::{io, os::unix::process::ExitStatusExt as _, path::PathBuf, process::ExitStatus, time::Duration};

use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, getrlimit, setrlimit};
use tokio::process::Command;

use crate::sys::Usage;

/// The path of this program, even if another one has taken its name since it was started.
pub(crate) fn this_program() -> PathBuf {
    if cfg!(target_os = "linux") {
        return PathBuf::from("/proc/self/exe");
    }
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("nomad-firehose"))
}

/// Raises the limit on open files to the most that the system allows.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// The command of a child with a name of its own, in a group of its own: the interrupt of a terminal is for the parent.
pub(crate) fn set_apart(command: &mut Command, name: &str) {
    command.arg0(name).process_group(0);
}

/// Ends this process when its parent ends, where the system can do so by itself.
pub(crate) fn end_with_parent() -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(())
}

/// Whether the parent of this process is the one with this id, as it was when the child was started.
pub(crate) fn is_child_of(parent: i32) -> bool {
    getppid().map(Pid::as_raw_nonzero).map(i32::from) == Some(parent)
}

/// Limits the memory of this process, and leaves no core file.
pub(crate) fn restrict(memory: u64) -> io::Result<()> {
    let both = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Core, both(0))?;
    setrlimit(Resource::As, both(memory))?;
    Ok(())
}

/// The processor time that a process has used; `None` where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn processor_time(id: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name, in brackets, can hold anything. User and system time are the 14th and 15th of all fields.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1)))
}

/// The processor time that a process has used; `None` where the system does not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn processor_time(_: u32) -> Option<Duration> {
    None
}

/// What this process uses; `None` where the system does not say.
#[cfg(target_os = "linux")]
pub(crate) fn usage() -> Option<Usage> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Usage {
        processor: processor_time(std::process::id())?,
        memory: field("VmRSS:")?.saturating_mul(1024),
        threads: field("Threads:")?,
        // Reading the directory opens one more.
        descriptors: (std::fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1),
        descriptor_limit: getrlimit(Resource::Nofile).current,
    })
}

/// What this process uses; `None` where the system does not say.
#[cfg(not(target_os = "linux"))]
pub(crate) fn usage() -> Option<Usage> {
    None
}

/// The signal that ended a process.
pub(crate) fn signal(status: ExitStatus) -> Option<i32> {
    status.signal()
}

/// Whether somebody killed it, or the system did for want of memory.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}
