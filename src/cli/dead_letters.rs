//! `dead-letters`: the part of the command line that looks into a dead-letter file.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PathBufValueParser};

use super::arguments;
use crate::config::catalogue::Scope;

pub(super) const NAME: &str = "dead-letters";
const LIST: &str = "list";
const PATH: &str = "path";
const JSON: &str = "json";

const EXAMPLES: &str = "\
Examples:
  # What the sink has refused, and why
  nomad-firehose dead-letters list /var/lib/nomad-firehose/dead-letters

  # How often each reason occurs
  nomad-firehose dead-letters list --json dead-letters | jq -r .reason | sort | uniq -c

Messages are not shown: they can carry secrets. They are in the file, as body.
Exit codes: 0 done, 1 the file or a line of it cannot be read, 2 wrong command line.";

/// What the subcommand asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The dead-letter file.
    pub path: PathBuf,
    /// For programs.
    pub json: bool,
}

pub(super) fn command() -> Command {
    let path = Arg::new(PATH).value_name("PATH").required(true).value_parser(PathBufValueParser::new());
    let list = Command::new(LIST)
        .about("Lists the letters of a file: what, when, why, how often it was sent")
        .after_help(EXAMPLES)
        .arg(path.help("The file that NOMAD_FIREHOSE_DEAD_LETTER=file:PATH names"))
        .arg(Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("One JSON object a letter, for programs"));
    // A run's flags are no mistake here, and say nothing.
    let hidden = arguments(Scope::All).map(|argument| argument.global(true).hide(true));
    Command::new(NAME)
        .args(hidden)
        .about("Looks into a file of records that the sink has refused")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(list)
}

/// What is asked for.
pub(super) fn read(matches: &ArgMatches) -> List {
    // clap has refused a missing or unknown subcommand, and a missing path.
    let (_, matches) = matches.subcommand().unwrap_or((LIST, matches));
    List { path: matches.get_one::<PathBuf>(PATH).cloned().unwrap_or_default(), json: matches.get_flag(JSON) }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::{
        cli::{Task, load_from},
        config::Environment,
    };

    #[test]
    fn a_path_is_all_it_needs() {
        let wrong = vec![("SINK_TYPE".into(), "pigeon".into())];
        let environment = Environment { variables: wrong, exists: &|_| false };
        let arguments = ["nomad-firehose", NAME, LIST, "letters", "--json"].map(OsString::from);
        match load_from(arguments, &environment).expect("it is valid").0 {
            Task::DeadLetters(list) => assert_eq!(list, List { path: "letters".into(), json: true }),
            other => panic!("{other:?}"),
        }
    }
}
