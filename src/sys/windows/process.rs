//! Processes: their limits, their parents and their ends.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

use tokio::process::Command;

use crate::sys::Usage;

/// `CREATE_NEW_PROCESS_GROUP`
const OWN_GROUP: u32 = 0x0000_0200;

/// The path of this program.
pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("nomad-firehose.exe"))
}

/// There is no such limit here.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    Ok(())
}

/// The command of a child in a group of its own: the interrupt of a console is for the parent. Its name is that of the program.
pub(crate) fn set_apart(command: &mut Command, _: &str) {
    command.creation_flags(OWN_GROUP);
}

/// A child whose parent has ended reads the end of its input, and ends once it is done with what it does.
pub(crate) fn end_with_parent() -> io::Result<()> {
    Ok(())
}

/// A child has nobody's input but its parent's.
pub(crate) fn is_child_of(_: i32) -> bool {
    true
}

/// Memory of a process can be limited by a job object alone, which takes calls that this program does not make: programs can use all
/// memory here.
pub(crate) fn restrict(_: u64) -> io::Result<()> {
    Ok(())
}

/// The processor time that a process has used; `None` where the system does not say.
pub(crate) fn processor_time(_: u32) -> Option<Duration> {
    None
}

/// What this process uses; `None` where the system does not say.
pub(crate) fn usage() -> Option<Usage> {
    None
}

/// There are no signals.
pub(crate) fn signal(_: ExitStatus) -> Option<i32> {
    None
}

/// It cannot be told from an exit with this code.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    status.code() == Some(1)
}
