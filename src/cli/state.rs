//! `state`: shows what is stored and who leads, sets positions, copies or removes what is stored.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, builder::PossibleValuesParser, error::ErrorKind};

use super::{Exit, Task, arguments, flags, pipeline_flag, pipeline_of, tell};
use crate::{
    config::{self, Environment, Flags, catalogue::COORDINATOR},
    kind::Kind,
    position::RaftIndex,
    settings::{Problems, Scope, Warning, add_new},
    state::{self, Action, At, Cluster, Copy, Output, Set},
};

pub(super) const NAME: &str = "state";
const SHOW: &str = "show";
const RESET: &str = "reset";
const COPY: &str = "copy";
const FROM: &str = "from";
const TO: &str = "to";
const SET: &str = "set";
const INDEX: &str = "index";
const NOW: &str = "now";
const FORCE: &str = "force";
const KINDS: &str = "kind";
const JSON: &str = "json";
const VALUE: &str = "value";
const ALL: &str = "all";

/// The flags that say where the state is, besides those of Consul. All others are accepted and ignored, so that the environment and the
/// file of a run can be used unchanged.
const OURS: [&str; 7] =
    ["coordinator", "data-dir", "nomad-var-prefix", "nomad-var-namespace", "log-level", "log-format", "config"];
/// Flags of Consul that only a run needs.
const OF_SESSIONS: [&str; 2] = ["consul-session-ttl", "consul-node-check"];
/// Flags that the short help shows here, and not for a run.
const COMMON: [&str; 2] = ["consul-http-addr", "consul-prefix"];

const EXAMPLES: &str = "\
Examples:
  # Who leads, how far each kind is, and whether its checkpoint is readable
  nomad-firehose state show

  # The same for two kinds and as JSON, from another folder in Consul
  nomad-firehose state show jobs nodes --json --consul-prefix firehose/prod

  # Continue after raft index 4711, whatever was delivered; refused while a replica leads
  nomad-firehose state set --index 4711 jobs

  # Remove an unreadable checkpoint; refused while a replica leads
  nomad-firehose state reset allocations

  # Go over from Consul to Nomad's Variables; refused while a replica leads
  nomad-firehose state copy --from consul --to nomad

Set --coordinator, --data-dir and the options of Consul as for a run. You need no
setting of a sink, and those of Nomad only for set and with its Variables.
Exit codes: 0 done, 1 something is unreadable or was refused, 2 wrong command line
or configuration.";

const SHOW_ABOUT: &str = "Shows who leads, and the stored progress of each kind";
const SHOW_LONG: &str = "\
Shows who leads, and the stored progress of each kind. It changes nothing and can
be asked at any time.

STREAM is * or a namespace. POSITION is the raft index up to which everything is
delivered, except for GAPS, which a backfill has still to fill.
TASK CURSORS counts the tasks whose last delivered event is remembered.
LEGACY VALUE is where the original program would resume; for allocations, a time.
LEADER holds the lease. A leader that died a moment ago still holds it, until a
standby or Consul takes it away.";

const SET_ABOUT: &str = "Sets the position of these kinds: everything up to it counts as delivered";
const SET_LONG: &str = "\
Sets the position of these kinds: everything up to it counts as delivered, and
the next leader continues right after it, in either direction. It is refused
while a replica leads, and done in one step, so that no replica becomes leader in
between. Gaps and task cursors are forgotten.

With --force, the lease is first taken away from the replica that leads. From
then on Consul, or Nomad, refuses everything that this replica writes; the
position is stored after its lease has run out, so no two replicas send at a
time. That replica stands by again by itself. With files, a running process
cannot lose its lock: stop it.

Nomad's buffer and lists decide what can still be sent: a warning says if the
index is beyond the cluster's, or older than its event buffer. Nomad keeps no
index of task events: an allocation that has changed since sends all of its task
events that Nomad keeps, at most ten a task.";

const RESET_ABOUT: &str = "Removes the checkpoints of these kinds";
const RESET_LONG: &str = "\
Removes the checkpoints of these kinds. It is refused while a replica leads, and
done in one step, so that no replica becomes leader in between.

With Consul, the value that this program shares with the original stays, and the
next start resumes from it; --value removes it too. Without a value, the next
start is a first one. It begins where NOMAD_FIREHOSE_START says, by default with
everything that the cluster holds, which sends many records again.

