//! The dead-letter file. Blocking.

use std::{
    fmt,
    fs::{File, Metadata, OpenOptions},
    io::{self, BufWriter, Write},
    path::Path,
};

use serde::Serialize;
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime},
};

use super::Letter;
use crate::{files, record::Envelope, sys};

/// How often a file is opened again because another one took its name before it was locked.
const REPLACED: usize = 16;

/// Appends `letters` and waits until they are on disk: all of them, or none.
pub(crate) fn append(path: &Path, letters: &[Letter]) -> io::Result<()> {
    let (file, before) = open(path)?;
    if letters.is_empty() {
        return Ok(());
    }
    let written = write(&file, &before, letters).and_then(|()| file.sync_data());
    let written = written.and_then(|()| if before.len() == 0 { files::sync_parent(path) } else { Ok(()) });
    if written.is_err() {
        // Half a line would look like a letter. Where even this fails, the next write closes the line.
        if let Err(error) = file.set_len(before.len()) {
            tracing::warn!(%error, path = %path.display(), "cannot undo half-written dead letter");
        }
    }
    written
}

/// Opens and locks the file of this name. Closing the file frees the lock.
///
/// A replay can replace the file while we wait for the lock: whatever is written to the old one then is lost.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    for _ in 0..REPLACED {
        let file = files::open_private(path, OpenOptions::new().read(true).append(true).create(true))?;
        file.lock()?;
        let metadata = file.metadata()?;
        if files::is_named(path, &file)? {
            return Ok((file, metadata));
        }
    }
    Err(io::Error::new(io::ErrorKind::Interrupted, "the file is replaced over and over"))
}

fn write(file: &File, before: &Metadata, letters: &[Letter]) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    if before.len() > 0 {
        let mut last = [0];
        sys::files::read_exact_at(file, &mut last, before.len() - 1)?;
        if last != *b"\n" {
            writer.write_all(b"\n")?;
        }
    }
    write_lines(&mut writer, letters)?;
    writer.flush()
}

/// Writes a line for each letter.
pub(crate) fn write_lines(writer: &mut impl Write, letters: &[Letter]) -> io::Result<()> {
    let mut time = String::new();
    // Cannot fail: it writes into a text.
    SystemTime.format_time(&mut Writer::new(&mut time)).map_err(io::Error::other)?;
    for letter in letters {
        serde_json::to_writer(&mut *writer, &LetterLine::new(&time, letter))?;
        writer.write_all(b"\n")?;
    }
    Ok(())
}

#[derive(Serialize)]
struct LetterLine<'a> {
    time: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    key: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    job: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sink: &'a str,
    reason: &'a str,
    attempts: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    context: &'a str,
    #[serde(skip_serializing_if = "is_none")]
    envelope: &'a Envelope,
    #[serde(flatten)]
    body: Body<'a>,
}

fn is_none(envelope: &Envelope) -> bool {
    *envelope == Envelope::None
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Body<'a> {
    Body(&'a str),
    BodyHex(Hex<'a>),
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'a> LetterLine<'a> {
    fn new(time: &'a str, letter: &'a Letter) -> Self {
        let body = match std::str::from_utf8(&letter.body) {
            Ok(text) => Body::Body(text),
            Err(_) => Body::BodyHex(Hex(&letter.body)),
        };
        LetterLine {
            time,
            kind: letter.kind,
            id: &letter.id,
            key: &letter.key,
            namespace: &letter.namespace,
            job: &letter.job,
            sink: letter.sink,
            reason: &letter.reason,
            attempts: letter.attempts,
            context: &letter.context,
            envelope: &letter.envelope,
            body,
        }
    }
}
