//! `tail`: shows what happens in a cluster, one line an event.

use std::{io, io::IsTerminal as _, process::ExitCode};

use clap::{
    Arg, ArgAction, ArgMatches, Command,
    builder::{NonEmptyStringValueParser, PossibleValuesParser},
};
use tracing::{Level, level_filters::LevelFilter};

use super::{Exit, Task, arguments, flags, tell};
use crate::{
    config::{self, Environment, Warning},
    pipeline::Failure,
    position::RaftIndex,
    settings::Scope,
    supervisor::Shutdown,
    sys,
    watch::{self, Filter, Look, Watch},
};

pub(super) const NAME: &str = "tail";
const JOB: &str = "job";
const NODE: &str = "node";
const SINCE: &str = "since";
const JSON: &str = "json";
const COLOR: &str = "color";
const NOW: &str = "now";
const AUTO: &str = "auto";
const ALWAYS: &str = "always";
const NEVER: &str = "never";

/// The flags that it reads, besides those of Nomad. It accepts and ignores all others, so that the environment and the file of a run can
/// be used unchanged.
const OURS: [&str; 8] = ["topic", "resources", "source", "poll-interval", "stale", "log-level", "log-format", "config"];
/// Flags that the short help shows here.
const COMMON: [&str; 3] = ["nomad-addr", "nomad-namespace", "resources"];

const EXAMPLES: &str = "\
Examples:
  # Everything that happens from now on
  nomad-firehose tail

  # One job, or one node
  nomad-firehose tail --job web
  nomad-firehose tail --node node-7 --resources allocations,nodes

  # From a raft index on, for a script: one JSON object a line
  nomad-firehose tail --since 48211 --json

It reads Nomad with the settings of a run (addresses, token, certificates,
namespaces, --config). Ctrl-C ends it.
Exit codes: 0 ended by Ctrl-C or by its reader, 1 failed at run time, 2 wrong command
line or configuration.";

const ABOUT: &str = "Shows what happens in a cluster while it happens, one line an event";
const LONG: &str = "\
Shows what happens in a cluster while it happens, one line an event: task events,
nodes, jobs and what changed in them, evaluations and why they are blocked,
deployments.

It only reads: no lease, no checkpoint, no sink. After a lost connection it resumes
where it was, and says so on stderr. Without a log level, only errors are logged.";

/// What is asked for.
#[derive(Debug)]
pub struct Tail(Watch);

pub(super) fn command() -> Command {
    let settings = arguments(Scope::All).chain(arguments(Scope::Run)).chain(arguments(Scope::Topics));
    // Flags that only a run reads are accepted and hidden.
    let settings = settings.map(|argument| {
        let name = argument.get_id().as_str().to_owned();
        let argument = match name.as_str() {
            "nomad-namespace" => argument.visible_alias("namespace"),
            "resources" => argument.help(
                "Kinds to watch, separated by commas; `events` shows every raw event\n[default: allocations,nodes,evaluations,jobs,deployments] [env: NOMAD_FIREHOSE_RESOURCES]",
            ),
            _ => argument,
        };
        argument.hide(!is_ours(&name)).hide_short_help(!COMMON.contains(&name.as_str()))
    });
    let job = Arg::new(JOB)
        .long(JOB)
        .value_name("ID")
        .action(ArgAction::Append)
        .value_parser(NonEmptyStringValueParser::new())
        .help("Show only this job, and its dispatched and periodic children. Repeat it for several");
    let node = Arg::new(NODE)
        .long(NODE)
        .value_name("NODE")
        .action(ArgAction::Append)
        .value_parser(node)
        .help("Show only this node and its allocations: its name, or the beginning of its ID (4 characters or more). Repeat it for several");
    let since = Arg::new(SINCE)
        .long(SINCE)
        .value_name("INDEX|now")
        .default_value(NOW)
        .value_parser(since)
        .help("Begin with events of this raft index, as far as Nomad still has them");
    let json = Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("Print one JSON object a line");
    let color = Arg::new(COLOR)
        .long(COLOR)
        .value_name("WHEN")
        .default_value(AUTO)
        .value_parser(PossibleValuesParser::new([AUTO, ALWAYS, NEVER]))
        .help("Colours: auto is on a terminal, unless NO_COLOR is set");
    Command::new(NAME)
        .about(ABOUT)
        .long_about(LONG)
        .after_help(EXAMPLES)
        .args([job, node, since, json, color])
        .args(settings)
}

fn is_ours(flag: &str) -> bool {
    flag.starts_with("nomad-") || OURS.contains(&flag)
}

fn since(text: &str) -> Result<Option<u64>, String> {
    match text {
        NOW => Ok(None),
        index => match index.parse() {
            Ok(index) if index > 0 => Ok(Some(index)),
            _ => Err("write a raft index from 1 on, or now".to_owned()),
        },
    }
}

