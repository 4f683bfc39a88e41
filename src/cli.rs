//! The command line: [`load`] turns it, the environment and the configuration file into a [`Task`].

mod check;
mod completions;
mod configuration;
mod dead_letters;
mod health;
mod man;
mod state;
mod tail;
mod trial;

use std::{ffi::OsString, fmt::Display, io::Write as _, process::ExitCode, sync::LazyLock};

use clap::{Arg, ArgAction, ArgMatches, Command};

pub use self::{
    check::Checking,
    completions::Completions,
    configuration::Show,
    dead_letters::{List, Replay},
    health::Health,
    man::ManPages,
    state::print,
    tail::Tail,
    trial::Try,
};
use crate::{
    config::{self, Environment, Flags, Problems, Reloaded, Settings, Shared, Wanted, Warning, catalogue},
    kind::Kind,
    redact,
    settings::{Form, Scope, Setting},
    state::Command as StateCommand,
    telemetry::Log,
};

/// The exit code of a wrong command line or configuration.
pub const USAGE: u8 = 2;

const RUN: &str = "run";

/// The flags that the short help shows: what most people need, and little enough for one screen.
const COMMON: [&str; 16] = [
    "topic",
    "resources",
    "nomad-addr",
    "nomad-namespace",
    "nomad-token",
    "coordinator",
    "data-dir",
    "start",
    "jq",
    "sink-type",
    "cluster",
    "dead-letter",
    "listen",
    "log-level",
    "config",
    "pipeline",
];

/// The short help of the whole command line: the subcommands.
const OVERVIEW: &str = "{about-with-newline}\n{usage-heading} {usage}\n\nCommands:\n{subcommands}{after-help}";
const MORE: &str = "\
`nomad-firehose SUBCOMMAND -h` shows the settings that most people need, and `--help`
shows all of them, with their units, bounds, defaults and variables.";

const EXAMPLES: &str = "\
Examples:
  # Task events of the local cluster to stdout; resumes where it stopped
  nomad-firehose allocations --coordinator file --data-dir /var/lib/nomad-firehose

  # Jobs and deployments of two namespaces in one process, from now on
  nomad-firehose run --resources jobs,deployments --nomad-namespace web,batch \\
      --start now --coordinator none

  # The raw events of one job, and those of every node
  nomad-firehose events --topic Job:web --topic Node --coordinator none

You can also set every option as an environment variable, or as a key of the TOML
file that --config names; the key is the name of the flag. Flags override
variables, and variables override the file.
A [pipeline.NAME] table of that file is a pipeline with a filter and a sink of its own:
docs/pipelines.md. `nomad-firehose try` shows what it does, and `run` runs all of them.
To see whether a run would work, and what to fix: nomad-firehose check --help
To see what is stored and who leads: nomad-firehose state --help
Exit codes: 0 done, 1 failed at run time, 2 wrong command line or configuration.";

/// What the command line asks for.
#[derive(Debug)]
pub enum Task {
    /// Carry records, and read the configuration again when asked to.
    Carry(Box<Settings>, Reload),
    /// Show what is stored, or remove it.
    State {
        /// What to do, and where.
        command: Box<StateCommand>,
        /// What is logged, and how.
        log: Log,
    },
    /// Print a script that completes the command line.
    Completions(Completions),
    /// Print manual pages.
    Man(ManPages),
    /// Show the configuration.
    Config(Show),
    /// List dead letters.
    DeadLetters(List),
    /// Send dead letters again.
    Replay(Box<Replay>),
    /// Show what a pipeline's programs make of some records.
    Try(Box<Try>),
    /// Ask the running program how it is.
    Health(Health),
    /// Check whether a run would work.
    Check(Box<Checking>),
    /// Show what happens in a cluster.
    Tail(Box<Tail>),
}

/// How to read the configuration of a run again: the same flags, and the file and the variables as they are then.
#[derive(Debug)]
pub struct Reload {
    wanted: Wanted,
    flags: Flags,
}

impl Reload {
    /// Reads it. `running` is what the run has.
    ///
    /// # Errors
    /// As [`config::reload`].
    pub fn load(&self, running: &Shared) -> Result<Reloaded, Problems> {
        config::reload(self.wanted, &self.flags, &Environment::of_process(), running)
    }
}

/// Reads this process's command line and environment.
///
/// # Errors
/// There is nothing to run: help was asked for, or something is wrong. See [`Exit::report`].
pub fn load() -> Result<(Task, Vec<Warning>), Exit> {
    load_from(std::env::args_os(), &Environment::of_process())
}

