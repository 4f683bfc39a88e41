//! The settings in effect: each with its value, and where that was given. For `nomad-firehose config`.

mod json;
mod table;
mod toml;

use std::fmt;

use super::{Environment, Flags, PipelineName, Problems, Wanted, Warning, catalogue, gather, validate, with_exposure};
use crate::{
    kind::Kind,
    settings::{Layers, Origin, Setting},
    sink::SINKS,
};

/// How the settings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// As a configuration file.
    Toml,
}

/// The settings of a run.
#[derive(Debug)]
pub struct Effective {
    /// Those of the program; without pipelines of a file, all of them.
    program: Vec<Entry>,
    /// Those that the tables of the pipelines decide, by pipeline.
    pipelines: Vec<(PipelineName, Vec<Entry>)>,
    /// What keeps the run from starting.
    pub problems: Option<Problems>,
    /// What is probably not intended.
    pub warnings: Vec<Warning>,
}

/// One setting.
struct Entry {
    setting: &'static Setting,
    /// The values, secrets included; none if it is not set.
    values: Vec<String>,
    /// `None` for a default, or if it is not set.
    origin: Option<Origin>,
    /// Whether the run reads it.
    applies: bool,
}

impl fmt::Debug for Entry {
    /// Without the values: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("setting", &self.setting.flag)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Reads the settings as [`super::load`] does. What is wrong with them is part of the result.
pub fn effective(wanted: Wanted, flags: &Flags, environment: &Environment<'_>) -> Effective {
    let (layers, problems) = gather(flags, environment);
    let of_pipelines = |name: &PipelineName| (name.clone(), layers.of_pipeline(name));
    let pipelines: Vec<_> = layers.pipelines().map(of_pipelines).collect();
    let is_shared = |setting: &&&Setting| {
        pipelines.is_empty() || !catalogue::OF_PIPELINES.iter().any(|own| own.flag == setting.flag)
    };
    let entry = |wanted, layers: &Layers, setting: &&'static Setting| Entry::new(wanted, layers, setting);
    let program = catalogue::ALL.iter().filter(is_shared).map(|setting| entry(wanted, &layers, setting)).collect();
    let own = |layers: &Layers| {
        catalogue::ALL.iter().filter(|it| !is_shared(it)).map(|it| entry(Wanted::Listed, layers, it)).collect()
    };
    let pipelines: Vec<_> = pipelines.iter().map(|(name, layers)| (name.clone(), own(layers))).collect();
    let (problems, warnings) = match validate::validate(wanted, &layers, environment, problems) {
        Ok((_, warnings)) => (None, with_exposure(&layers, warnings)),
        Err(problems) => (Some(problems), Vec::new()),
    };
    Effective { program, pipelines, problems, warnings }
}

impl Effective {
    /// Whole lines. `all` shows the settings too that are not set or not read; `width` is that of the terminal.
    pub fn written(&self, form: Form, all: bool, width: usize) -> String {
        match form {
            Form::Table => table::write(self, all, width),
            Form::Json => json::write(self, all),
            Form::Toml => toml::write(self),
        }
    }

    /// The sections, each with the pipeline that it is of.
    fn sections(&self) -> impl Iterator<Item = (Option<&PipelineName>, &[Entry])> {
        let pipelines = self.pipelines.iter().map(|(name, entries)| (Some(name), &entries[..]));
        [(None, &self.program[..])].into_iter().chain(pipelines)
    }
}

impl Entry {
    fn new(wanted: Wanted, layers: &Layers, setting: &'static Setting) -> Self {
        let given = layers.get(setting);
        let default = || setting.default.map(str::to_owned).into_iter().collect();
        Entry {
            setting,
            values: given.map_or_else(default, |given| given.values.clone()),
            origin: given.map(|given| given.origin.clone()),
            applies: applies(setting, wanted, layers),
        }
    }

    /// Whether it is shown without being asked for.
    fn matters(&self) -> bool {
        self.applies && !self.values.is_empty()
    }

    /// The values as they may be shown.
    fn shown(&self) -> Vec<String> {
        self.values.iter().map(|value| hidden(self.setting, value)).collect()
    }

