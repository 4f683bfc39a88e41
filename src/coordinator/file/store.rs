//! The checkpoint file. Blocking.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde::Deserialize;

use super::{
    super::Error,
    lock::{failed, sync_parent},
};
use crate::{
    checkpoint::{Checkpoint, VERSION, check_version},
    kind::Kind,
};

/// The checkpoint in `path`; `None` where there is no file.
pub(super) fn read(kind: Kind, path: &Path) -> Result<Option<Checkpoint>, Error> {
    #[derive(Deserialize)]
    struct Layout {
        version: u32,
    }
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read checkpoint", path)(error)),
    };
    let corrupt = |reason| Error::Corrupt { kind, path: path.display().to_string(), reason };
    // The version first: what else is there is up to the layout.
    let Layout { version } = serde_json::from_slice(&text).map_err(|error| corrupt(error.to_string()))?;
    check_version(version).map_err(corrupt)?;
    serde_json::from_slice(&text).map(Some).map_err(|error| corrupt(error.to_string()))
}

/// Replaces the checkpoint in `path`. On an error the old one is whole; only where the last step failed, the sync of
/// the directory, it can be the new one.
pub(super) fn write(path: &Path, checkpoint: Checkpoint) -> Result<(), Error> {
    let temporary = path.with_extension("json.tmp");
    let checkpoint = Checkpoint { version: VERSION, ..checkpoint };
    let replace = || {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let mut writer = BufWriter::with_capacity(1 << 16, &file);
        serde_json::to_writer(&mut writer, &checkpoint)?;
        writer.write_all(b"\n")?;
        writer.flush()?;
        drop(writer);
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    if let Err(error) = replace() {
        // It takes room that the next try needs; where it is not there, nothing was opened.
        if let Err(left) = fs::remove_file(&temporary)
            && left.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(error = %left, path = %temporary.display(), "half a checkpoint cannot be removed");
        }
        return Err(failed("write checkpoint", path)(error));
    }
    sync_parent(path).map_err(failed("write checkpoint", path))
}