/// Reads the given command line (the program's name first) in the given environment.
///
/// # Errors
/// As [`load`].
pub fn load_from(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment<'_>,
) -> Result<(Task, Vec<Warning>), Exit> {
    let arguments: Vec<_> = arguments.into_iter().collect();
    let mut command = command();
    if arguments.len() == 2 && arguments[1] == "-h" {
        command = command.help_template(OVERVIEW);
    }
    let matches = command.try_get_matches_from(arguments).map_err(Exit::CommandLine)?;
    // clap has refused a missing or unknown subcommand already.
    let (name, matches) = matches.subcommand().unwrap_or((RUN, &matches));
    if name == state::NAME {
        return state::read(matches, environment);
    }
    if name == dead_letters::NAME {
        return dead_letters::read(matches, environment).map_err(Exit::Configuration);
    }
    if name == configuration::NAME {
        return Ok((Task::Config(configuration::read(matches, environment)), Vec::new()));
    }
    if name == completions::NAME {
        return Ok((Task::Completions(completions::read(matches)), Vec::new()));
    }
    if name == man::NAME {
        return Ok((Task::Man(man::read(matches)), Vec::new()));
    }
    if name == check::NAME {
        return check::read(matches, environment);
    }
    if name == trial::NAME {
        return trial::read(matches, environment);
    }
    if name == tail::NAME {
        return tail::read(matches, environment);
    }
    if name == health::NAME {
        return health::read(matches, environment);
    }
    let wanted = name.parse::<Kind>().map_or(Wanted::Listed, Wanted::One);
    let flags = flags(matches);
    let (settings, warnings) = config::load(wanted, &flags, environment).map_err(Exit::Configuration)?;
    Ok((Task::Carry(Box::new(settings), Reload { wanted, flags }), warnings))
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Exit {
    /// Help or the version was asked for, or the command line is wrong.
    CommandLine(clap::Error),
    /// The configuration is wrong.
    Configuration(Problems),
}

impl Exit {
    /// Prints it, and gives the exit code: 0 for help, else [`USAGE`].
    pub fn report(&self) -> ExitCode {
        // If stdout or stderr is closed, nothing can be said.
        match self {
            Exit::CommandLine(error) => {
                error.print().ok();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
            }
            Exit::Configuration(problems) => {
                tell(problems);
                ExitCode::from(USAGE)
            }
        }
    }
}

/// The whole command line.
pub fn command() -> Command {
    let mut command = Command::new("nomad-firehose")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Carries every event of a HashiCorp Nomad cluster to a sink of your choice, and loses none.")
        .after_help(MORE)
        .after_long_help(EXAMPLES)
        .subcommand_required(true)
        .args(arguments(Scope::All).map(|argument| argument.global(true)));
    for kind in Kind::ALL {
        let mut subcommand = Command::new(kind.name()).about(about(kind));
        if kind == Kind::Events {
            subcommand = subcommand.args(arguments(Scope::Topics));
        }
        command = command.subcommand(subcommand);
    }
    let about = "Several kinds in one process, or the pipelines of a configuration file";
    let run = Command::new(RUN).about(about).args(arguments(Scope::Run)).args(arguments(Scope::Topics));
    command
        .subcommand(run)
        .subcommand(check::command())
        .subcommand(tail::command())
        .subcommand(configuration::command())
        .subcommand(state::command())
        .subcommand(dead_letters::command())
        .subcommand(trial::command())
        .subcommand(health::command())
        .subcommand(completions::command())
        .subcommand(man::command())
}

fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Allocations => "One record for each task event of each allocation",
        Kind::Nodes => "One record for each new version of a node",
        Kind::Evaluations => "One record for each new version of an evaluation",
        Kind::Jobs => "One record for each new version of a job, and one for its purge",
        Kind::JobListStubs => "Like jobs, in the short form of the job list",
        Kind::Deployments => "One record for each new version of a deployment",
        Kind::Events => "Every event of the stream as Nomad sent it, of all topics or some",
    }
}

fn arguments(scope: Scope) -> impl Iterator<Item = Arg> {
    // Several subcommands have the same ones, and to compose their help is most of the work.
    static ALL: LazyLock<Vec<(Scope, Arg)>> =
        LazyLock::new(|| catalogue::ALL.iter().map(|setting| (setting.scope, argument(setting))).collect());
    ALL.iter().filter(move |(its, _)| *its == scope).map(|(_, argument)| argument.clone())
}

/// The settings, for a subcommand that reads none of them.
fn unread() -> impl Iterator<Item = Arg> {
    arguments(Scope::All).map(|argument| argument.hide(true))
}

