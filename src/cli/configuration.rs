//! `config`: prints the settings in effect with their origins, or the reference of all settings.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser};

use super::{RUN, USAGE, arguments, flags, tell};
use crate::{
    config::{
        Environment, Wanted, Warning,
        effective::{Effective, Form, effective},
        reference,
    },
    kind::Kind,
    settings::Scope,
    sys,
    telemetry::{Log, LogFormat},
};

pub(super) const NAME: &str = "config";
const REFERENCE: &str = "reference";
const KIND: &str = "kind";
const OUTPUT: &str = "output";
const ALL: &str = "all";
const TABLE: &str = "table";
const JSON: &str = "json";
const TOML: &str = "toml";

/// The columns of a line where there is no terminal.
const WIDTH: usize = 160;

const EXAMPLES: &str = "\
Examples:
  # What the service `nomad-firehose run --config firehose.toml` would use, and why
  nomad-firehose config --config firehose.toml

  # The same for `nomad-firehose allocations`, with the settings that are not set
  nomad-firehose config allocations --all

  # Flags and variables as a configuration file
  nomad-firehose config allocations --sink-type stdout --output toml > firehose.toml

Exit codes: 0 done, 2 the configuration is wrong: stderr says how, and stdout has
what could be read.";

const ABOUT: &str = "Prints the settings in effect, and where each comes from";
const LONG: &str = "\
Prints the settings in effect, and where each comes from: its default, the file,
a variable, a flag, or the [pipeline.NAME] table of the file. Secrets are hidden.
It connects to nothing. Give it the flags and variables of the service.

Only settings that the run reads and that have a value are shown: those of Consul
with the coordinator consul, those of a sink with that sink, and so on.";

/// What is asked for.
#[derive(Debug)]
pub enum Show {
    /// `docs/configuration.md`.
    Reference,
    /// The settings in effect.
    Effective {
        /// They.
        effective: Box<Effective>,
        /// How they are written.
        form: Form,
        /// Whether to show also what is not set or not read.
        all: bool,
    },
}

pub(super) fn command() -> Command {
    let kinds = Kind::ALL.iter().map(|kind| kind.name()).chain([RUN]);
    let kind = Arg::new(KIND)
        .value_name("KIND")
        .value_parser(PossibleValuesParser::new(kinds))
        .default_value(RUN)
        .help("Subcommand that the service runs");
    let output = Arg::new(OUTPUT)
        .long(OUTPUT)
        .value_name("FORM")
        .default_value(TABLE)
        .value_parser(PossibleValuesParser::new([TABLE, JSON, TOML]))
        .help("Form of the output: table for people, json for programs, toml as a configuration file, in which ${VARIABLE} stands for each secret");
    let all = Arg::new(ALL)
        .long(ALL)
        .action(ArgAction::SetTrue)
        .help("Show also the settings that have no value, and those that the run does not read");
    let reference = Arg::new(REFERENCE)
        .long(REFERENCE)
        .action(ArgAction::SetTrue)
        .conflicts_with_all([OUTPUT, ALL])
        .help("Print the reference of all settings (docs/configuration.md) instead");
    let settings = arguments(Scope::All).chain(arguments(Scope::Run)).chain(arguments(Scope::Topics));
    Command::new(NAME)
        .about(ABOUT)
        .long_about(LONG)
        .after_help(EXAMPLES)
        .args([kind, output, all, reference])
        // The help of a run lists them.
        .args(settings.map(|argument| argument.hide(true)))
}

pub(super) fn read(matches: &ArgMatches, environment: &Environment<'_>) -> Show {
    if matches.get_flag(REFERENCE) {
        return Show::Reference;
    }
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let wanted = text(KIND).and_then(|name| name.parse::<Kind>().ok()).map_or(Wanted::Listed, Wanted::One);
    let form = match text(OUTPUT) {
        Some(JSON) => Form::Json,
        Some(TOML) => Form::Toml,
        _ => Form::Table,
    };
    let effective = Box::new(effective(wanted, &flags(matches), environment));
    Show::Effective { effective, form, all: matches.get_flag(ALL) }
}

impl Show {
    /// What is logged, and how: warnings about the settings.
    pub fn log(&self) -> Log {
        Log { level: tracing::Level::WARN, format: LogFormat::Text }
    }

    /// Prints it, and gives the exit code.
    pub fn run(&self) -> ExitCode {
        let (text, problems) = match self {
            Show::Reference => (reference::page(), None),
            Show::Effective { effective, form, all } => {
                effective.warnings.iter().for_each(Warning::log);
                (effective.written(*form, *all, width()), effective.problems.as_ref())
            }
        };
        // A reader that stops before the end has seen what it wanted.
        io::stdout().write_all(text.as_bytes()).ok();
        match problems {
            None => ExitCode::SUCCESS,
            Some(problems) => {
                tell(problems);
                ExitCode::from(USAGE)
            }
        }
    }
}

fn width() -> usize {
    sys::machine::columns().filter(|_| io::stdout().is_terminal()).unwrap_or(WIDTH)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{Task, load_from};

    fn asked(arguments: &[&str]) -> (String, bool) {
        let arguments = ["nomad-firehose", NAME].iter().chain(arguments).map(OsString::from);
        match load_from(arguments, &Environment { variables: Vec::new(), exists: &|_| false }).expect("valid").0 {
            Task::Config(Show::Effective { effective, form, all }) => {
                (effective.written(form, all, WIDTH), effective.problems.is_none())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_takes_the_flags_of_a_run() {
        let (text, is_valid) = asked(&["events", "--coordinator=none", "--topic=Job", "--output=toml"]);
        assert!(
            is_valid && text.contains("\ntopic = [\"Job\"]\n") && text.contains("\ncoordinator = \"none\"\n"),
            "{text}"
        );
        let (text, is_valid) = asked(&["--resources=jobs", "--coordinator=none"]);
        assert!(is_valid && text.contains("--resources") && !text.contains("consul-http-addr"), "{text}");
        let (text, is_valid) = asked(&["--coordinator=none", "--all"]);
        assert!(!is_valid && text.contains("consul-http-addr"), "{text}");
    }

    #[test]
    fn the_examples_hold() {
        for example in EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("nomad-firehose config ")) {
            let example = example.split(" > ").next().expect("a command");
            if !example.starts_with("--config") {
                asked(&example.split_whitespace().collect::<Vec<_>>());
            }
        }
    }
}
