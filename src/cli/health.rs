//! `health`: asks a program that runs on this machine how it is. For the health checks of containers and supervisors.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Exit, Task, arguments, flags, tell};
use crate::{
    config::{self, Environment, Warning},
    health::{self, Question},
    redact,
    settings::Scope,
};

pub(super) const NAME: &str = "health";
const READY: &str = "ready";

/// The flags that say where to ask. It accepts and ignores all others, so that the environment and the file of a run can be used
/// unchanged.
const OURS: [&str; 2] = ["listen", "config"];

const ABOUT: &str = "Asks the running program whether it makes progress, or is ready";
const LONG: &str = "\
Asks the program that runs on this machine whether it makes progress, at the address of
NOMAD_FIREHOSE_LISTEN: set it as for the run. The answer takes at most 3 seconds.

Without --ready it asks /health/live: the process makes progress and needs no
restart. With --ready it asks /health/ready: each kind is led and delivered by this
replica, or this replica stands by for it.";

const EXAMPLES: &str = "\
Examples:
  # For the HEALTHCHECK of a container, or a liveness probe
  nomad-firehose health

  # Is this replica ready, and if not, why
  nomad-firehose health --ready --listen 127.0.0.1:9090

Exit codes: 0 yes, 1 no or no answer, 2 wrong command line or configuration.";

/// What to ask, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    listen: SocketAddr,
    question: Question,
}

impl Health {
    /// Asks, prints the answer, and gives the exit code.
    pub fn run(self) -> ExitCode {
        match health::ask(self.listen, self.question) {
            Ok(answer) if answer.is_well => {
                // A reader that is gone does not change how the program is.
                writeln!(io::stdout(), "{}", redact::shown_lines(&answer.text)).ok();
                ExitCode::SUCCESS
            }
            Ok(answer) => {
                tell(&answer.text);
                ExitCode::FAILURE
            }
            Err(error) => {
                tell(&error);
                ExitCode::FAILURE
            }
        }
    }
}

pub(super) fn command() -> Command {
    let flags = arguments(Scope::All).map(|argument| {
        let is_ours = OURS.contains(&argument.get_id().as_str());
        argument.hide(!is_ours).hide_short_help(!is_ours)
    });
    let ready = "Ask whether this replica delivers or stands by, and not only whether the process makes progress";
    Command::new(NAME)
        .about(ABOUT)
        .long_about(LONG)
        .after_help(EXAMPLES)
        .args(flags)
        .arg(Arg::new(READY).long(READY).action(ArgAction::SetTrue).help(ready))
}

pub(super) fn read(matches: &ArgMatches, environment: &Environment<'_>) -> Result<(Task, Vec<Warning>), Exit> {
    let (listen, warnings) = config::load_listen(&flags(matches), environment).map_err(Exit::Configuration)?;
    let question = if matches.get_flag(READY) { Question::Ready } else { Question::Live };
    Ok((Task::Health(Health { listen, question }), warnings))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::load_from;

    /// With what a run would refuse in the environment: nothing of it is looked at.
    fn asked(arguments: &[&str], listen: Option<&str>) -> Result<Health, Exit> {
        let wrong = [("NOMAD_ADDR", "ftp://nomad"), ("SINK_TYPE", "pigeon"), ("NOMAD_FIREHOSE_START", "yesterday")];
        let listen = listen.map(|listen| ("NOMAD_FIREHOSE_LISTEN", listen));
        let variables = wrong.into_iter().chain(listen).map(|(name, value)| (name.into(), value.into())).collect();
        let arguments = ["nomad-firehose", NAME].iter().chain(arguments).map(OsString::from);
        match load_from(arguments, &Environment { variables, exists: &|_| false })?.0 {
            Task::Health(health) => Ok(health),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_asks_where_the_run_listens() {
        let health = asked(&[], Some(":9090")).expect("it is valid");
        assert_eq!((health.listen.port(), health.question), (9090, Question::Live));
        let health = asked(&["--ready", "--listen", "127.0.0.1:7"], Some(":9090")).expect("it is valid");
        assert_eq!((health.listen.port(), health.question), (7, Question::Ready));
    }

    #[test]
    fn it_has_to_know_where() {
        for listen in [None, Some("nowhere")] {
            match asked(&[], listen) {
                Err(Exit::Configuration(problems)) => {
                    assert!(problems.to_string().contains("NOMAD_FIREHOSE_LISTEN"), "{problems}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
