//! The checkpoint file. Blocking.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, BufWriter, Read, Write},
    path::Path,
};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::lock::failed;
use crate::{
    checkpoint::{Checkpoint, VERSION, check_version},
    cluster::Identity,
    coordinator::reset::reset_in_directory,
    files,
    kind::Kind,
    lease::Error,
    sys,
    task_cursors::{TaskCursor, TaskKey, to_text},
};

/// The checkpoint in `path`; `None` where there is no file.
pub(super) fn read(kind: Kind, path: &Path) -> Result<Option<Checkpoint>, Error> {
    #[derive(Deserialize)]
    struct Layout {
        version: u32,
    }
    let mut text = Vec::new();
    let file = files::open(path, OpenOptions::new().read(true));
    match file.and_then(|mut file| file.read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read checkpoint", path)(error)),
    };
    let corrupt = |reason| Error::Corrupt {
        path: path.display().to_string(),
        reason,
        reset: reset_in_directory(kind, path.parent().unwrap_or(path)),
    };
    let read = match serde_json::from_slice::<Checkpoint>(&text) {
        Ok(checkpoint) => check_version(checkpoint.version).map(|()| checkpoint),
        // The layout decides what else is there, so report a wrong layout first.
        Err(error) => Err(match serde_json::from_slice(&text).map(|Layout { version }| check_version(version)) {
            Ok(Err(reason)) => reason,
            _ => error.to_string(),
        }),
    };
    read.map(Some).map_err(corrupt)
}

/// The cluster is within this many bytes: it comes before the streams and the task cursors.
const BEGINNING: u64 = 16 << 10;

/// The cluster of the checkpoint in `path`, read from the beginning of the file alone. `None` where that does not show
/// it.
pub(super) fn read_cluster(path: &Path) -> Option<Identity> {
    struct Begin<'a>(&'a mut Option<Identity>);
    impl<'de> Visitor<'de> for Begin<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a checkpoint")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(name) = map.next_key::<String>()? {
                match name.as_str() {
                    "cluster" => {
                        *self.0 = serde_json::from_value(map.next_value()?).ok();
                        break;
                    }
                    "version" => drop(map.next_value::<IgnoredAny>()?),
                    _ => break,
                }
            }
            Ok(())
        }
    }
    let mut text = Vec::new();
    files::open(path, OpenOptions::new().read(true)).ok()?.take(BEGINNING).read_to_end(&mut text).ok()?;
    let mut cluster = None;
    // It always ends in an error, because it does not read to the end.
    serde_json::Deserializer::from_slice(&text).deserialize_map(Begin(&mut cluster)).ok();
    cluster
}

/// A part of a checkpoint.
#[derive(Debug)]
pub(super) enum CheckpointPart {
    /// Some of the task cursors.
    TaskCursors(Vec<(TaskKey, TaskCursor)>),
    /// There are no more.
    End,
}

/// Replaces the checkpoint in `path` with `head` and the task cursors of `pieces`. On an error the old one is complete;
/// only if the last step failed, the sync of the directory, it can be the new one. Parts that stop before their end are
/// an error, too.
pub(super) fn write(
    path: &Path,
    head: &Checkpoint,
    mut pieces: impl FnMut() -> Option<CheckpointPart>,
) -> Result<(), Error> {
    let temporary = path.with_extension("json.tmp");
    let head = Checkpoint { version: VERSION, ..head.head() };
    let mut replace = || {
        // A crash has left it, or another user has put a link there for us to write through.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = sys::files::private(OpenOptions::new().write(true).create_new(true)).open(&temporary)?;
        let mut writer = BufWriter::with_capacity(1 << 16, &file);
        let text = serde_json::to_vec(&head)?;
        writer.write_all(text.strip_suffix(b"}").unwrap_or(&text))?;
        let mut before: &[u8] = b",\"marks\":[";
        while let CheckpointPart::TaskCursors(task_cursors) = pieces().ok_or(io::ErrorKind::Interrupted)? {
            for task_cursor in task_cursors {
                writer.write_all(before)?;
                writer.write_all(b"\"")?;
                writer.write_all(&to_text(task_cursor))?;
                before = b"\",";
            }
        }
        // Without task cursors, there is no list to end.
        writer.write_all(if before == b"\"," { b"\"]}\n" } else { b"}\n" })?;
        writer.flush()?;
        drop(writer);
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    if let Err(error) = replace() {
        // It takes space that the next attempt needs; where it is missing, nothing was opened.
        if let Err(left) = fs::remove_file(&temporary)
            && left.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(error = %left, path = %temporary.display(), "cannot remove half-written checkpoint");
        }
        return Err(failed("write checkpoint", path)(error));
    }
    files::sync_parent(path).map_err(failed("write checkpoint", path))
}
