//! `check`: tries whether a run with this configuration would work.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser};

use super::{Exit, RUN, Task, USAGE, arguments, flags, pipeline_flag, pipeline_of, tell};
use crate::{
    check::{Check, Look},
    config::{self, Environment, Wanted, Warning},
    kind::Kind,
    settings::Scope,
};

pub(super) const NAME: &str = "check";
const KIND: &str = "kind";
const OUTPUT: &str = "output";
const SEND_TEST: &str = "send-test";
const TEXT: &str = "text";
const JSON: &str = "json";

const EXAMPLES: &str = "\
Examples:
  # Would `nomad-firehose run` work, with the variables that are set?
  nomad-firehose check

  # The same for `nomad-firehose allocations`, and for a configuration file
  nomad-firehose check allocations
  nomad-firehose check --config firehose.toml --pipeline slack

  # For a script, and with one marked test record through the sink
  nomad-firehose check --resources jobs --output json --send-test

Give it exactly the flags, variables and file of the run. It ends within 5 s: what
hangs is reported as such.
Exit codes: 0 a run would work (warnings do not count), 1 something failed,
2 wrong command line or configuration.";

const ABOUT: &str = "Checks whether a run with this configuration would work, and says what to fix";
const LONG: &str = "\
Checks whether a run with this configuration would work, and says what to fix:
the configuration, Nomad (addresses, token, lists, event stream, event buffer),
the coordinator (rights, leaders, checkpoints), the sink, the dead-letter file and
the listen address.

Rights are tried, not guessed. It sends no record without --send-test, takes no
lock of a run, and leaves nothing behind.";

/// What is asked for.
#[derive(Debug)]
pub struct Checking {
    check: Check,
    is_json: bool,
}

pub(super) fn command() -> Command {
    let kinds = Kind::ALL.iter().map(|kind| kind.name()).chain([RUN]);
    let kind = Arg::new(KIND)
        .value_name("SUBCOMMAND")
        .default_value(RUN)
        .value_parser(PossibleValuesParser::new(kinds))
        .help("Subcommand of the run to check");
    let output = Arg::new(OUTPUT)
        .long(OUTPUT)
        .value_name("FORM")
        .default_value(TEXT)
        .value_parser(PossibleValuesParser::new([TEXT, JSON]))
        .help("Form of the output: text for people, or one JSON object");
    let send_test = Arg::new(SEND_TEST)
        .long(SEND_TEST)
        .action(ArgAction::SetTrue)
        .help("Also send one record through each sink, clearly marked as a test");
    let pipeline = pipeline_flag()
        .global(false)
        .help("Pipeline to check: the NAME of a [pipeline.NAME] table. Without it, all pipelines");
    Command::new(NAME)
        .about(ABOUT)
        .long_about(LONG)
        .after_help(EXAMPLES)
        .args([kind, pipeline, output, send_test])
        .args(arguments(Scope::Run))
        .args(arguments(Scope::Topics))
}

pub(super) fn read(matches: &ArgMatches, environment: &Environment<'_>) -> Result<(Task, Vec<Warning>), Exit> {
    let kind = matches.get_one::<String>(KIND).and_then(|name| name.parse::<Kind>().ok());
    let wanted = kind.map_or(Wanted::Listed, Wanted::One);
    let loaded = config::load_check(wanted, pipeline_of(matches).as_deref(), &flags(matches), environment);
    let (settings, warnings) = loaded.map_err(Exit::Configuration)?;
    let check = Check { settings, warnings, send_test: matches.get_flag(SEND_TEST) };
    let is_json = matches.get_one::<String>(OUTPUT).is_some_and(|form| form == JSON);
    Ok((Task::Check(Box::new(Checking { check, is_json })), Vec::new()))
}

impl Checking {
    /// What is logged, and how.
    pub fn log(&self) -> crate::telemetry::Log {
        self.check.settings.shared.log
    }

    /// Runs the checks, prints the report, and gives the exit code.
    pub fn run(self) -> ExitCode {
        let report = self.check.run_in_time();
        let look = if self.is_json { Look::Json } else { table() };
        if let Err(error) = write(&report.show(look)) {
            tell(&format!("cannot write to standard output: {error}"));
            return ExitCode::FAILURE;
        }
        match (report.is_misconfigured(), report.is_well()) {
            (true, _) => ExitCode::from(USAGE),
            (false, true) => ExitCode::SUCCESS,
            (false, false) => ExitCode::FAILURE,
        }
    }
}

/// Writes the report. A reader that stops before the end has seen what it wanted.
fn write(report: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    match stdout.write_all(report.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// On a terminal, its colours and its width. Elsewhere, a line stays whole, for `grep`.
fn table() -> Look {
    let width = io::stdout().is_terminal().then(super::trial::width);
    Look::Table { colors: super::trial::has_colors(), width }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::load_from;

    fn asked(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Checking, Exit> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let arguments = ["nomad-firehose", NAME].iter().chain(arguments).map(OsString::from);
        match load_from(arguments, &Environment { variables, exists: &|_| false })?.0 {
            Task::Check(it) => Ok(*it),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_reads_what_the_run_reads() {
        let resources = [("NOMAD_FIREHOSE_RESOURCES", "jobs,nodes")];
        let it = asked(&[], &resources).expect("as run");
        assert_eq!(it.check.settings.pipelines[0].kinds, [Kind::Nodes, Kind::Jobs]);
        assert!(!it.is_json && !it.check.send_test);
        let it = asked(&["allocations", "--output=json", "--send-test"], &resources).expect("as allocations");
        assert_eq!(it.check.settings.pipelines[0].kinds, [Kind::Allocations]);
        assert!(it.is_json && it.check.send_test);
        let it = asked(&["events", "--topic=Job:web"], &[]).expect("as events");
        assert_eq!(it.check.settings.pipelines[0].topics.len(), 1);
        assert_eq!(it.log().level, tracing::Level::ERROR, "what is wrong is in the report");
        assert_eq!(asked(&["jobs"], &[("LOG_LEVEL", "info")]).expect("valid").log().level, tracing::Level::INFO);
        for wrong in [&[][..], &["jobs", "--sink-type=pigeon"], &["jobs", "--pipeline=x"]] {
            assert!(matches!(asked(wrong, &[]), Err(Exit::Configuration(_))), "{wrong:?}");
        }
    }

    #[test]
    fn the_examples_hold() {
        let examples = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("nomad-firehose check"));
        let examples: Vec<_> = examples.filter(|example| !example.contains("--config")).collect();
        assert_eq!(examples.len(), 3);
        for example in examples {
            let arguments: Vec<_> = example.split_whitespace().collect();
            asked(&arguments, &[("NOMAD_FIREHOSE_RESOURCES", "jobs")]).expect("it works");
        }
    }
}
