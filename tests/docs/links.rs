//! Links between pages.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use super::pages::{self, Kind, Page};

/// Servers that anybody can reach. A name without a dot, and those of `example.com`, stand for the reader's own.
const PUBLIC: &[&str] = &[
    "cloudevents.io",
    "developer.hashicorp.com",
    "github.com",
    "grafana.com",
    "jqlang.org",
    "keepachangelog.com",
    "opentelemetry.io",
    "semver.org",
    "vector.dev",
    "www.consul.io",
    "www.nomadproject.io",
    "www.rfc-editor.org",
    // Addresses that settings have.
    "discord.com",
    "events.eu.pagerduty.com",
    "events.pagerduty.com",
    "hooks.slack.com",
];

/// Every link and every anchor that leads nowhere.
pub(crate) fn broken(pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut anchors = BTreeMap::new();
    for page in pages.values() {
        for (line, target) in links(page) {
            let at = format!("{}:{line}: {target}", page.path.display());
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let to = if file.is_empty() { page.path.clone() } else { resolved(&page.path, file) };
            if !to.exists() {
                problems.push(format!("{at}: there is no {}", to.display()));
            } else if let Some(there) = pages.get(&to)
                && !anchor.is_empty()
                && !anchors.entry(to.clone()).or_insert_with(|| anchors_of(there)).contains(anchor)
            {
                problems.push(format!("{at}: {} has no heading for it", to.display()));
            }
        }
    }
    problems
}

/// Every address whose server is neither public nor stands for the reader's own.
pub(crate) fn strange_hosts(pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let mut problems = Vec::new();
    for page in pages.values() {
        for part in page.parts.iter().filter(|part| part.kind != Kind::Comment) {
            for address in part.text.split("://").skip(1) {
                let end =
                    address.find(|c: char| !c.is_ascii_alphanumeric() && !"-._:@".contains(c)).unwrap_or(address.len());
                let host = address[..end].rsplit('@').next().unwrap_or_default().split(':').next().unwrap_or_default();
                let host = host.trim_end_matches('.');
                let is_own =
                    !host.contains('.') || host.ends_with("example.com") || host.parse::<std::net::Ipv4Addr>().is_ok();
                if !is_own && !PUBLIC.contains(&host) {
                    problems.push(format!(
                        "{}:{}: {host}: if everybody can reach it, add it to PUBLIC",
                        page.path.display(),
                        part.line
                    ));
                }
            }
        }
    }
    problems
}

/// The links of a page, with the number of their line.
pub(crate) fn links(page: &Page) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for part in page.parts.iter().filter(|part| part.kind == Kind::Text) {
        let (plain, _) = pages::spans(&part.text);
        for opened in ["](", "src=\"", "href=\""] {
            let targets = plain.split(opened).skip(1).filter_map(|rest| rest.split([')', '"']).next());
            links.extend(targets.map(|target| (part.line, target.to_owned())));
        }
    }
    links
}

/// The file that a link leads to.
pub(crate) fn resolved(from: &Path, file: &str) -> PathBuf {
    let mut path = from.parent().unwrap_or(Path::new("")).to_owned();
    for component in Path::new(file).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

/// The anchors of a page: those of its headings.
fn anchors_of(page: &Page) -> BTreeSet<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let headings = page.parts.iter().filter(|part| part.kind == Kind::Text && part.text.starts_with('#'));
    let anchors = headings.map(|part| {
        let anchor = anchor(part.text.trim_start_matches('#'));
        let count = counts.entry(anchor.clone()).or_default();
        *count += 1;
        if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
    });
    anchors.collect()
}

/// As the usual viewers make it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

#[test]
fn headings_make_anchors() {
    assert_eq!(anchor(" `state show [KIND…]`"), "state-show-kind");
    assert_eq!(anchor(" How long a take-over takes"), "how-long-a-take-over-takes");
    assert_eq!(resolved(Path::new("docs/recipes/README.md"), "../pipelines.md"), Path::new("docs/pipelines.md"));
}
