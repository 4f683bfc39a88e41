//! Runs the commands of the pages.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::task::JoinSet;

use super::{
    common::until,
    marks::{self, Step, Until},
    pages::Page,
    stage::Stage,
};

/// Runs the commands of all pages. What went wrong.
pub(crate) async fn pages(pages: &BTreeMap<PathBuf, Page>, is_whole: bool) -> Vec<String> {
    let only = std::env::var("PAGE").ok();
    let mut runs = JoinSet::new();
    for page in pages.values().filter(|page| only.as_ref().is_none_or(|only| page.path.ends_with(only))) {
        let (name, steps) = (page.path.display().to_string(), marks::steps(page));
        if !steps.is_empty() {
            runs.spawn(async move { Run::new(name, is_whole).all(steps).await });
        }
    }
    let mut ended = runs.join_all().await;
    ended.sort_by(|one, other| one.0.cmp(&other.0));
    for (page, told, _) in &ended {
        told.iter().for_each(|line| println!("{page}:{line}"));
    }
    ended
        .into_iter()
        .flat_map(|(page, _, problems)| problems.into_iter().map(move |problem| format!("{page}:{problem}")))
        .collect()
}

/// A page under way.
struct Run {
    page: String,
    stage: Stage,
    files: Vec<(String, String)>,
    /// Why nothing can be run until the next `needs`.
    lack: Option<String>,
    /// What the last command printed; `None` if it was not run.
    printed: Option<String>,
    groups: Groups,
    told: Vec<String>,
    problems: Vec<String>,
}

impl Run {
    fn new(page: String, is_whole: bool) -> Self {
        let stage = Stage::new(is_whole);
        Run {
            page,
            stage,
            files: Vec::new(),
            lack: None,
            printed: None,
            groups: Groups::default(),
            told: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The page, what is worth telling, and what went wrong.
    async fn all(mut self, steps: Vec<(usize, Step)>) -> (String, Vec<String>, Vec<String>) {
        for (line, step) in steps {
            if let Err(problem) = self.step(line, step).await {
                self.problems.push(format!("{line}: {problem}"));
                // What follows builds on it.
                break;
            }
        }
        drop(std::mem::take(&mut self.groups));
        self.stage.end().await;
        (self.page, self.told, self.problems)
    }

    async fn step(&mut self, line: usize, step: Step) -> Result<(), String> {
        match step {
            Step::Needs(needs) => {
                self.lack = None;
                for need in needs {
                    if let Err(lack) = self.stage.provide(&need).await {
                        self.lack = Some(lack);
                    }
                }
                // They can name the servers that have just been started.
                self.write_files()?;
            }
            Step::Skip(reason) => {
                self.told.push(format!("{line}: not run: {reason}"));
                self.printed = None;
            }
            Step::File { name, text } => {
                self.files.push((name, text));
                self.write_files()?;
            }
            Step::Run { script, until } => {
                self.printed = match &self.lack {
                    None => Some(self.command(&script, until).await?),
                    Some(_) => None,
                };
                self.told.push(format!(
                    "{line}: {}",
                    self.lack.as_ref().map_or("ran".to_owned(), |lack| format!("not run: {lack}"))
                ));
            }
            Step::Prints(expected) => return self.compare(&expected),
        }
        Ok(())
    }

    fn write_files(&self) -> Result<(), String> {
        for (name, text) in &self.files {
            let path = self.stage.directory().join(name);
            std::fs::write(path, self.stage.adapted(text)).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    fn compare(&self, expected: &str) -> Result<(), String> {
        let Some(printed) = &self.printed else { return Ok(()) };
        let expected = self.stage.adapted(expected);
        let is_right =
            marks::is_as_expected(&expected.lines().collect::<Vec<_>>(), &printed.lines().collect::<Vec<_>>());
        if is_right { Ok(()) } else { Err(format!("expected:\n{expected}\nbut it printed:\n{printed}")) }
    }

    /// Runs a script: what it printed.
    async fn command(&mut self, script: &str, stop: Option<Until>) -> Result<String, String> {
        let directory = self.stage.directory();
        // Names of their own: what one command has left running can still write to its files.
        let [out, log] = ["stdout", "stderr"].map(|name| directory.join(format!("{name}-{}", self.groups.0.len())));
        let script = format!(
            "set -euo pipefail\nif [ -f .exported ]; then . ./.exported; fi\ntrap 'declare -px >.exported' EXIT\n{}",
            self.stage.adapted(script)
        );
        let path = format!("{}:{}", self.stage.programs().display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).current_dir(directory).env_clear().process_group(0).stdin(Stdio::null());
        command.envs([("PATH", &*path), ("HOME", &directory.to_string_lossy()), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")]);
        command.env("NOMAD_ADDR", self.stage.adapted("http://127.0.0.1:4646"));
        command.stdout(File::create(&out).expect("a file")).stderr(File::create(&log).expect("a file"));
        self.groups.0.push(command.spawn().map_err(|error| error.to_string())?);
        let child = self.groups.0.last_mut().expect("it was just put there");
        let read = |path: &PathBuf| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
        let mut status: Option<ExitStatus> = None;
        let mut is_reached = false;
        until("the command ends", || {
            status = child.try_wait().expect("it is our child");
            is_reached = stop.as_ref().is_some_and(|stop| match stop {
                Until::Text(text) => read(&out).contains(text) || read(&log).contains(text),
                Until::Lines(lines) => read(&out).lines().count() >= *lines,
            });
            status.is_some() || is_reached
        })
        .await;
        if is_reached {
            signal(child, Signal::TERM);
            until("the command stops", || child.try_wait().expect("it is our child").is_some()).await;
        }
        let is_well = is_reached || (stop.is_none() && status.is_some_and(|status| status.success()));
        let printed = read(&out);
        if is_well {
            Ok(printed)
        } else {
            Err(format!("{status:?}; it printed:\n{printed}\nand logged:\n{}", read(&log)))
        }
    }
}

/// The scripts that were run, with what they left running. Dropping it ends all of that.
#[derive(Default)]
struct Groups(Vec<Child>);

impl Drop for Groups {
    fn drop(&mut self) {
        for child in &mut self.0 {
            signal(child, Signal::KILL);
            child.wait().ok();
        }
    }
}

/// Sends a signal to a script and all that it has started.
fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    // They may have ended by themselves.
    kill_process_group(id, signal).ok();
}
