//! `dead-letters`: lists the records of a dead-letter file, and sends them again.

use std::{
    io::{self, BufWriter},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PathBufValueParser};

use super::{Task, arguments, flags, pipeline_flag, pipeline_of, tell};
use crate::{
    config::{self, Environment, Outlet, Problems, Warning},
    dead_letter::{list, read::kinds},
    replay::{self, Replayed},
    settings::Scope,
    sink::{Policy, Sink},
    supervisor::Shutdown,
};

pub(super) const NAME: &str = "dead-letters";
const LIST: &str = "list";
const REPLAY: &str = "replay";
const PATH: &str = "path";
const JSON: &str = "json";
const ANY_SINK: &str = "any-sink";

/// The flags that a replay reads, besides those of the sinks. It accepts and ignores all others, so that the environment and the file
/// of a run can be used unchanged.
const OURS: [&str; 7] =
    ["cluster", "max-in-flight", "shutdown-grace", "retry-max", "log-level", "log-format", "config"];

const LIST_EXAMPLES: &str = "\
Examples:
  # What the sink rejected, and why
  nomad-firehose dead-letters list /var/lib/nomad-firehose/dead-letters

  # How often each reason occurs
  nomad-firehose dead-letters list --json dead-letters | jq -r .reason | sort | uniq -c

The list shows no messages, which can carry secrets. The file has them, as body.
Exit codes: 0 done, 1 the file or a line of it cannot be read, 2 wrong command line.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  # With the environment of the run, after you have fixed the cause
  nomad-firehose dead-letters replay /var/lib/nomad-firehose/dead-letters

  # To the collector, whichever sink rejected the records
  nomad-firehose dead-letters replay dead-letters --any-sink --sink-type http \\
      --sink-http-address http://vector:8080/nomad --sink-http-format ndjson

Set the sink by flag, variable or file as for a run. You must name it: there is
no default, which would print the records and count them as delivered.
You need no setting of Nomad or Consul; neither is asked.
Exit codes: 0 all records are delivered, 1 some are not, or the file cannot be
read or replaced, 2 wrong command line or configuration.";

const REPLAY_ABOUT: &str = "Sends the records of a file to the sink again";
const REPLAY_LONG: &str = "\
Sends the records of a file to the sink again, in order and with the same ids, and
removes the delivered ones from the file. A record that is rejected again stays in
it with the new reason. So does an input that could not become a record.

The program that writes to the file can keep running: what it appends stays for
the next replay. The replay waits while the sink is unavailable. The first SIGINT
or SIGTERM stops it; SIGHUP does not. What is not delivered by then stays in the
file. If the replay is killed, the file stays as it was, and the next replay sends
all of it.

Replayed records arrive after newer records of the same object that were accepted.";

/// What `list` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The dead-letter file.
    pub path: PathBuf,
    /// Whether to write JSON, for programs.
    pub json: bool,
}

impl List {
    /// Prints the list, and gives the exit code.
    pub fn run(&self) -> ExitCode {
        let mut out = BufWriter::new(io::stdout().lock());
        match list::list(&self.path, self.json, &mut out) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            // A reader that stops before the end has seen what it wanted.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(error) => {
                tell(&format!("cannot read {}: {error}; name a dead-letter file", self.path.display()));
                ExitCode::FAILURE
            }
        }
    }
}

/// What `replay` asks for.
#[derive(Debug)]
pub struct Replay {
    /// The dead-letter file.
    pub path: PathBuf,
    /// Whether to send what another sink rejected, too.
    pub any_sink: bool,
    /// Where the records go.
    pub outlet: Outlet,
}

