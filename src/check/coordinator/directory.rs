//! The directory of the file coordinator: whether this user can write there, and how much space is left.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::in_pipeline;
use crate::{
    check::clock::{Clock, Hang},
    config::Pipeline,
    coordinator::{Config, file::Directory},
    finding::Finding,
    sys,
};

const HANG: Hang = Hang { who: "the file system", fix: "check the disk of NOMAD_FIREHOSE_DATA_DIR" };

/// Less is a warning: a checkpoint of 1,000,000 tasks has about 64 MB, and a save needs the old one and the new one.
const LEAST: u64 = 256 << 20;

pub(super) async fn check(pipeline: &Pipeline, clock: Clock) -> Finding {
    let Config::File { data_dir } = &pipeline.coordinator else {
        return Finding::skipped("data directory", "another coordinator");
    };
    let what = in_pipeline(pipeline, "data directory");
    if let Err(error) = Directory::new(data_dir).check(&pipeline.kinds) {
        return Finding::of_setting(
            what,
            format!("{error}; set NOMAD_FIREHOSE_DATA_DIR to a directory with files of this program alone"),
        );
    }
    let (directory, name) = (data_dir.clone(), what.clone());
    let looked = async move {
        let looked = tokio::task::spawn_blocking(move || look(&name, &directory)).await;
        looked.unwrap_or_else(|_| Finding::skipped("data directory", "the check has ended before its time"))
    };
    clock.timed(&what, HANG, looked).await
}

fn look(what: &str, directory: &Path) -> Finding {
    let place = existing(directory);
    let probe = place.join(format!(".nomad-firehose-check-{:016x}", fastrand::u64(..)));
    let written = fs::write(&probe, "check").and_then(|()| fs::remove_file(&probe));
    if let Err(error) = written {
        return refused(what, &place, &error);
    }
    let shown = directory.display();
    let state = if place == directory { "is writable" } else { "is made by the first lease" };
    match sys::files::space(&place) {
        Ok(left) if left < LEAST => {
            let text = format!("{shown} {state}, but only {} MiB are free", left >> 20);
            Finding::warning(what, text, "free some space: a checkpoint is written whole before the old one goes")
        }
        Ok(left) => Finding::ok(what, format!("{shown} {state}, {} GiB free", left >> 30)),
        Err(_) => Finding::ok(what, format!("{shown} {state}")),
    }
}

fn refused(what: &str, place: &Path, error: &io::Error) -> Finding {
    let text = format!("cannot write a file in {}: {error}", place.display());
    let fix = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give the user of the service the right to write there, or set NOMAD_FIREHOSE_DATA_DIR"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
        _ => "set NOMAD_FIREHOSE_DATA_DIR to a directory that this program can write",
    };
    Finding::failed(what, text, fix)
}

/// The directory, or the nearest one above it that exists.
fn existing(directory: &Path) -> PathBuf {
    let all = directory.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    all.into_iter().find(|path| path.is_dir()).unwrap_or(Path::new(".")).to_owned()
}
