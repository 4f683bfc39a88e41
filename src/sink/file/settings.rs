//! The settings of the file sink.

use std::{path::PathBuf, time::Duration};

use super::{Config, config::Keep};
use crate::{
    settings::{Broken, ByteSize, Reader, Setting, between, duration, number, settings},
    sink::{
        Definition,
        ndjson::{Compression, Pattern},
    },
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "lines of JSON in files of a directory",
    settings: SETTINGS,
    log: &[],
    is_for_people: false,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "File sink";

settings! {
    pub(super) SETTINGS:

    DIRECTORY = Setting::new(HEADING, "sink-file-directory", "SINK_FILE_DIRECTORY", "DIRECTORY",
        "Directory to write to, which must exist. Only one process may write to it");
    NAME = Setting::new(HEADING, "sink-file-name", "SINK_FILE_NAME", "PATTERN",
        "Path of the files below the directory, to which a time and .ndjson are added. It can contain fields of the record, and %Y, %m, %d and %H of the time in UTC: {Kind}/%Y-%m-%d/{Kind}").default("{Kind}");
    ROTATE_SIZE = Setting::new(HEADING, "sink-file-rotate-size", "SINK_FILE_ROTATE_SIZE", "SIZE",
        "Size that no file grows beyond, before compression (4KiB–1TiB)").default("128MiB");
    ROTATE_INTERVAL = Setting::new(HEADING, "sink-file-rotate-interval", "SINK_FILE_ROTATE_INTERVAL", "DURATION",
        "Age at which a file is finished, also if no record arrives (100ms–744h)").default("1h");
    COMPRESSION = Setting::new(HEADING, "sink-file-compression", "SINK_FILE_COMPRESSION", "NAME",
        "How finished files are compressed: none, gzip or zstd").default("none");
    COMPRESSION_LEVEL = Setting::new(HEADING, "sink-file-compression-level", "SINK_FILE_COMPRESSION_LEVEL", "NUMBER",
        "Level of the compression: 1–9 for gzip (6 without this setting), 1–19 for zstd (3)");
    FSYNC_INTERVAL = Setting::new(HEADING, "sink-file-fsync-interval", "SINK_FILE_FSYNC_INTERVAL", "DURATION",
        "How long records are gathered for one write and one fsync (0s–60s). 0s writes and syncs each batch at once. A record counts as delivered only after the fsync").default("0s");
    MODE = Setting::new(HEADING, "sink-file-mode", "SINK_FILE_MODE", "OCTAL",
        "Mode of the files, such as 0640. Directories also get the right to search for whoever may read").default("0600");
    KEEP_FILES = Setting::new(HEADING, "sink-file-keep-files", "SINK_FILE_KEEP_FILES", "COUNT",
        "The most finished files in the directory (at least 1). The oldest are DELETED, read or not. Without it, none is deleted for their number");
    KEEP_SIZE = Setting::new(HEADING, "sink-file-keep-size", "SINK_FILE_KEEP_SIZE", "SIZE",
        "The most bytes of finished files in the directory (at least 1MiB). The oldest are DELETED, read or not. Without it, none is deleted for their size");
}

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    if reader.text(&DIRECTORY).is_none() {
        let what = "the file sink needs a directory to write to; create one, and name it";
        reader.missing(&DIRECTORY, what);
    }
    let directory = reader.optional(&DIRECTORY, |text| Ok::<_, String>(PathBuf::from(text)));
    let name = reader.value(&NAME, str::parse::<Pattern>);
    let rotate_size = reader.value(&ROTATE_SIZE, between(ByteSize::new(4 << 10), ByteSize::new(1 << 40)));
    let interval = duration(Duration::from_millis(100), Duration::from_secs(744 * 3600));
    let rotate_interval = reader.value(&ROTATE_INTERVAL, interval);
    let compression = Compression::read(reader, &COMPRESSION, &COMPRESSION_LEVEL);
    let fsync_interval = reader.value(&FSYNC_INTERVAL, duration(Duration::ZERO, Duration::from_secs(60)));
    let mode = reader.value(&MODE, mode);
    let files = reader.optional(&KEEP_FILES, number(1, 1_000_000));
    let bytes = reader.optional(&KEEP_SIZE, between(ByteSize::new(1 << 20), ByteSize::new(1 << 50)));
    Ok(Config {
        directory: directory.ok_or(Broken)?,
        name: name?,
        rotate_size: rotate_size?.bytes(),
        rotate_interval: rotate_interval?,
        compression: compression?,
        fsync_interval: fsync_interval?,
        mode: mode?,
        keep: Keep { files, bytes: bytes.map(ByteSize::bytes) },
    })
}

fn mode(text: &str) -> Result<u32, &'static str> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8).ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match mode {
        Some(mode) if mode & !0o666 == 0 && mode & 0o600 == 0o600 => Ok(mode),
        _ => Err("not a mode for files; write an octal number such as 0600, 0640 or 0644"),
    }
}

#[cfg(test)]
mod tests;