Stop all replicas first: one that has led also keeps its progress in memory, and
resumes from there when it leads again.";

const COPY_ABOUT: &str = "Copies the checkpoints of these kinds to another coordinator";
const COPY_LONG: &str = "\
Copies the checkpoints of these kinds to another coordinator, so that a run with
that one continues where the last one ended. It holds the leases of both places
meanwhile. It is refused while a replica leads in one of them, or if the target
has a checkpoint already: then nothing is copied. The source keeps its own.

The settings of both coordinators say where the places are, as for a run. A value
that only the original program has stored is copied, too. The tokens need the
rights of a run in both places.";

pub(super) fn command() -> Command {
    // Flags that only a run reads are accepted and hidden.
    let hidden = arguments(Scope::All).map(|argument| {
        let name = argument.get_id().as_str();
        let (ours, common) = (is_ours(name), COMMON.contains(&name));
        let argument = argument.global(true).hide(!ours);
        if common { argument.hide_short_help(false) } else { argument }
    });
    let show = Command::new(SHOW).about(SHOW_ABOUT).long_about(SHOW_LONG).after_help(EXAMPLES).args([
        kinds("Kinds to show. Without any, those that have anything stored"),
        Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("Write one JSON object, for programs"),
    ]);
    let reset = Command::new(RESET).about(RESET_ABOUT).long_about(RESET_LONG).after_help(EXAMPLES).args([
        kinds("Kinds to reset, at least one; all means every kind"),
        Arg::new(VALUE).long(VALUE).action(ArgAction::SetTrue).help("Remove the value of the original program too"),
    ]);
    let index = Arg::new(INDEX)
        .long(INDEX)
        .value_name("N")
        .value_parser(raft_index)
        .help("Raft index up to which everything counts as delivered, as state show prints it");
    let now = Arg::new(NOW)
        .long(NOW)
        .action(ArgAction::SetTrue)
        .help("The newest index of the cluster, which Nomad is asked for");
    let force = Arg::new(FORCE)
        .long(FORCE)
        .action(ArgAction::SetTrue)
        .help("Take the lease away from a replica that leads, and wait until it has run out. Not with files");
    let json = Arg::new(JSON).long(JSON).action(ArgAction::SetTrue).help("Write one JSON object, for programs");
    let set = Command::new(SET).about(SET_ABOUT).long_about(SET_LONG).after_help(EXAMPLES).args([
        kinds("Kinds to set. Without any, those that have a checkpoint; all means every kind"),
        index,
        now,
        force,
        json,
    ]);
    let place = |name: &'static str, help| {
        let places = PossibleValuesParser::new(["consul", "nomad", "file"]);
        Arg::new(name).long(name).value_name("COORDINATOR").required(true).value_parser(places).help(help)
    };
    let copy = Command::new(COPY).about(COPY_ABOUT).long_about(COPY_LONG).after_help(EXAMPLES).args([
        kinds("Kinds to copy. Without any, or with all, those that have a checkpoint"),
        place(FROM, "Coordinator that has the checkpoints"),
        place(TO, "Coordinator that gets them"),
    ]);
    let set = set.group(ArgGroup::new("position").args([INDEX, NOW]).required(true));
    Command::new(NAME)
        .about("Shows what is stored and who leads, sets positions, copies or removes what is stored")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(hidden)
        .arg(pipeline_flag())
        .subcommand(show)
        .subcommand(set)
        .subcommand(copy)
        .subcommand(reset)
}