fn argument(setting: &Setting) -> Arg {
    // clap does not read the environment: all places are checked together, so that all problems are reported together.
    let default = setting.default.map(|default| format!("[default: {default}] ")).unwrap_or_default();
    let choices = setting.choices.map(|choices| format!(": {}", choices())).unwrap_or_default();
    let argument = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(setting.value)
        .help(format!("{}{} {default}", brief(setting.help), names(&choices)).trim_end().to_owned())
        .long_help(format!("{}{choices}\n{default}[env: {}]", setting.help, setting.variable))
        .hide_short_help(!COMMON.contains(&setting.flag))
        .help_heading(setting.heading)
        .value_parser(clap::builder::OsStringValueParser::new());
    match setting.form {
        Form::Repeated => argument.action(ArgAction::Append),
        Form::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Form::One | Form::List => argument,
    }
}

/// What the short help says of a setting: the first clause.
fn brief(help: &str) -> &str {
    let ends = [". ", ": ", " (", "; "].into_iter().filter_map(|end| help.find(end));
    &help[..ends.min().unwrap_or(help.len())]
}

/// A list of values without what stands in parentheses.
fn names(choices: &str) -> String {
    let mut depth = 0;
    let mut is_name = |c: char| {
        depth += usize::from(c == '(');
        let is_name = depth == 0;
        depth -= usize::from(c == ')').min(depth);
        is_name
    };
    choices.chars().filter(|c| is_name(*c)).collect::<String>().replace(" ,", ",").trim_end().to_owned()
}

fn flags(matches: &ArgMatches) -> Flags {
    let values = |setting: &'static Setting| {
        let values = matches.try_get_raw(setting.flag).ok().flatten()?;
        Some((setting, values.map(OsString::from).collect()))
    };
    catalogue::ALL.iter().filter_map(|setting| values(setting)).collect()
}

/// The flag that names a pipeline of the configuration file.
const PIPELINE: &str = "pipeline";

fn pipeline_flag() -> Arg {
    let help = "Pipeline that is meant: the NAME of a [pipeline.NAME] table. Without it, the one that has no name";
    Arg::new(PIPELINE).long(PIPELINE).value_name("NAME").help(help).global(true)
}

fn pipeline_of(matches: &ArgMatches) -> Option<String> {
    matches.get_one::<String>(PIPELINE).cloned()
}

/// Writes one message for people to stderr, without secrets.
pub fn tell(message: &dyn Display) {
    // If stderr is closed, nothing can be said.
    writeln!(std::io::stderr(), "nomad-firehose: {}", redact::shown_lines(&message.to_string())).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_no_fault_with_it() {
        command().debug_assert();
    }

    #[test]
    fn the_long_help_shows_every_setting_and_no_value_of_the_environment() {
        let mut command = command();
        let mut help = command.render_long_help().to_string();
        for name in [RUN, Kind::Events.name()] {
            help += &command.find_subcommand_mut(name).expect("it exists").render_long_help().to_string();
        }
        for setting in catalogue::ALL.iter() {
            assert!(help.contains(&format!("--{}", setting.flag)), "{}", setting.flag);
            assert!(help.contains(&format!("[env: {}]", setting.variable)), "{}", setting.variable);
            let default = setting.default.map(|default| format!("[default: {default}]"));
            assert!(default.is_none_or(|default| help.contains(&default)), "{}", setting.flag);
        }
    }

    #[test]
    fn the_examples_hold() {
        let text = EXAMPLES.replace("\\\n", " ");
        let examples = text.lines().filter_map(|line| line.trim().strip_prefix("nomad-firehose "));
        let environment = Environment { variables: Vec::new(), exists: &|_| false };
        let mut count = 0;
        for example in examples {
            let arguments = ["nomad-firehose"].into_iter().chain(example.split_whitespace()).map(OsString::from);
            load_from(arguments, &environment).expect("an example that works");
            count += 1;
        }
        assert_eq!(count, 3);
    }

    #[test]
    fn a_wrong_command_line_is_no_failure_of_the_run() {
        let environment = Environment { variables: Vec::new(), exists: &|_| false };
        for (arguments, code) in [
            (vec!["nomad-firehose"], USAGE),
            (vec!["nomad-firehose", "nonsense"], USAGE),
            (vec!["nomad-firehose", "nodes", "--nonsense"], USAGE),
            (vec!["nomad-firehose", "nodes", "--start=a", "--start=b"], USAGE),
            (vec!["nomad-firehose", "--help"], 0),
            (vec!["nomad-firehose", "--version"], 0),
        ] {
            let arguments = arguments.into_iter().map(OsString::from);
            match load_from(arguments, &environment) {
                Err(Exit::CommandLine(error)) => assert_eq!(error.exit_code(), i32::from(code)),
                other => panic!("{other:?}"),
            }
        }
    }
}
