//! `config`: prints the reference of all settings.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::reference;

pub(super) const NAME: &str = "config";
const REFERENCE: &str = "reference";

/// What is asked for.
#[derive(Debug)]
pub struct Show;

pub(super) fn command() -> Command {
    let reference = Arg::new(REFERENCE)
        .long(REFERENCE)
        .action(ArgAction::SetTrue)
        .required(true)
        .help("Print docs/configuration.md, the reference of all settings");
    Command::new(NAME).about("Prints the reference of all settings").arg(reference)
}

pub(super) fn read(_: &ArgMatches) -> Show {
    Show
}

impl Show {
    /// Prints it, and gives the exit code.
    pub fn run(&self) -> ExitCode {
        // A reader that stops before the end has seen what it wanted.
        io::stdout().write_all(reference::page().as_bytes()).ok();
        ExitCode::SUCCESS
    }
}
