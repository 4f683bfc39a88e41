//! Links and identities of files. Who may read a file is a matter of access lists here, which it inherits from its directory.

use std::{
    fs::{self, File, FileType, Metadata, OpenOptions},
    io,
    os::windows::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use winapi_util::file::{Information, information};

/// `FILE_FLAG_OPEN_REPARSE_POINT`: a link is opened itself, and then refused for being one.
const OPEN_LINK: u32 = 0x0020_0000;
/// `FILE_FLAG_BACKUP_SEMANTICS`: a directory can be opened.
const OPEN_DIRECTORY: u32 = 0x0200_0000;
/// Between 1601, where the times of files begin, and 1970.
const TO_1970: i64 = 11_644_473_600;

/// Opening gives a link itself.
pub(crate) fn follow_no_link(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(OPEN_LINK)
}

/// Nothing that has a path makes its reader wait.
pub(crate) fn wait_for_nobody(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// The access list of the directory decides.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Creates a directory, and those above it. The access list of the lowest that exists decides.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Creates one directory. The access list of the one above it decides.
pub(crate) fn create_directory(path: &Path, _: u32) -> io::Result<()> {
    fs::create_dir(path)
}

/// The access list of the directory decides.
pub(crate) fn set_mode(_: &File, _: u32) -> io::Result<()> {
    Ok(())
}

/// The file system keeps a journal of entries; there is no way to wait for them.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    fs::metadata(path).map(drop)
}

/// What something is that is neither file, directory nor link.
pub(crate) fn special(_: FileType) -> &'static str {
    "something else"
}

/// The bits of the mode that say who may do what; `None` where files have none.
pub(crate) fn mode(_: &Metadata) -> Option<u32> {
    None
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u64, u64);

impl Id {
    pub(crate) fn of(file: &File) -> io::Result<Id> {
        information(file).map(|found| Id::from(&found))
    }

    /// Of what the path names now; a link counts as itself.
    pub(crate) fn at(path: &Path) -> io::Result<Id> {
        let mut options = OpenOptions::new();
        // No access right: it only asks what it is, and disturbs nobody who has it open.
        let file = options.access_mode(0).custom_flags(OPEN_LINK | OPEN_DIRECTORY).open(path)?;
        Id::of(&file)
    }
}

impl From<&Information> for Id {
    fn from(found: &Information) -> Self {
        Id(found.volume_serial_number(), found.file_index())
    }
}

/// How many names the file has.
pub(crate) fn links(file: &File) -> io::Result<u64> {
    information(file).map(|found| found.number_of_links())
}

/// Reads from a place in the file.
pub(crate) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Nothing here says it without a call of C.
pub(crate) fn space(_: &Path) -> io::Result<u64> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Gives a file the attributes of another one. Both have the access list of their directory.
pub(crate) fn own_like(file: &File, model: &File) -> io::Result<()> {
    file.set_permissions(model.metadata()?.permissions())
}

/// Tells one state of a file from another, and says in which second since 1970 it began. Links are followed.
pub(crate) fn version(path: &Path) -> io::Result<([i64; 4], i64)> {
    let found = fs::metadata(path)?;
    let (created, written) = (found.creation_time().cast_signed(), found.last_write_time().cast_signed());
    let version = [created, written, found.file_size().cast_signed(), 0];
    Ok((version, written / 10_000_000 - TO_1970))
}
