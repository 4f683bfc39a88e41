//! The pages, taken apart: text, fenced blocks, and comments that readers do not see.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    /// From the root of the repository: `docs/logs.md`.
    pub(crate) path: PathBuf,
    pub(crate) parts: Vec<Part>,
}

/// Lines that belong together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The number of its first line.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One line of text.
    Text,
    /// A fenced block, with the language that its first line names. The text is what is between the fences.
    Block(String),
    /// An HTML comment that begins a line. The text is what is in it.
    Comment,
}

/// Every page that people read, by its path.
pub(crate) fn all() -> BTreeMap<PathBuf, Page> {
    let mut paths = Vec::new();
    for directory in [".", "docs", "deploy"] {
        find(Path::new(directory), directory != ".", &mut paths);
    }
    let pages = paths.into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
        (path.clone(), Page { path, parts: parts(&text) })
    });
    pages.collect()
}

fn find(directory: &Path, is_deep: bool, paths: &mut Vec<PathBuf>) {
    // `deploy` may be missing.
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() && is_deep {
            find(&path, true, paths);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
}

/// Takes a page apart.
pub(crate) fn parts(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let part = if let Some(fence) = Fence::of(line) {
            let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| !fence.ends(line)).collect();
            let body =
                body.iter().map(|line| format!("{}\n", line.strip_prefix(fence.indent).unwrap_or(line.trim_start())));
            (Kind::Block(fence.language.to_owned()), body.collect())
        } else if let Some(rest) = line.strip_prefix("<!--") {
            let mut comment = rest.to_owned();
            while !comment.contains("-->") {
                let Some((_, line)) = lines.next() else { break };
                comment = comment + "\n" + line;
            }
            (Kind::Comment, comment.split("-->").next().unwrap_or_default().trim().to_owned())
        } else {
            (Kind::Text, line.to_owned())
        };
        parts.push(Part { line: number + 1, kind: part.0, text: part.1 });
    }
    parts
}

/// The line that begins a block.
struct Fence<'a> {
    indent: &'a str,
    marks: &'a str,
    language: &'a str,
}

impl<'a> Fence<'a> {
    fn of(line: &'a str) -> Option<Self> {
        let rest = line.trim_start();
        let language = rest.trim_start_matches('`');
        let marks = &rest[..rest.len() - language.len()];
        let is_fence = marks.len() >= 3 && !language.contains('`');
        is_fence.then(|| Fence { indent: &line[..line.len() - rest.len()], marks, language: language.trim() })
    }

    fn ends(&self, line: &str) -> bool {
        line.trim() == self.marks
    }
}

/// The text with each code span replaced by blanks, and the spans.
pub(crate) fn spans(text: &str) -> (String, Vec<&str>) {
    let (mut plain, mut spans, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, after)) = rest.split_once('`') {
        plain.push_str(before);
        let Some((span, after)) = after.split_once('`') else {
            rest = after;
            break;
        };
        plain.push_str(&" ".repeat(span.chars().count() + 2));
        spans.push(span);
        rest = after;
    }
    plain.push_str(rest);
    (plain, spans)
}

#[test]
fn a_page_is_taken_apart() {
    let text = "# A\n<!-- run -->\n```sh\n# no heading\n```\n<!-- test\none\ntwo\n-->\n   ```\n   x\n     y\n   ```\n";
    let parts: Vec<_> = parts(text).into_iter().map(|part| (part.line, part.kind, part.text)).collect();
    let expected = [
        (1, Kind::Text, "# A"),
        (2, Kind::Comment, "run"),
        (3, Kind::Block("sh".to_owned()), "# no heading\n"),
        (6, Kind::Comment, "test\none\ntwo"),
        (10, Kind::Block(String::new()), "x\n  y\n"),
    ];
    assert_eq!(parts, expected.map(|(line, kind, text)| (line, kind, text.to_owned())));
    assert_eq!(spans("a `b` c `d"), ("a     c d".to_owned(), vec!["b"]));
}
