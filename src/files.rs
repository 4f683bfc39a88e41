//! Opens files safely in directories that other users can write to.
//!
//! The program never writes through a link, because a link of another user could lead to any file of its own user. It opens
//! only regular files, because a FIFO would make it wait, and a device would keep nothing.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

/// Opens a file of the program itself.
///
/// # Errors
/// The file cannot be opened with `options`, or the path names a link or anything else that is not a regular file.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match options.custom_flags(flags.bits().cast_signed()).open(path) {
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
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = regular(OpenOptions::new().read(true).custom_flags(flags).open(path)?)?;
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {most} bytes")));
    }
    Ok(bytes)
}

fn regular(file: File) -> io::Result<File> {
    let found = file.metadata()?.file_type();
    if found.is_file() { Ok(file) } else { Err(refused(found)) }
}

fn refused(found: FileType) -> io::Error {
    let what = match found {
        found if found.is_symlink() => "a symbolic link",
        found if found.is_dir() => "a directory",
        found if found.is_fifo() => "a FIFO",
        found if found.is_socket() => "a socket",
        found if found.is_char_device() => "a character device",
        found if found.is_block_device() => "a block device",
        _ => "something else",
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