impl Replay {
    /// Sends the records to `sink`, prints the sums, and gives the exit code.
    pub async fn run(&self, sink: Box<dyn Sink>, policy: Policy, shutdown: Shutdown) -> ExitCode {
        let Replay { path, any_sink, outlet } = self;
        let policy = Policy { retry_max: outlet.retry_max, ..policy };
        let options = replay::Options {
            max_in_flight: outlet.max_in_flight,
            grace: outlet.shutdown_grace,
            any_sink: *any_sink,
            stop: shutdown.stop,
            abort: shutdown.abort,
        };
        let replayed = match replay::Replay::open(path) {
            Ok(replay) => replay.run(sink, policy, &options).await,
            Err(error) => Err(error),
        };
        match replayed {
            Ok(replayed) => {
                tell(&sums(&replayed, path));
                if replayed.is_done() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => {
                tell(&error);
                ExitCode::FAILURE
            }
        }
    }
}

fn sums(replayed: &Replayed, path: &Path) -> String {
    let path = path.display();
    if *replayed == Replayed::default() {
        return format!("no dead letters in {path}");
    }
    let Replayed { delivered, refused, left, interrupted, .. } = replayed;
    let ended = if *interrupted { "stopped: " } else { "" };
    format!("{ended}{delivered} delivered, {refused} refused again, {left} left in {path}")
}

pub(super) fn command() -> Command {
    let path = Arg::new(PATH).value_name("PATH").required(true).value_parser(PathBufValueParser::new());
    let path = path.help("Dead-letter file, as in NOMAD_FIREHOSE_DEAD_LETTER=file:PATH");
    let list = Command::new(LIST)
        .about("Lists the dead letters of a file: what, when, why, how often sent")
        .after_help(LIST_EXAMPLES)
        .arg(path.clone())
        .arg(
            Arg::new(JSON)
                .long(JSON)
                .action(ArgAction::SetTrue)
                .help("Write one JSON object for each dead letter, for programs"),
        );
    // Flags that only a run reads are accepted and hidden.
    let shown = arguments(Scope::All).map(|argument| {
        let ours = is_ours(argument.get_id().as_str());
        argument.global(true).hide(!ours)
    });
    let any_sink = "Also send records that another sink rejected. Without it, they stay in the file";
    let replay = Command::new(REPLAY)
        .about(REPLAY_ABOUT)
        .long_about(REPLAY_LONG)
        .after_help(REPLAY_EXAMPLES)
        .arg(path)
        .arg(pipeline_flag().global(false))
        .arg(Arg::new(ANY_SINK).long(ANY_SINK).action(ArgAction::SetTrue).help(any_sink))
        .args(shown);
    let hidden = arguments(Scope::All).map(|argument| argument.global(true).hide(true));
    Command::new(NAME)
        .args(hidden)
        .about("Lists the records that the sink rejected, and sends them again")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(list)
        .subcommand(replay)
}

fn is_ours(flag: &str) -> bool {
    flag.starts_with("sink-") || OURS.contains(&flag)
}

/// What is asked for, with the settings that it needs.
pub(super) fn read(matches: &ArgMatches, environment: &Environment<'_>) -> Result<(Task, Vec<Warning>), Problems> {
    // clap has refused a missing or unknown subcommand, and a missing path.
    let (name, matches) = matches.subcommand().unwrap_or((LIST, matches));
    let path = matches.get_one::<PathBuf>(PATH).cloned().unwrap_or_default();
    if name != REPLAY {
        return Ok((Task::DeadLetters(List { path, json: matches.get_flag(JSON) }), Vec::new()));
    }
    let pipeline = pipeline_of(matches);
    let (outlet, warnings) = config::load_outlet(pipeline.as_deref(), || kinds(&path), &flags(matches), environment)?;
    let replay = Replay { path, any_sink: matches.get_flag(ANY_SINK), outlet };
    Ok((Task::Replay(Box::new(replay)), warnings))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::{Exit, load_from};

    fn asked(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Task, Exit> {
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let arguments = ["nomad-firehose", NAME].iter().chain(arguments).map(OsString::from);
        load_from(arguments, &Environment { variables, exists: &|_| false }).map(|(task, _)| task)
    }

    fn replay(arguments: &[&str], variables: &[(&str, &str)]) -> Replay {
        match asked(arguments, variables).expect("it is valid") {
            Task::Replay(replay) => *replay,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_path_is_all_that_a_list_needs() {
        match asked(&[LIST, "letters", "--json"], &[("SINK_TYPE", "pigeon")]).expect("it is valid") {
            Task::DeadLetters(list) => assert_eq!(list, List { path: "letters".into(), json: true }),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_replay_needs_a_sink_and_looks_at_nothing_of_nomad_or_consul() {
        let wrong = [("NOMAD_ADDR", "ftp://nomad"), ("CONSUL_HTTP_ADDR", "ftp://consul"), ("SINK_TYPE", "stdout")];
        let it = replay(&["--sink-type=stdout", REPLAY, "letters", "--cluster", "prod"], &wrong);
        assert_eq!((it.outlet.sink.name(), it.outlet.cluster.as_deref(), it.any_sink), ("stdout", Some("prod"), false));
        match asked(&[REPLAY, "letters"], &[]) {
            Err(Exit::Configuration(problems)) => assert!(problems.to_string().contains("SINK_TYPE"), "{problems}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_format_is_that_of_the_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("letters");
        let path = file.to_str().expect("text");
        let http = [("SINK_TYPE", "http"), ("SINK_HTTP_ADDRESS", "http://collector")];
        let format = |more: &[(&str, &str)]| {
            let shown = format!("{:?}", replay(&[REPLAY, path], &[&http, more].concat()).outlet.sink);
            let (_, format) = shown.split_once("format: ").expect("it is in the settings");
            format.split(',').next().unwrap_or_default().to_owned()
        };
        assert_eq!(format(&[]), "Single", "no file is no events");
        std::fs::write(&file, "{\"kind\":\"events\"}\n{\"kind\":\"input\"}\nno letter\n").expect("writable");
        assert_eq!(format(&[]), "Array");
        assert_eq!(format(&[("NOMAD_FIREHOSE_RESOURCES", "jobs,events")]), "Single");
        assert_eq!(format(&[("SINK_HTTP_FORMAT", "ndjson")]), "Ndjson");
        std::fs::write(&file, "{\"kind\":\"events\"}\n{\"kind\":\"jobs\"}\n").expect("writable");
        assert_eq!(format(&[]), "Single");
    }

    #[test]
    fn the_examples_hold() {
        let text = [LIST_EXAMPLES, REPLAY_EXAMPLES].join("\n").replace("\\\n", " ");
        let examples = text.lines().filter_map(|line| line.trim().strip_prefix("nomad-firehose dead-letters "));
        let examples: Vec<_> = examples.map(|line| line.split(" | ").next().unwrap_or_default()).collect();
        assert_eq!(examples.len(), 4);
        for example in examples {
            let words: Vec<_> = example.split_whitespace().collect();
            asked(&words, &[("SINK_TYPE", "stdout")]).expect("an example that works");
        }
    }

    #[test]
    fn the_help_shows_what_matters_and_only_that() {
        let mut command = crate::cli::command();
        command.build();
        let letters = command.find_subcommand_mut(NAME).expect("it exists");
        let mut help = |name| letters.find_subcommand_mut(name).expect("it exists").render_long_help().to_string();
        let (list, replay) = (help(LIST), help(REPLAY));
        assert!(!list.contains("--sink-type") && !list.contains("--nomad-addr"), "{list}");
        for flag in
            ["--sink-type", "--sink-amqp-exchange", "--sink-http-address", "--cluster", "--any-sink", "--log-level"]
        {
            assert!(replay.contains(flag), "{flag}");
        }
        for flag in ["--nomad-addr", "--consul-prefix", "--start", "--dead-letter", "--listen"] {
            assert!(!replay.contains(flag), "{flag}");
        }
    }
}
