//! Links, owners, modes and identities of files.

use std::{
    fs::{self, DirBuilder, File, FileType, Metadata, OpenOptions},
    io,
    os::unix::fs::{
        DirBuilderExt as _, FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
        fchown,
    },
    path::Path,
};

use rustix::fs::OFlags;

/// Opening fails at a link, and waits for nobody at a FIFO.
pub(crate) fn follow_no_link(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
}

/// Opening waits for nobody at a FIFO.
pub(crate) fn wait_for_nobody(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed())
}

/// A file that is created belongs to its owner alone.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Creates a directory, and those above it, that belong to their owner alone.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates one directory with this mode, whatever the mask of the process.
pub(crate) fn create_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Gives a file this mode, whatever the mask of the process.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// Waits until the entries of a directory are on disk.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// What something is that is neither file, directory nor link.
pub(crate) fn special(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() => "a character device",
        kind if kind.is_block_device() => "a block device",
        _ => "something else",
    }
}

/// The bits of the mode that say who may do what; `None` where files have none.
pub(crate) fn mode(metadata: &Metadata) -> Option<u32> {
    Some(metadata.mode() & 0o7777)
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Id(u64, u64);

impl Id {
    pub(crate) fn of(file: &File) -> io::Result<Id> {
        file.metadata().map(|found| Id(found.dev(), found.ino()))
    }

    /// Of what the path names now; a link counts as itself.
    pub(crate) fn at(path: &Path) -> io::Result<Id> {
        fs::symlink_metadata(path).map(|found| Id(found.dev(), found.ino()))
    }
}

/// How many names the file has.
pub(crate) fn links(file: &File) -> io::Result<u64> {
    file.metadata().map(|found| found.nlink())
}

/// Reads from a place in the file, and leaves the file's own place alone.
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    file.read_exact_at(buffer, offset)
}

/// How many bytes this user can still write into a directory.
pub(crate) fn space(directory: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(directory)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Gives a file the owner and the mode of another one.
pub(crate) fn own_like(file: &File, model: &File) -> io::Result<()> {
    let (ours, theirs) = (file.metadata()?, model.metadata()?);
    if (ours.uid(), ours.gid()) != (theirs.uid(), theirs.gid()) {
        fchown(file, Some(theirs.uid()), Some(theirs.gid()))?;
    }
    file.set_permissions(theirs.permissions())
}

/// Tells one state of a file from another, and says in which second since 1970 it began. Links are followed.
pub(crate) fn version(path: &Path) -> io::Result<([i64; 4], i64)> {
    let found = fs::metadata(path)?;
    // The change time of the inode, because no program can set it, unlike the modification time.
    let changed = found.ctime().wrapping_mul(1_000_000_000).wrapping_add(found.ctime_nsec());
    let version = [found.dev().cast_signed(), found.ino().cast_signed(), found.size().cast_signed(), changed];
    Ok((version, found.ctime()))
}
