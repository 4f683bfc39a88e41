//! `completions`: prints a script that completes this command line in a shell.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Arg, ArgMatches, Command, builder::PossibleValuesParser};
use clap_complete::{
    Generator,
    shells::{Bash, Fish, Zsh},
};

pub(super) const NAME: &str = "completions";
const SHELL: &str = "shell";
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

const EXAMPLES: &str = "\
Examples:
  # bash, for this shell, and for all later ones of this user
  source <(nomad-firehose completions bash)
  nomad-firehose completions bash > ~/.local/share/bash-completion/completions/nomad-firehose

  # zsh, into a directory of $fpath
  nomad-firehose completions zsh > /usr/local/share/zsh/site-functions/_nomad-firehose

  # fish
  nomad-firehose completions fish > ~/.config/fish/completions/nomad-firehose.fish";

/// The shell that is asked for.
#[derive(Debug)]
pub struct Completions(&'static str);

pub(super) fn command() -> Command {
    let shell = Arg::new(SHELL)
        .value_name("SHELL")
        .required(true)
        .value_parser(PossibleValuesParser::new(SHELLS))
        .help("Shell that reads the script");
    Command::new(NAME)
        .about("Prints a script that completes this command line in a shell")
        .arg(shell)
        .args(super::unread())
        .after_help(EXAMPLES)
}

pub(super) fn read(matches: &ArgMatches) -> Completions {
    let given = matches.get_one::<String>(SHELL);
    Completions(SHELLS.into_iter().find(|shell| given.is_some_and(|given| given == shell)).unwrap_or(SHELLS[0]))
}

impl Completions {
    /// Prints it, and gives the exit code.
    pub fn run(&self) -> ExitCode {
        // A reader that stops before the end has seen what it wanted.
        io::stdout().write_all(&self.script()).ok();
        ExitCode::SUCCESS
    }

    fn script(&self) -> Vec<u8> {
        match self.0 {
            "zsh" => script(Zsh),
            "fish" => script(Fish),
            _ => bash(),
        }
    }
}

fn bash() -> Vec<u8> {
    // For a program with a dash in its name, clap_complete 4.6.11 sets one state and asks for another.
    let script = String::from_utf8_lossy(&script(Bash)).replace("nomad__subcmd__firehose", "nomad__firehose");
    script.into_bytes()
}

fn script(shell: impl Generator) -> Vec<u8> {
    let (mut command, mut script) = (super::command(), Vec::new());
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut command, name, &mut script);
    script
}
