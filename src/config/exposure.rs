//! Files that other users of the machine can access, and should not.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::catalogue;
use crate::{
    settings::{Layers, Setting, Warning},
    sys,
};

const READ: u32 = 0o004;
const WRITE: u32 = 0o002;

/// Warns of files with secrets that other users can read, and of files and directories that they can write and that decide what
/// the program does. Access of a group counts as intended. The code that opens a file reports that it does not exist.
pub(super) fn warnings(layers: &Layers) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut look = |setting: &Setting, path: &Path, bits: u32| {
        let Ok(metadata) = fs::metadata(path) else { return };
        let Some(mode) = sys::files::mode(&metadata) else { return };
        if mode & bits != 0 && (metadata.is_file() || metadata.is_dir()) {
            let setting = layers.get(setting).map(|given| given.origin.place(setting)).unwrap_or_default();
            let is_directory = metadata.is_dir();
            found.push(Warning::Exposed { setting, path: path.to_owned(), mode, is_directory });
        }
    };
    let path = |setting: &Setting| layers.get(setting)?.values.first().map(PathBuf::from);
    if let Some(file) = path(&catalogue::CONFIG) {
        look(&catalogue::CONFIG, &file, if layers.file_has_secrets() { READ | WRITE } else { WRITE });
    }
    for setting in catalogue::ALL.iter().filter(|setting| setting.secret_file) {
        if let Some(file) = path(setting) {
            look(setting, &file, READ | WRITE);
        }
    }
    let given = |setting| layers.get(setting).and_then(|given| given.values.first()).map(String::as_str);
    if let Some(file) = given(&catalogue::DEAD_LETTER).and_then(|place| place.strip_prefix("file:")) {
        look(&catalogue::DEAD_LETTER, Path::new(file), READ | WRITE);
    }
    if let (Some("file"), Some(directory)) = (given(&catalogue::COORDINATOR), given(&catalogue::DATA_DIR)) {
        look(&catalogue::DATA_DIR, Path::new(directory), WRITE);
    }
    found
}