/// Reads the subcommand, and the settings that say where the state is.
pub(super) fn read(matches: &ArgMatches, environment: &Environment<'_>) -> Result<(Task, Vec<Warning>), Exit> {
    // clap has refused a missing or unknown one already.
    let (name, matches) = matches.subcommand().unwrap_or((SHOW, matches));
    let named: Vec<&str> = matches.get_many::<String>(KINDS).into_iter().flatten().map(String::as_str).collect();
    let wanted = |kind: &Kind| named.contains(&ALL) || named.contains(&kind.name());
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(wanted).collect();
    let (pipeline, flags) = (pipeline_of(matches), flags(matches));
    let load = |flags: &Flags| config::load_state(pipeline.as_deref(), name == SET, flags, environment);
    let (config::State { storage, cluster, log }, action, warnings) = match name {
        COPY => {
            let places = [FROM, TO].map(|end| matches.get_one::<String>(end).map_or("", String::as_str));
            if places[0] == places[1] {
                let text = format!("--from and --to are both {}; name two coordinators", places[0]);
                return Err(Exit::CommandLine(refused(COPY, ErrorKind::ArgumentConflict, text)));
            }
            let kinds = if named.contains(&ALL) { Vec::new() } else { kinds };
            let [from, to] = places.map(|place| load(&with_coordinator(&flags, place)));
            let ((from, mut warnings), (to, others)) = both(from, to).map_err(Exit::Configuration)?;
            add_new(&mut warnings, others);
            (from, Action::Copy(Copy { kinds, to: to.storage, pipeline: pipeline.clone() }), warnings)
        }
        _ => {
            let action = match name {
                RESET if kinds.is_empty() => {
                    let text = format!("name at least one kind: {}, or all", Kind::ALL.map(Kind::name).join(", "));
                    return Err(Exit::CommandLine(refused(RESET, ErrorKind::MissingRequiredArgument, text)));
                }
                SET => {
                    let at = matches.get_one::<u64>(INDEX).map_or(At::Now, |index| At::Index(RaftIndex(*index)));
                    Action::Set(Set { kinds, at, force: matches.get_flag(FORCE), json: matches.get_flag(JSON) })
                }
                RESET => Action::Reset { kinds, value: matches.get_flag(VALUE) },
                _ => Action::Show { kinds, json: matches.get_flag(JSON) },
            };
            let (state, warnings) = load(&flags).map_err(Exit::Configuration)?;
            (state, action, warnings)
        }
    };
    let cluster =
        cluster.map(|config::Reading { nomad, topics, namespaces }| Cluster { nomad, topics, streams: namespaces });
    Ok((Task::State { command: Box::new(state::Command { action, storage, cluster }), log }, warnings))
}

/// What clap says of a subcommand that it could not refuse itself.
fn refused(name: &str, kind: ErrorKind, text: String) -> clap::Error {
    let mut command = super::command();
    command.build();
    let found = command.find_subcommand_mut(NAME).and_then(|state| state.find_subcommand_mut(name));
    found.expect("it was just asked for").error(kind, text)
}

/// The flags, with this coordinator in the place of the run's.
fn with_coordinator(flags: &Flags, name: &str) -> Flags {
    let others = flags.iter().filter(|(setting, _)| setting.flag != COORDINATOR.flag).cloned();
    others.chain([(&COORDINATOR, vec![name.into()])]).collect()
}

/// Both, or the problems of both.
fn both<T>(one: Result<T, Problems>, other: Result<T, Problems>) -> Result<(T, T), Problems> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(Problems(mut all)), Err(Problems(others))) => {
            add_new(&mut all, others);
            Err(Problems(all))
        }
        (Err(problems), Ok(_)) | (Ok(_), Err(problems)) => Err(problems),
    }
}

