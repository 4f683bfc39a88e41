//! The standard streams, past Rust's buffers.

use std::{fs::File, io, os::windows::io::AsHandle as _};

/// The standard input.
pub(crate) fn input() -> io::Result<File> {
    Ok(File::from(io::stdin().as_handle().try_clone_to_owned()?))
}

/// The standard output. One that is missing is an error here.
pub(crate) fn output() -> io::Result<File> {
    Ok(File::from(io::stdout().as_handle().try_clone_to_owned()?))
}

/// Nothing does: a standard output that is missing cannot be opened.
pub(crate) fn stands_in_for_nothing(_: &File) -> io::Result<bool> {
    Ok(false)
}
