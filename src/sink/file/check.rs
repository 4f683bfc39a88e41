//! Tries to create a file in the directory, and removes it.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    time::Duration,
};

use tokio::{task::spawn_blocking, time::timeout};

use super::{Config, directory::Lock, fault::Fault};
use crate::{files, finding::Finding, settings::ByteSize, sys};

const WHAT: &str = "sink file";

pub(super) async fn check(config: &Config, within: Duration) -> Vec<Finding> {
    let tried = config.clone();
    let found = match timeout(within, spawn_blocking(move || tried_in(&tried))).await {
        Ok(Ok(Ok(text))) => Finding::ok(WHAT, text),
        Ok(Ok(Err(fault))) => Finding::of_error(WHAT, fault),
        Ok(Err(panic)) => Finding::failed(WHAT, panic, "report it as a bug"),
        Err(_) => {
            let text = format!("{} did not answer within {within:.1?}", config.directory.display());
            Finding::failed(WHAT, text, "check the disk or the server that SINK_FILE_DIRECTORY is on")
        }
    };
    vec![found]
}

fn tried_in(config: &Config) -> Result<String, Fault> {
    let directory = &config.directory;
    let path = directory.join(format!(".nomad-firehose-check-{:016x}", fastrand::u64(..)));
    let file = files::open_private(&path, OpenOptions::new().write(true).create_new(true));
    let mut file = file.map_err(Fault::of("create", &path))?;
    let written = file.write_all(b"{}\n").and_then(|()| file.sync_all());
    drop(file);
    let removed = fs::remove_file(&path);
    written.map_err(Fault::of("write to", &path))?;
    removed.map_err(Fault::of("remove", &path))?;
    let free = sys::files::space(directory).map_err(Fault::of("examine", directory))?;
    let other = if Lock::is_taken(directory)? { "; a running process writes there" } else { "" };
    // Whole MiB, because nobody reads the rest.
    let free = ByteSize::new(free >> 20 << 20);
    Ok(format!("{} can be written to, {free} are free{other}", directory.display()))
}
