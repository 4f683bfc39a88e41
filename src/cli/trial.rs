//! `try`: runs a pipeline's programs on some records, and shows what comes out.

use std::{
    io::{self, BufWriter, ErrorKind, IsTerminal as _},
    process::ExitCode,
    sync::Arc,
};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser, value_parser};
use tokio::io::BufReader;

use super::{Exit, Task, USAGE, arguments, flags, pipeline_flag, pipeline_of, tell};
use crate::{
    config::{self, Environment, Warning},
    meta::Origin,
    nomad::Client,
    settings::Scope,
    sys,
    trial::{self, Form, Look, Sums, Trial},
};

pub(super) const NAME: &str = "try";
const LAST: &str = "last";
const OUTPUT: &str = "output";
const FULL: &str = "full";
const TEXT: &str = "text";
const JSON: &str = "json";

/// The most records that are read from a cluster.
const MOST: i64 = 10_000;

/// The flags that it reads, besides those of Nomad. It accepts and ignores all others, so that the environment and the file of a run can
/// be used unchanged.
const OURS: [&str; 10] =
    ["jq", "redact", "by", "jq-memory", "resources", "topic", "cluster", "log-level", "log-format", "config"];
/// Flags of Nomad that only a run needs.
const OF_RUNS: [&str; 2] = ["source", "poll-interval"];
/// Flags that the short help shows here.
const COMMON: [&str; 4] = ["jq", "redact", "resources", "config"];

/// The columns of a line where there is no terminal.
const WIDTH: usize = 120;

const EXAMPLES: &str = "\
Examples:
  # What the program makes of the newest records of the cluster
  nomad-firehose try --last 20 --resources allocations \\
      --jq 'select(.TaskEvent.Type == \"Terminated\") | {text: .Name}'

  # A pipeline of the configuration file, on records that were kept
  nomad-firehose try --config firehose.toml --pipeline slack < records.ndjson

  # The same for a script: one JSON object for each record
  nomad-firehose try --config firehose.toml --pipeline slack --output json < records.ndjson

Standard input can have, one a line: records as the firehose prints them, with or
without the envelope `firehose`; lines of a dead-letter file; lines of Nomad's
event stream. Rules, envelope and summaries are not applied.
Exit codes: 0 done, 1 a program failed on a record, a line is no record, or Nomad
cannot be read, 2 wrong command line or configuration.";

const ABOUT: &str = "Shows what a pipeline's programs make of some records";
const LONG: &str = "\
Shows what a pipeline's programs (jq, redact, by) make of some records: what goes
in, and what comes out. Without --last, the records come from standard input.

Nothing is sent, stored or locked. Nomad is read with --last, and for the
variables $diff, $node and $job. If such a lookup fails, the variable is null; a
run would wait. Without a log level, only errors are logged.";

/// What is asked for.
#[derive(Debug)]
pub struct Try {
    settings: config::Trial,
    /// How many records to read from Nomad; `None` reads standard input.
    last: Option<usize>,
    form: Form,
    full: bool,
}

pub(super) fn command() -> Command {
    let settings = arguments(Scope::All).chain(arguments(Scope::Run)).chain(arguments(Scope::Topics));
    // Flags that only a run reads are accepted and hidden.
    let settings = settings.map(|argument| {
        let name = argument.get_id().as_str();
        let (ours, common) = (is_ours(name), COMMON.contains(&name));
        argument.hide(!ours).hide_short_help(!common)
    });
    let last = Arg::new(LAST)
        .long(LAST)
        .value_name("N")
        .value_parser(value_parser!(i64).range(1..=MOST))
        .help(format!("Read the N newest records of the pipeline's kinds from Nomad (1–{MOST}): from its event buffer, and from its lists where that has too few"));
    let output = Arg::new(OUTPUT)
        .long(OUTPUT)
        .value_name("FORM")
        .default_value(TEXT)
        .value_parser(PossibleValuesParser::new([TEXT, JSON]))
        .help("Form of the output: text for people, or one JSON object for each record");
    let full = Arg::new(FULL)
        .long(FULL)
        .action(ArgAction::SetTrue)
        .help("Show records whole, and those that are filtered too");
    let pipeline = pipeline_flag()
        .global(false)
        .help("Pipeline to try: the NAME of a [pipeline.NAME] table. It can be left out if the file has one only");
    Command::new(NAME)
        .about(ABOUT)
        .long_about(LONG)
        .after_help(EXAMPLES)
        .args([pipeline, last, output, full])
        .args(settings)
}

fn is_ours(flag: &str) -> bool {
    flag.starts_with("nomad-") && !OF_RUNS.contains(&flag) || OURS.contains(&flag)
}

pub(super) fn read(matches: &ArgMatches, environment: &Environment<'_>) -> Result<(Task, Vec<Warning>), Exit> {
    let last = matches.get_one::<i64>(LAST).and_then(|last| usize::try_from(*last).ok());
    let form = if matches.get_one::<String>(OUTPUT).is_some_and(|form| form == JSON) { Form::Json } else { Form::Text };
    let pipeline = pipeline_of(matches);
    let loaded = config::load_trial(pipeline.as_deref(), last.is_some(), &flags(matches), environment);
    let (settings, warnings) = loaded.map_err(Exit::Configuration)?;
    Ok((Task::Try(Box::new(Try { settings, last, form, full: matches.get_flag(FULL) })), warnings))
}

