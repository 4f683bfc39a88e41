//! Checks the documentation: that links lead somewhere, that what it names exists, and that its commands do what it says.
//!
//! `make docs-test` also runs the commands that need Consul, RabbitMQ or Python packages, and prints those that cannot be run. What a page can say about
//! its commands: [`marks`].

mod book;
#[path = "../common/mod.rs"]
mod common;
mod links;
mod marks;
mod names;
mod pages;
mod run;
mod stage;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

fn hold(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    hold(&links::broken(&pages::all()));
}

#[test]
fn every_name_exists() {
    hold(&names::unknown(&pages::all()));
}

#[test]
fn every_alert_has_its_runbook() {
    let Ok(rules) = std::fs::read_to_string("deploy/prometheus/rules.yml") else { return };
    let alerts: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let pages = pages::all();
    let page = &pages[Path::new("docs/operations.md")];
    let headings = page.parts.iter().filter_map(|part| part.text.strip_prefix("### "));
    let runbooks: BTreeSet<&str> = headings.filter(|heading| heading.starts_with("NomadFirehose")).collect();
    assert_eq!(
        runbooks, alerts,
        "docs/operations.md has a section for each alert of deploy/prometheus/rules.yml, and for no other"
    );
}

#[test]
fn every_server_is_public_or_stands_for_the_readers_own() {
    hold(&links::strange_hosts(&pages::all()));
}

#[test]
fn no_path_of_a_machine_is_in_there() {
    let places = ["/work/", "/root/", "/home/", ".internal"];
    let mut problems = Vec::new();
    for page in pages::all().values() {
        for part in &page.parts {
            for place in places.into_iter().filter(|place| part.text.contains(place)) {
                problems.push(format!("{}:{}: {place}", page.path.display(), part.line));
            }
        }
    }
    hold(&problems);
}

#[test]
fn the_summary_has_every_page_and_the_index_every_page_but_the_recipes() {
    let pages = pages::all();
    let linked = |from: &str| -> Vec<PathBuf> {
        let page = &pages[Path::new(from)];
        links::links(page)
            .iter()
            .map(|(_, target)| links::resolved(&page.path, target.split('#').next().unwrap_or_default()))
            .collect()
    };
    let (summary, index) = (linked("docs/SUMMARY.md"), linked("docs/README.md"));
    let mut problems = Vec::new();
    for path in pages.keys().filter(|path| !path.ends_with("SUMMARY.md")) {
        if !summary.contains(path) {
            problems.push(format!("docs/SUMMARY.md lacks {}", path.display()));
        }
        let is_recipe = path.starts_with("docs/recipes") && !path.ends_with("README.md");
        if path.starts_with("docs") && !is_recipe && !path.ends_with("docs/README.md") && !index.contains(path) {
            problems.push(format!("docs/README.md lacks {}", path.display()));
        }
    }
    hold(&problems);
}

#[test]
#[ignore = "needs the book: make docs-test"]
fn every_link_of_the_book_leads_somewhere() {
    hold(&book::broken_links());
}

#[test]
#[ignore = "a part of make docs-test"]
fn every_command_has_a_mark() {
    let pages = pages::all();
    hold(&pages.values().flat_map(marks::unmarked).collect::<Vec<_>>());
}

/// The commands that need nothing but the program and a simulated cluster.
#[tokio::test(flavor = "multi_thread")]
async fn commands_do_what_the_pages_say() {
    hold(&run::pages(&pages::all(), false).await);
}

/// All of them. It prints those that are not run.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Consul, RabbitMQ and Python packages: make docs-test"]
async fn all_commands_do_what_the_pages_say() {
    hold(&run::pages(&pages::all(), true).await);
}
