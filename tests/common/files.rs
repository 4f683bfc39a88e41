//! A consumer of the files that the sink `file` finishes.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Reads each finished file once.
#[derive(Debug)]
pub struct Consumer {
    directory: PathBuf,
    read: BTreeSet<PathBuf>,
}

impl Consumer {
    /// Of the files below this directory.
    pub fn new(directory: &Path) -> Self {
        Consumer { directory: directory.to_owned(), read: BTreeSet::new() }
    }

    /// The lines of the files that were finished since the last time, oldest first. Every line has to be whole.
    pub fn more(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for path in finished(&self.directory) {
            if self.read.contains(&path) {
                continue;
            }
            let text = text(&path);
            assert!(text.ends_with('\n'), "{} ends in the midst of a line", path.display());
            lines.extend(text.lines().map(str::to_owned));
            self.read.insert(path);
        }
        lines
    }

    /// How many files it has read.
    pub fn files(&self) -> usize {
        self.read.len()
    }
}

/// The finished files below a directory, oldest first.
pub fn finished(directory: &Path) -> Vec<PathBuf> {
    let mut found =
        below(directory, &|name| name.contains(".ndjson") && !name.ends_with(".open") && !name.ends_with(".part"));
    found.sort_by_key(|path| time(path));
    found
}

/// The files below a directory that are still written to.
pub fn open(directory: &Path) -> Vec<PathBuf> {
    below(directory, &|name| name.ends_with(".open"))
}

/// The time and the number in the name of a file.
fn time(path: &Path) -> (String, u32) {
    let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    let (stem, _) = name.split_once(".ndjson").expect("it is one of ours");
    let z = stem.rfind('Z').expect("a time");
    let number = stem[z + 1..].trim_start_matches('-');
    (stem[z - 19..z].to_owned(), number.parse().unwrap_or_default())
}

/// What is in a finished file.
pub fn text(path: &Path) -> String {
    let bytes = fs::read(path).expect("readable");
    let mut text = String::new();
    match path.extension().and_then(|end| end.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).expect("gzip"),
        Some("zst") => zstd::Decoder::new(bytes.as_slice()).expect("zstd").read_to_string(&mut text).expect("zstd"),
        _ => bytes.as_slice().read_to_string(&mut text).expect("text"),
    };
    text
}

fn below(directory: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(below(&path, is_wanted));
        } else if entry.file_name().to_str().is_some_and(is_wanted) {
            found.push(path);
        }
    }
    found
}
