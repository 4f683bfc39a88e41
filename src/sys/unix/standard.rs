//! The standard streams, past Rust's buffers.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{FileTypeExt as _, MetadataExt as _},
    },
};

use rustix::fs::{OFlags, fcntl_getfl};

/// The standard input.
pub(crate) fn input() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// The standard output.
pub(crate) fn output() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// Whether the program was started without a standard output. Rust then opens `/dev/null` in its place, for reading and writing,
/// and every record would be lost as delivered. A shell's `>/dev/null` is intended, and opens it only for writing.
pub(crate) fn stands_in_for_nothing(stdout: &File) -> io::Result<bool> {
    let (here, null) = (stdout.metadata()?, fs::metadata("/dev/null")?);
    let mode = fcntl_getfl(stdout)? & OFlags::RWMODE;
    Ok(here.file_type().is_char_device() && here.rdev() == null.rdev() && mode == OFlags::RDWR)
}