/// Prints what the subcommand found to stdout, and why it stopped to stderr. Gives the exit code.
pub fn print(answer: &Output) -> ExitCode {
    // A reader that stops before the end has seen what it wanted.
    io::stdout().write_all(answer.text.as_bytes()).ok();
    if let Some(error) = &answer.error {
        tell(error);
    }
    if answer.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_ours(flag: &str) -> bool {
    flag.starts_with("consul-") && !OF_SESSIONS.contains(&flag) || OURS.contains(&flag)
}

fn kinds(help: &'static str) -> Arg {
    let names = Kind::ALL.iter().map(|kind| kind.name()).chain([ALL]);
    Arg::new(KINDS).value_name("KIND").num_args(0..).help(help).value_parser(PossibleValuesParser::new(names))
}

fn raft_index(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|index| *index > 0).ok_or("write a raft index, a whole number from 1 on")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::{cli::load_from, coordinator::Storage};

    /// The state of `arguments`, with what a run would refuse in the environment: nothing of it is looked at.
    fn asked(arguments: &[&str]) -> Result<(Action, Storage), Exit> {
        // Only `set` and the Variables ask Nomad.
        let nomad = if arguments.contains(&SET) || arguments.contains(&COPY) { "http://nomad" } else { "ftp://nomad" };
        let wrong = [("NOMAD_ADDR", nomad), ("SINK_TYPE", "pigeon"), ("NOMAD_FIREHOSE_START", "yesterday")];
        let variables = wrong.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        let arguments = ["nomad-firehose", NAME].iter().chain(arguments).map(OsString::from);
        match load_from(arguments, &Environment { variables, exists: &|_| false })?.0 {
            Task::State { command, .. } => Ok((command.action, command.storage)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_examples_hold() {
        let lines = EXAMPLES.lines().filter_map(|line| line.trim().strip_prefix("nomad-firehose state "));
        let examples: Vec<_> =
            lines.map(|line| asked(&line.split_whitespace().collect::<Vec<_>>()).expect("works")).collect();
        assert_eq!(examples.len(), 5);
        assert_eq!(examples[1].0, Action::Show { kinds: vec![Kind::Nodes, Kind::Jobs], json: true });
        assert!(matches!(&examples[1].1, Storage::Consul(config) if config.folder == "firehose/prod"));
        let set = Set { kinds: vec![Kind::Jobs], at: At::Index(RaftIndex(4711)), force: false, json: false };
        assert_eq!(examples[2].0, Action::Set(set));
        assert_eq!(examples[3].0, Action::Reset { kinds: vec![Kind::Allocations], value: false });
        let Action::Copy(Copy { kinds, to: Storage::Nomad { .. }, .. }) = &examples[4].0 else {
            panic!("{examples:?}")
        };
        assert!(kinds.is_empty() && matches!(examples[4].1, Storage::Consul(_)));
    }

    #[test]
    fn a_copy_is_between_two_places() {
        let same = asked(&["copy", "--from=consul", "--to=consul"]);
        assert!(matches!(&same, Err(Exit::CommandLine(error)) if error.exit_code() == 2), "{same:?}");
        // Whatever the run has.
        let (action, from) =
            asked(&["copy", "jobs", "--from=file", "--to=consul", "--coordinator=none", "--data-dir=/d"])
                .expect("valid");
        assert_eq!(from, Storage::File { data_dir: "/d".into() });
        assert!(matches!(action, Action::Copy(Copy { kinds, to: Storage::Consul(_), .. }) if kinds == [Kind::Jobs]));
        match asked(&["copy", "--from=file", "--to=consul", "--consul-prefix=/"]) {
            Err(Exit::Configuration(Problems(all))) => assert_eq!(all.len(), 2, "{all:?}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_stand_before_and_behind_it() {
        for arguments in
            [&["--data-dir=/d", "show", "--coordinator=file"][..], &["show", "--data-dir=/d", "--coordinator", "file"]]
        {
            let (action, storage) = asked(arguments).expect("it is valid");
            assert_eq!(action, Action::Show { kinds: vec![], json: false });
            assert_eq!(storage, Storage::File { data_dir: "/d".into() });
        }
        let (action, _) = asked(&["reset", "all", "--value"]).expect("it is valid");
        assert_eq!(action, Action::Reset { kinds: Kind::ALL.to_vec(), value: true });
    }

    #[test]
    fn what_is_to_be_forgotten_has_to_be_named() {
        for arguments in [&["reset"][..], &["reset", "job"]] {
            match asked(arguments) {
                Err(Exit::CommandLine(error)) => {
                    assert_eq!(error.exit_code(), 2);
                    let text = error.to_string();
                    assert!(Kind::ALL.iter().all(|kind| text.contains(kind.name())) && text.contains(ALL), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
        for arguments in [&["set"][..], &["set", "--index=0"], &["set", "--index=1", "--now"], &["set", "--now", "job"]]
        {
            assert!(matches!(asked(arguments), Err(Exit::CommandLine(_))), "{arguments:?}");
        }
        match asked(&["show", "--coordinator=none"]) {
            Err(Exit::Configuration(problems)) => {
                assert!(problems.to_string().contains("NOMAD_FIREHOSE_COORDINATOR"), "{problems}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_help_shows_what_matters_and_only_that() {
        let mut command = crate::cli::command();
        command.build();
        let state = command.find_subcommand_mut(NAME).expect("it exists");
        for name in [SHOW, RESET] {
            let help = state.find_subcommand_mut(name).expect("it exists").render_long_help().to_string();
            assert!(help.contains("--consul-http-addr") && help.contains("--data-dir"), "{help}");
            assert!(!help.contains("--nomad-addr") && !help.contains("--sink-type"), "{help}");
        }
    }
}