    /// Where it was given, in a word.
    fn origin_name(&self) -> &'static str {
        match &self.origin {
            None if self.values.is_empty() => "unset",
            None => "default",
            Some(Origin::Flag) => "flag",
            Some(Origin::Variable) => "variable",
            Some(Origin::File(_)) => "file",
            Some(Origin::Foreign(_)) => "nomad-events-sink",
            Some(Origin::Pipeline(..)) => "pipeline",
        }
    }
}

const HIDDEN: &str = "<hidden>";

/// A value without what must not be seen. Of the URL of a sink, everything behind the host can be a secret.
fn hidden(setting: &Setting, value: &str) -> String {
    if setting.secret && setting.default != Some(value) {
        return host_of(setting, value).unwrap_or_else(|| HIDDEN.to_owned());
    }
    match user_of(setting, value) {
        Some((before, after)) => format!("{before}{HIDDEN}@{after}"),
        None => value.to_owned(),
    }
}

/// What surrounds the user in `https://me:password@host`. An address can do without the scheme, and a password can have any character.
fn user_of<'a>(setting: &Setting, value: &'a str) -> Option<(&'a str, &'a str)> {
    let begin = value.find("://").map(|at| at + 3);
    if begin.is_none() && !setting.is_address() {
        return None;
    }
    let (before, rest) = value.split_at(begin.unwrap_or(0));
    rest.rsplit_once('@').map(|(_, after)| (before, after))
}

/// `https://hooks.example.com/<hidden>`; `None` if that is not certain to be the host.
fn host_of(setting: &Setting, value: &str) -> Option<String> {
    let (scheme, rest) = value.split_once("://").filter(|_| setting.is_address())?;
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(_, host)| ("<hidden>@", host));
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.:[]".contains(c));
    // A slash in a password would look like the end of the host.
    let is_certain = is_plain(host) && is_plain(scheme) && !tail.contains('@');
    let tail = if matches!(tail, "" | "/") { tail } else { "/<hidden>" };
    is_certain.then(|| format!("{scheme}://{user}{host}{tail}"))
}

/// Whether a run reads the setting.
fn applies(setting: &Setting, wanted: Wanted, layers: &Layers) -> bool {
    let text = |of: &Setting| layers.get(of).and_then(|given| given.values.first()).map(String::as_str).or(of.default);
    let is = |of: &Setting| setting.flag == of.flag;
    let coordinator = text(&catalogue::COORDINATOR).unwrap_or_default();
    if is(&catalogue::RESOURCES) {
        return wanted == Wanted::Listed;
    }
    if is(&catalogue::TOPIC) {
        return carries_events(wanted, layers);
    }
    if setting.heading == catalogue::CONSUL {
        return matches!(coordinator, "consul" | "auto");
    }
    if is(&catalogue::LEASE) || is(&catalogue::STANDBY_BUFFER) {
        return matches!(coordinator, "consul" | "nomad" | "auto");
    }
    if is(&catalogue::DATA_DIR) || is(&catalogue::CHECKPOINT_INTERVAL) {
        return coordinator == "file";
    }
    if is(&catalogue::POLL_INTERVAL) || is(&catalogue::STALE) {
        return text(&catalogue::SOURCE) != Some("stream");
    }
    let chosen = text(&catalogue::SINK_TYPE).unwrap_or_default();
    let chosen = SINKS.iter().find(|sink| sink.name == chosen || sink.alias == Some(chosen));
    if crate::digest::settings::SETTINGS.iter().any(|of| is(of)) {
        return chosen.and_then(|sink| sink.definition).is_some_and(|sink| sink.is_for_people);
    }
    match SINKS.iter().find(|sink| sink.settings().iter().any(|of| is(of))) {
        Some(owner) => chosen.is_some_and(|chosen| chosen.name == owner.name),
        None => true,
    }
}

fn carries_events(wanted: Wanted, layers: &Layers) -> bool {
    match wanted {
        Wanted::One(kind) => kind == Kind::Events,
        Wanted::Listed => layers
            .get(&catalogue::RESOURCES)
            .is_some_and(|given| given.values.iter().any(|value| value == "all" || value == Kind::Events.name())),
    }
}

#[cfg(test)]
mod tests;