impl Try {
    /// What is logged, and how.
    pub fn log(&self) -> crate::telemetry::Log {
        self.settings.log
    }

    /// Shows what comes out, and gives the exit code.
    ///
    /// # Errors
    /// A certificate or another setting of Nomad cannot be used.
    pub async fn run(self) -> Result<ExitCode, crate::nomad::Error> {
        let Try { settings, last, form, full } = self;
        // Nobody types records.
        if last.is_none() && io::stdin().is_terminal() {
            tell(&"no records; read the newest ones from Nomad with --last 20, or those of a file with < FILE");
            return Ok(ExitCode::from(USAGE));
        }
        let origin = Origin {
            cluster: settings.cluster.as_deref().map(Arc::from),
            region: settings.nomad.region.as_deref().map(Arc::from),
        };
        let client = Client::new(settings.nomad)?;
        let look = Look { form, colors: form == Form::Text && has_colors(), width: width(), full };
        let config::Trial { kinds, topics, namespaces, program, messenger, .. } = settings;
        let trial = Trial { kinds, topics, namespaces, program, origin, messenger, look };
        let mut out = BufWriter::new(io::stdout());
        let done = match last {
            Some(last) => trial.of_newest(client, last, &mut out).await,
            None => trial.of_lines(client, BufReader::new(tokio::io::stdin()), &mut out).await,
        };
        Ok(match done {
            Ok(Sums { errors: 0, unreadable: 0, .. }) => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            // A reader that stops before the end has seen what it wanted.
            Err(trial::Error::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => {
                tell(&error);
                ExitCode::FAILURE
            }
        })
    }
}

/// See <https://no-color.org>.
pub(super) fn has_colors() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

pub(super) fn width() -> usize {
    sys::machine::columns().unwrap_or(WIDTH)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::{cli::load_from, kind::Kind};

    fn asked(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Try, Exit> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let arguments = ["nomad-firehose", NAME].iter().chain(arguments).map(OsString::from);
        match load_from(arguments, &Environment { variables, exists: &|_| false })?.0 {
            Task::Try(it) => Ok(*it),
            other => panic!("{other:?}"),
        }
    }

    fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
        match asked(arguments, variables) {
            Err(Exit::Configuration(problems)) => problems.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_program_is_all_that_it_needs() {
        let wrong = [("CONSUL_HTTP_ADDR", "ftp://consul"), ("SINK_TYPE", "slack"), ("NOMAD_FIREHOSE_START", "x")];
        let it = asked(&["--jq", ".Name", "--output=json"], &wrong).expect("valid");
        assert_eq!((it.last, it.form, it.settings.kinds.len()), (None, Form::Json, 0));
        assert_eq!(it.settings.messenger, Some("slack"), "its address is not needed");
        assert!(it.settings.program.is_some());
        assert!(refused(&["--jq", "selekt(.)"], &[]).contains("selekt"));
    }

    #[test]
    fn what_is_read_from_nomad_has_to_be_named() {
        let it = asked(&["--last=3", "--resources=jobs,nodes"], &[]).expect("valid");
        assert_eq!((it.last, it.settings.kinds), (Some(3), vec![Kind::Nodes, Kind::Jobs]));
        assert!(refused(&["--last=3"], &[]).contains("NOMAD_FIREHOSE_RESOURCES"));
        assert!(matches!(asked(&["--last=0"], &[]), Err(Exit::CommandLine(_))));
    }

    #[test]
    fn a_pipeline_of_the_file_is_chosen() {
        let file = |text: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(&file, text).expect("writable");
            file
        };
        let one = file("[pipeline.a]\nresources = [\"jobs\"]\njq = \".ID\"\nsink-type = \"http\"\n");
        let path = one.path().to_str().expect("text");
        let it = asked(&["--config", path], &[]).expect("the only one");
        assert_eq!((it.settings.kinds, it.settings.messenger), (vec![Kind::Jobs], None));
        assert!(refused(&["--config", path, "--pipeline=b"], &[]).contains("choose one of a"));
        let two = file("[pipeline.a]\nresources = [\"jobs\"]\n[pipeline.b]\nresources = [\"nodes\"]\n");
        let path = two.path().to_str().expect("text");
        assert!(refused(&["--config", path], &[]).contains("choose one of a, b"));
        let it = asked(&["--config", path, "--pipeline=b"], &[]).expect("valid");
        assert_eq!(it.settings.kinds, [Kind::Nodes]);
    }

    #[test]
    fn the_help_shows_what_matters_and_only_that() {
        let mut command = crate::cli::command();
        command.build();
        let help = command.find_subcommand_mut(NAME).expect("it exists").render_long_help().to_string();
        for flag in ["--jq", "--redact", "--by", "--resources", "--nomad-addr", "--last", "--output", "--full"] {
            assert!(help.contains(flag), "{flag}");
        }
        for flag in ["--consul-prefix", "--sink-type", "--start", "--dead-letter", "--poll-interval"] {
            assert!(!help.contains(flag), "{flag}");
        }
    }

    #[test]
    fn the_examples_hold() {
        let text = EXAMPLES.replace("\\\n", " ");
        let first = text.lines().find(|line| line.contains("--last 20")).expect("an example");
        assert!(first.contains("--jq '"), "{first}");
        let program = first.split('\'').nth(1).expect("a program");
        asked(&["--last", "20", "--resources", "allocations", "--jq", program], &[]).expect("it works");
    }
}
