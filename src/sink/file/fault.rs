//! What a failure of the disk means, in words that say what to do. Every one is a retry: no record is ever at fault.

use std::{
    fmt,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Why something could not be done with a file or a directory.
#[derive(Debug)]
pub(super) struct Fault {
    doing: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl Fault {
    /// For `map_err`: what was done with what.
    pub(super) fn of(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Fault {
        move |error| Fault { doing, path: path.to_owned(), error }
    }

    /// Whether the file is not there.
    pub(super) fn is_missing(&self) -> bool {
        self.error.kind() == ErrorKind::NotFound
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { doing, path, error } = self;
        write!(f, "cannot {doing} {}: {error}; {}", path.display(), fix(error.kind()))
    }
}

fn fix(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free space there, or set SINK_FILE_KEEP_SIZE to have old files deleted"
        }
        ErrorKind::ReadOnlyFilesystem => "mount it so that it can be written to, or change SINK_FILE_DIRECTORY",
        ErrorKind::PermissionDenied => "let this user write there, or change SINK_FILE_DIRECTORY",
        ErrorKind::NotFound => "create the directory that SINK_FILE_DIRECTORY names, or change that",
        ErrorKind::NotADirectory => "set SINK_FILE_DIRECTORY to a directory",
        ErrorKind::InvalidFilename => "shorten SINK_FILE_NAME",
        ErrorKind::WouldBlock => "end the other process, or give each its own SINK_FILE_DIRECTORY",
        _ => "look into the log of the system, and see that SINK_FILE_DIRECTORY is on a disk that works",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_names_the_path_and_what_to_do() {
        for (code, part) in [
            (28, "No space left on device (os error 28); free space there"),
            (122, "; free space there"),
            (30, "Read-only file system (os error 30); mount it"),
            (13, "; let this user write there"),
            (2, "; create the directory that SINK_FILE_DIRECTORY names"),
            (20, "; set SINK_FILE_DIRECTORY to a directory"),
            (36, "; shorten SINK_FILE_NAME"),
            (5, "; look into the log of the system"),
        ] {
            let fault = Fault::of("write to", Path::new("/d/jobs.ndjson.open"))(io::Error::from_raw_os_error(code));
            let words = fault.to_string();
            assert!(
                words.starts_with("cannot write to /d/jobs.ndjson.open: ") && words.contains(part),
                "{code}: {words}"
            );
        }
    }
}
