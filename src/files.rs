//! Opens files safely in directories that other users can write to.
//!
//! The program never writes through a link, because a link of another user could lead to any file of its own user. It opens
//! only regular files, because a FIFO would make it wait, and a device would keep nothing.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read as _},
    path::Path,
};

use crate::sys;

/// Opens a file of the program itself.
///
/// # Errors
/// The file cannot be opened with `options`, or the path names a link or anything else that is not a regular file.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match sys::files::follow_no_link(options).open(path) {
        Ok(file) => regular(file),
        // What the path names instead says more than why it cannot be opened.
        Err(error) => Err(check(path).err().unwrap_or(error)),
    }
}

/// Checks that the path names nothing yet, or a regular file.
///
/// # Errors
/// The path names a link or anything else.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => Err(refused(found.file_type())),
        _ => Ok(()),
    }
}

/// Reads a file that somebody else writes. It may be behind links, as secrets in Kubernetes are.
///
/// # Errors
/// The file cannot be read, is not a regular file, or has more than `most` bytes.
pub(crate) fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = regular(sys::files::wait_for_nobody(OpenOptions::new().read(true)).open(path)?)?;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

/// Opens a file of the program itself that may be created: then it belongs to its owner alone.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_private(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    open(path, sys::files::private(options))
}

/// Waits until the entry of `path` in its directory is on disk: without it, a new file does not survive a crash.
///
/// # Errors
/// The system refuses.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    sys::files::sync_directory(parent.unwrap_or(Path::new(".")))
}

/// Whether this is the file that the path names.
///
/// # Errors
/// The system does not say.
pub(crate) fn is_named(path: &Path, file: &File) -> io::Result<bool> {
    match sys::files::Id::at(path) {
        Ok(named) => Ok(named == sys::files::Id::of(file)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn regular(file: File) -> io::Result<File> {
    let found = file.metadata()?.file_type();
    if found.is_file() { Ok(file) } else { Err(refused(found)) }
}

fn refused(found: FileType) -> io::Error {
    let what = match found {
        found if found.is_symlink() => "a symbolic link",
        found if found.is_dir() => "a directory",
        found => sys::files::special(found),
    };
    io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a regular file"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_read_may_lie_behind_a_link_and_is_bounded() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&path, "token").expect("writable");
        symlink(&path, &link).expect("a link");
        assert_eq!(read(&link, 5).expect("a file"), b"token");
        assert_eq!(read(&link, 4).expect_err("too large").to_string(), "it is larger than 4 bytes");
        let error = read(Path::new("/dev/zero"), 4).expect_err("a device");
        assert_eq!(error.to_string(), "it is a character device, not a regular file");
        let error = open(&link, OpenOptions::new().append(true)).expect_err("a link");
        assert_eq!(error.to_string(), "it is a symbolic link, not a regular file");
        assert_eq!(
            open(&path, OpenOptions::new().write(true).create_new(true)).expect_err("there").kind(),
            io::ErrorKind::AlreadyExists
        );
    }
}