fn node(text: &str) -> Result<String, String> {
    // Any other text that is as short can be a whole name.
    let is_of_id = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_of_id && text.len() < watch::SHORTEST {
        return Err(format!("write {} characters or more of its ID", watch::SHORTEST));
    }
    Ok(text.to_owned())
}

pub(super) fn read(matches: &ArgMatches, environment: &Environment<'_>) -> Result<(Task, Vec<Warning>), Exit> {
    let (settings, warnings) = config::load_tail(&flags(matches), environment).map_err(Exit::Configuration)?;
    let texts = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
    let json = matches.get_flag(JSON);
    let colors = match matches.get_one::<String>(COLOR).map(String::as_str) {
        Some(ALWAYS) => true,
        Some(NEVER) => false,
        _ => super::trial::has_colors(),
    };
    let watch = Watch {
        settings,
        since: matches.get_one::<Option<u64>>(SINCE).copied().flatten().map(RaftIndex),
        filter: Filter { jobs: texts(JOB), nodes: texts(NODE) },
        look: Look { json, colors: colors && !json, width },
    };
    Ok((Task::Tail(Box::new(Tail(watch))), warnings))
}

/// The columns of the terminal, which can change at any time; `None` where there is none.
fn width() -> Option<usize> {
    sys::machine::columns().filter(|_| io::stdout().is_terminal())
}

impl Tail {
    /// What is logged, and how.
    pub fn log(&self) -> crate::telemetry::Log {
        self.0.settings.log
    }

    /// What is not logged unless a level asks for more than errors.
    pub fn log_limits(&self) -> &'static [(&'static str, LevelFilter)] {
        if self.0.settings.log.level == Level::ERROR { &watch::SAID_IN_NOTES } else { &[] }
    }

    /// Shows what happens until `shutdown`, and gives the exit code.
    ///
    /// # Errors
    /// Nomad's settings cannot be used, or nothing can be written.
    pub async fn run(self, shutdown: Shutdown) -> Result<ExitCode, Failure> {
        match self.0.run(shutdown).await {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error @ watch::Error::Nomad(_)) => Err(Failure::setting(error)),
            Err(error @ watch::Error::Write(_)) => {
                tell(&error);
                Ok(ExitCode::FAILURE)
            }
            Err(error) => Err(Failure::Run(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::{cli::load_from, kind::Kind};

    fn asked(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Watch, Exit> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let arguments = ["nomad-firehose", NAME].iter().chain(arguments).map(OsString::from);
        match load_from(arguments, &Environment { variables, exists: &|_| false })?.0 {
            Task::Tail(it) => Ok(it.0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_needs_nothing_and_ignores_what_only_a_run_needs() {
        let wrong = [("CONSUL_HTTP_ADDR", "ftp://consul"), ("SINK_TYPE", "slack"), ("NOMAD_FIREHOSE_START", "x")];
        let it = asked(&[], &wrong).expect("valid");
        assert_eq!(it.settings.kinds.len(), 5);
        assert_eq!((it.since, it.settings.namespaces), (None, vec!["*".to_owned()]));
        let it = asked(&["--since=17", "--job=web", "--job", "db", "--namespace=a,b", "--resources=all"], &[])
            .expect("valid");
        assert_eq!(
            (it.since, it.filter.jobs, it.settings.namespaces),
            (Some(RaftIndex(17)), vec!["web".to_owned(), "db".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        assert!(!it.settings.kinds.contains(&Kind::JobListStubs) && it.settings.kinds.contains(&Kind::Events));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for wrong in
            [&["--since=yesterday"][..], &["--since=0"], &["--color=maybe"], &["--job="], &["--node="], &["--node=b63"]]
        {
            assert!(matches!(asked(wrong, &[]), Err(Exit::CommandLine(error)) if error.exit_code() == 2), "{wrong:?}");
        }
        assert!(asked(&["--node=n-7"], &[]).is_ok(), "a name");
        assert!(matches!(asked(&["--resources=job"], &[]), Err(Exit::Configuration(_))));
        assert!(matches!(asked(&[], &[("NOMAD_ADDR", "ftp://x")]), Err(Exit::Configuration(_))));
    }

    #[test]
    fn the_help_shows_what_matters_and_only_that() {
        let mut command = crate::cli::command();
        command.build();
        let help = command.find_subcommand_mut(NAME).expect("it exists").render_long_help().to_string();
        for flag in ["--job", "--namespace", "--node", "--resources", "--since", "--json", "--color", "--nomad-addr"] {
            assert!(help.contains(flag), "{flag}");
        }
        for flag in ["--consul-prefix", "--sink-type", "--start ", "--dead-letter", "--jq"] {
            assert!(!help.contains(flag), "{flag}");
        }
    }

    #[test]
    fn the_examples_hold() {
        let lines = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("nomad-firehose tail"));
        let examples: Vec<_> =
            lines.map(|line| asked(&line.split_whitespace().collect::<Vec<_>>(), &[]).expect("works")).collect();
        assert_eq!(examples.len(), 4);
        assert_eq!(examples[3].since, Some(RaftIndex(48211)));
    }
}
