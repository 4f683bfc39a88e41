//! The book that `make docs` has made.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::links::resolved;

/// Every link of the book that leads nowhere.
pub(crate) fn broken_links() -> Vec<String> {
    let root = PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into())).join("book/html");
    let mut pages = BTreeMap::new();
    find(&root, &mut pages);
    if pages.is_empty() {
        return vec![format!("there is no book in {}: make docs makes it", root.display())];
    }
    let anchors: BTreeMap<&Path, BTreeSet<&str>> =
        pages.iter().map(|(path, text)| (&**path, values(text, "id").collect())).collect();
    let mut problems = Vec::new();
    for (page, text) in &pages {
        // These two have the links of other pages, or are shown in the place of any.
        if page.ends_with("print.html") || page.ends_with("404.html") || page.ends_with("toc.html") {
            continue;
        }
        for target in values(text, "href").chain(values(text, "src")).filter(|target| !target.contains(':')) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { page.clone() } else { resolved(page, file) };
            let lacks_anchor = !anchor.is_empty() && anchors.get(&*to).is_some_and(|anchors| !anchors.contains(anchor));
            if !to.exists() || lacks_anchor {
                problems.push(format!("{}: {target}", page.display()));
            }
        }
    }
    problems
}

fn find(directory: &Path, pages: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() {
            find(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "html") {
            let text = std::fs::read_to_string(&path).expect("a page");
            pages.insert(path, text);
        }
    }
}

/// The values of an attribute.
fn values<'a>(text: &'a str, attribute: &str) -> impl Iterator<Item = &'a str> {
    let opened = format!(" {attribute}=\"");
    let mut rest = text;
    std::iter::from_fn(move || {
        let (value, after) = rest.split_once(&opened)?.1.split_once('"')?;
        rest = after;
        Some(value)
    })
}
