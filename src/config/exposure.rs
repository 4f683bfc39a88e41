//! Files that others on the machine can get at, and should not.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    catalogue::{self, Setting},
    layers::Layers,
    problem::Warning,
};

/// Settings that name a file with a secret in it.
static SECRETS: [&Setting; 7] = [
    &catalogue::NOMAD_TOKEN_FILE,
    &catalogue::NOMAD_CLIENT_KEY,
    &catalogue::CONSUL_HTTP_TOKEN_FILE,
    &catalogue::CONSUL_CLIENT_KEY,
    &catalogue::SINK_AMQP_CLIENT_KEY,
    &catalogue::SINK_HTTP_TOKEN_FILE,
    &catalogue::SINK_HTTP_CLIENT_KEY,
];

const READ: u32 = 0o004;
const WRITE: u32 = 0o002;

/// What others can read that has secrets in it, and what they can write that decides on what the program does. A group is
/// given access on purpose. Nothing is said of what is not there: whoever opens it does.
pub(super) fn warnings(layers: &Layers) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut look = |setting: &Setting, path: &Path, bits: u32| {
        let Ok(metadata) = fs::metadata(path) else { return };
        let mode = metadata.permissions().mode() & 0o7777;
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
    for setting in SECRETS {
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
