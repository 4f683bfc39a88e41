//! Names that the documentation uses: settings, metrics, log events, subcommands and flags.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use clap::{Arg, Command};
use nomad_firehose::{cli, config::catalogue};

use super::pages::{self, Kind, Page};

/// Variables that look like settings and are none: those of examples, and those that only the build or the tests read.
const NO_SETTINGS: &[&str] = &["SINK_NATS_SUBJECT"];

/// What a code span of several words begins with when it is a command, or text of something else, and no log event.
const COMMANDS: &[&str] = &[
    "cargo",
    "consul",
    "curl",
    "docker",
    "kill",
    "make",
    "nomad",
    "nomad-firehose",
    "proxy_buffering",
    "systemctl",
    "unsafe",
];

/// Every use of a name that does not exist.
pub(crate) fn unknown(pages: &BTreeMap<PathBuf, Page>) -> Vec<String> {
    let known = Known::read(pages);
    let mut problems = Vec::new();
    for page in pages.values().filter(|page| !page.path.ends_with("CHANGELOG.md")) {
        for part in page.parts.iter().filter(|part| part.kind != Kind::Comment) {
            let mut report = |name: &str, what: &str| {
                problems.push(format!("{}:{}: `{name}` is no {what}", page.path.display(), part.line));
            };
            for word in words(&part.text) {
                if let Some(what) = known.fault_of_word(word) {
                    report(word, what);
                }
            }
            let spans = match part.kind {
                Kind::Block(_) => part.text.lines().collect(),
                _ => pages::spans(&part.text).1,
            };
            for span in &spans {
                if !known.events.contains(*span)
                    && let Some((name, what)) = known.fault_of_command(span)
                {
                    report(&name, what);
                }
            }
            // `tests/logs` compares this page with the code.
            if part.kind == Kind::Text && !page.path.ends_with("logs.md") {
                for span in spans.into_iter().filter(|span| is_like_an_event(span) && !known.events.contains(*span)) {
                    report(span, "log event of docs/logs.md");
                }
            }
        }
    }
    problems
}

/// What there is.
struct Known {
    variables: BTreeSet<&'static str>,
    metrics: BTreeSet<String>,
    events: BTreeSet<String>,
    command: Command,
}

impl Known {
    fn read(pages: &BTreeMap<PathBuf, Page>) -> Self {
        // Tests of their own compare these two pages with the code.
        let rows = |page: &str| {
            let page = pages.iter().find(|(path, _)| path.ends_with(page)).expect("the page is there").1;
            let rows = page.parts.iter().filter_map(|part| part.text.strip_prefix("| `")?.split('`').next());
            rows.map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let mut command = cli::command();
        command.build();
        Known {
            variables: catalogue::ALL.iter().map(|setting| setting.variable).collect(),
            metrics: rows("docs/monitoring.md"),
            events: rows("docs/logs.md"),
            command,
        }
    }

    fn fault_of_word(&self, word: &str) -> Option<&'static str> {
        let is_variable = word.starts_with("NOMAD_FIREHOSE_") || word.starts_with("SINK_");
        if is_variable && !word.ends_with('_') && !self.variables.contains(word) && !NO_SETTINGS.contains(&word) {
            return Some("setting");
        }
        let parts = ["_bucket", "_sum", "_count"].map(|part| word.strip_suffix(part));
        let is_known = |name: &str| self.metrics.contains(name);
        let is_metric = word.starts_with("nomad_firehose_") && !word.ends_with('_');
        (is_metric && !is_known(word) && !parts.into_iter().flatten().any(is_known)).then_some("metric")
    }

    /// The first subcommand or flag of the command that does not exist.
    fn fault_of_command(&self, line: &str) -> Option<(String, &'static str)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut starts = (0..words.len()).filter(|&n| words[n].rsplit('/').next() == Some("nomad-firehose"));
        let begins =
            |n: usize| n == 0 || matches!(words[n - 1], "$" | "|" | "&&" | "nomad-firehose" | "exec" | "then" | "--");
        let start = starts.rfind(|&n| begins(n))?;
        let mut command = &self.command;
        for word in
            words[start + 1..].iter().take_while(|word| !matches!(**word, "|" | "&&" | ">" | "<" | ";" | "&" | "\\"))
        {
            let word = word.trim_end_matches([',', ';', ')']);
            if let Some(flag) = word.strip_prefix("--") {
                let flag = flag.split('=').next().unwrap_or_default();
                let names = |argument: &Arg| {
                    let aliases = argument.get_all_aliases().unwrap_or_default();
                    argument.get_long() == Some(flag) || aliases.contains(&flag)
                };
                let is_known = command.get_arguments().any(names);
                if !is_known && flag != "…" {
                    return Some((format!("{} --{flag}", command.get_name()), "flag"));
                }
            } else if let Some(deeper) = command.find_subcommand(word) {
                command = deeper;
            } else if command.has_subcommands() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                return Some((format!("{} {word}", command.get_name()), "subcommand"));
            }
        }
        None
    }
}

/// Words of capital or small letters, digits and underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// Whether a code span can only be the message of a log line: several words in lower case.
fn is_like_an_event(span: &str) -> bool {
    let words: Vec<&str> = span.split(' ').collect();
    words.len() >= 3
        && !COMMANDS.contains(&words[0])
        && words.iter().all(|word| word.len() >= 2 || *word == "a")
        && words
            .iter()
            .all(|word| word.chars().all(|c| c.is_ascii_lowercase() || "-'".contains(c)) && !word.starts_with('-'))
}

#[test]
fn commands_are_read() {
    let pages = pages::all();
    let known = Known::read(&pages);
    assert_eq!(known.fault_of_command("nomad alloc exec -job nomad-firehose nomad-firehose state show"), None);
    assert_eq!(known.fault_of_command("consul acl policy create -name nomad-firehose -rules @x"), None);
    let fault = |line| known.fault_of_command(line).expect("a fault").0;
    assert_eq!(fault("$ target/release/nomad-firehose allocations --nope | jq ."), "allocations --nope");
    assert_eq!(fault("nomad-firehose dance"), "nomad-firehose dance");
    assert_eq!(known.fault_of_word("nomad_firehose_sink_response_seconds_bucket"), None);
    assert_eq!(known.fault_of_word("NOMAD_FIREHOSE_NOPE"), Some("setting"));
}
