//! `man`: prints the manual page, or writes the pages of all subcommands into a directory.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_mangen::Man;

pub(super) const NAME: &str = "man";
const DIRECTORY: &str = "dir";

/// The day of the release. It is fixed, so that the same program writes the same page.
const DATE: &str = "2026-11-29";

const EXAMPLES: &str = "\
Examples:
  # Read it
  nomad-firehose man | man -l -

  # The pages of all subcommands, for `man nomad-firehose-run`
  nomad-firehose man /usr/local/share/man/man1";

/// What is asked for.
#[derive(Debug)]
pub struct ManPages {
    directory: Option<PathBuf>,
}

pub(super) fn command() -> Command {
    let directory = Arg::new(DIRECTORY)
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("Directory for a page of each subcommand. It is created if it does not exist");
    Command::new(NAME)
        .about("Prints the manual page, or writes the pages of all subcommands")
        .arg(directory)
        .args(super::unread())
        .after_help(EXAMPLES)
}

pub(super) fn read(matches: &ArgMatches) -> ManPages {
    ManPages { directory: matches.get_one(DIRECTORY).cloned() }
}

impl ManPages {
    /// Prints or writes it, and gives the exit code.
    pub fn run(&self) -> ExitCode {
        let mut command = super::command().disable_help_subcommand(true);
        command.build();
        let done = match &self.directory {
            // A reader that stops before the end has seen what it wanted.
            None => page(&command).map(|page| drop(io::stdout().write_all(&page))),
            Some(directory) => fs::create_dir_all(directory).and_then(|()| write(&command, directory)),
        };
        match (done, &self.directory) {
            (Ok(()), _) => ExitCode::SUCCESS,
            (Err(error), directory) => {
                let directory = directory.as_deref().unwrap_or(Path::new("standard output")).display();
                super::tell(&format!(
                    "cannot write manual pages to {directory}: {error}; name a directory that you may write"
                ));
                ExitCode::FAILURE
            }
        }
    }
}

/// Writes the pages of `command` and of everything below it.
fn write(command: &Command, directory: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(directory.join(format!("{name}.1")), page(command)?)?;
    command.get_subcommands().filter(|command| !command.is_hide_set()).try_for_each(|command| write(command, directory))
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let man = Man::new(command.clone());
    // The synopsis does not list a hundred options.
    let (title, version) = (name.replace('-', "\\-"), env!("CARGO_PKG_VERSION"));
    let mut page =
        format!(".TH \"{title}\" \"1\" \"{DATE}\" \"nomad\\-firehose {version}\" \"nomad\\-firehose\"\n").into_bytes();
    man.render_name_section(&mut page)?;
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<_> = usage.trim_start_matches("Usage:").lines().map(|line| text(line.trim())).collect();
    writeln!(page, ".SH SYNOPSIS\n{}", usage.join("\n.br\n"))?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        let notes = notes.to_string();
        let notes: Vec<_> = notes.lines().map(text).collect();
        writeln!(page, ".SH NOTES\n.nf\n{}\n.fi", notes.join("\n"))?;
    }
    Ok(without_double_breaks(&String::from_utf8_lossy(&page)).into_bytes())
}

/// A line that is no request, with each character as it is.
fn text(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line }
}

/// The page without line breaks beside the end of a paragraph, where they would mean nothing.
fn without_double_breaks(page: &str) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let is_empty = |at: Option<usize>| at.and_then(|at| lines.get(at)).is_some_and(|line| line.is_empty());
    let means_something = |at: &usize| lines[*at] != ".br" || !is_empty(at.checked_sub(1)) && !is_empty(Some(at + 1));
    (0..lines.len()).filter(means_something).map(|at| format!("{}\n", lines[at])).collect()
}
