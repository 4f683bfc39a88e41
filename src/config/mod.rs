//! The configuration: flags, environment variables and a file become [`Settings`], or all their problems.
//!
//! Start at [`load`]. [`catalogue`] names every setting once. Each component has its own type of settings; the ones here only put
//! these together. Sinks declare and read their own settings, see [`crate::sink::SINKS`].

pub mod catalogue;
mod consul;
pub mod effective;
mod exposure;
mod names;
mod nomad;
mod nomad_events_sink;
pub mod reference;
mod validate;
mod values;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};

pub use crate::settings::{Environment, Flags, PipelineName, Problem, Problems, Warning};
use crate::{
    coordinator::{self, OwnVariables},
    dead_letter::Place,
    digest, envelope,
    kind::Kind,
    nomad::{Config as Nomad, Topic},
    program, rules,
    settings::{File, InvalidName, Layers, Setting},
    sink::Chosen,
    source::{Polling, Start},
    telemetry::Log,
};

/// The resources that the subcommand asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One kind, named by the subcommand.
    One(Kind),
    /// `run`: the kinds that the resources setting names.
    Listed,
}

/// A valid configuration of a run. The files that it names have not been opened yet.
#[derive(Debug)]
pub struct Settings {
    /// What all pipelines share.
    pub shared: Shared,
    /// What to carry, and where to. At least one: the one without a name alone, or those of the configuration file, each with
    /// another name.
    pub pipelines: Vec<Pipeline>,
}

/// The settings of the program as a whole.
#[derive(Clone, Debug)]
pub struct Shared {
    /// How to reach Nomad.
    pub nomad: Nomad,
    /// Where records come from, and how lists are read.
    pub polling: Polling,
    /// How long a stop may take: 100 ms to 10 min.
    pub shutdown_grace: Duration,
    /// The label of this cluster.
    pub cluster: Option<String>,
    /// Where the status page and the metrics are served.
    pub listen: Option<SocketAddr>,
    /// The settings of the log.
    pub log: Log,
    /// What was given of the settings that no table of a pipeline can hold.
    given: Given,
    /// What was given of those that need a restart of the program.
    fixed: Fixed,
}

/// What was given of the settings that stay as they are until the program is restarted.
#[derive(Clone, Default)]
struct Fixed(Layers);

impl fmt::Debug for Fixed {
    /// Without the values: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fixed")
    }
}

/// What was given of some settings, to be compared when the file was read again.
#[derive(Clone, Default, PartialEq, Eq)]
struct Given(BTreeMap<&'static str, Vec<String>>);

impl Given {
    /// The settings that differ, in the order of the help.
    fn changed(&self, other: &Given) -> Vec<&'static Setting> {
        let differs = |setting: &&&'static Setting| self.0.get(setting.flag) != other.0.get(setting.flag);
        catalogue::ALL.iter().filter(differs).copied().collect()
    }
}

impl fmt::Debug for Given {
    /// Without the values: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

/// The settings of one pipeline.
#[derive(Debug)]
pub struct Pipeline {
    /// Its name; `None` without a table for it.
    pub name: Option<PipelineName>,
    /// The kinds to carry: at least one, each once, in the order of [`Kind::ALL`].
    pub kinds: Vec<Kind>,
    /// The topics that [`Kind::Events`] subscribes to: at least one.
    pub topics: Vec<Topic>,
    /// The namespaces whose events to carry: `*` alone, or names, each once.
    pub namespaces: Vec<String>,
    /// Which coordinator keeps leases and checkpoints, and where.
    pub coordinator: coordinator::Config,
    /// The Variables of all pipelines: `events` leaves out what is published of them. `None` unless Nomad coordinates.
    pub own_variables: Option<OwnVariables>,
    /// How many bytes of the stream a standby keeps, at most 2 GiB; 0 is none.
    pub standby_buffer: usize,
    /// How often the checkpoint is stored: 100 ms to 1 h.
    pub checkpoint_interval: Duration,
    /// Where the first start begins.
    pub start: Start,
    /// The index file of nomad-events-sink.
    pub index_file: Option<PathBuf>,
    /// How many bytes of events may be read and not yet delivered: 64 KiB to 2 GiB, so it fits 32 bits.
    pub max_in_flight: usize,
    /// The longest pause between two tries: 100 ms to 10 min.
    pub retry_max: Duration,
    /// What happens to records on the way.
    pub stages: Stages,
    /// Where records go.
    pub sink: Chosen,
    /// Where records go that the sink rejects.
    pub dead_letter: Place,
    /// What was given of the settings of pipelines.
    given: Given,
}

/// The settings of the stages between source and delivery. `None` where a stage has nothing to do.
#[derive(Clone, Debug)]
pub struct Stages {
    /// What filters and transforms records.
    pub program: Option<program::Config>,
    /// How many records of a group there have to be before one passes.
    pub rules: Option<rules::Config>,
    /// What goes around each record.
    pub envelope: envelope::Form,
    /// How messages for people are gathered into summaries; `None` for a sink that takes records.
    pub digest: Option<digest::Config>,
}

impl Pipeline {
    /// The topics that `kind` subscribes to.
    pub fn topics_of(&self, kind: Kind) -> Vec<Topic> {
        kind.topic().map_or_else(|| self.topics.clone(), |topic| vec![Topic::all(topic)])
    }

    /// The settings of its table, and those that it takes over from above the tables, that differ in `other`.
    pub fn changed(&self, other: &Pipeline) -> Vec<&'static Setting> {
        self.given.changed(&other.given)
    }
}

impl Shared {
    /// The settings that differ in `other`.
    pub fn changed(&self, other: &Shared) -> Vec<&'static Setting> {
        self.given.changed(&other.given)
    }

    /// Whether a configuration file was named.
    pub fn has_file(&self) -> bool {
        let files = [&catalogue::CONFIG, &catalogue::NOMAD_EVENTS_SINK_CONFIG];
        files.iter().any(|file| self.given.0.contains_key(file.flag))
    }
}

/// The settings of `state`: where checkpoints are stored. It needs no other setting of a run.
#[derive(Debug)]
pub struct State {
    /// The place.
    pub storage: coordinator::Storage,
    /// The cluster that the state is of, where it was asked for.
    pub cluster: Option<Reading>,
    /// The settings of the log.
    pub log: Log,
}

/// What a run reads, and from which cluster.
#[derive(Debug)]
pub struct Reading {
    /// How to reach Nomad.
    pub nomad: Nomad,
    /// The topics of [`Kind::Events`].
    pub topics: Vec<Topic>,
    /// The namespaces, if they were given.
    pub namespaces: Option<Vec<String>>,
}

/// The settings of a replay: a sink and what belongs to it. It needs no other setting of a run.
#[derive(Debug)]
pub struct Outlet {
    /// Where records go.
    pub sink: Chosen,
    /// The label of this cluster.
    pub cluster: Option<String>,
    /// How many bytes of records may be read and not yet delivered: 64 KiB to 2 GiB.
    pub max_in_flight: usize,
    /// How long a stop may take: 100 ms to 10 min.
    pub shutdown_grace: Duration,
    /// The longest pause between two tries: 100 ms to 10 min.
    pub retry_max: Duration,
    /// The settings of the log.
    pub log: Log,
}

/// The settings of `try`: a pipeline's programs, and how to read records for them. It needs no other setting of a run.
#[derive(Debug)]
pub struct Trial {
    /// The kinds of the pipeline; none if they are not named, which only records from standard input can be.
    pub kinds: Vec<Kind>,
    /// The topics of [`Kind::Events`].
    pub topics: Vec<Topic>,
    /// The namespaces to read.
    pub namespaces: Vec<String>,
    /// What filters and transforms records.
    pub program: Option<program::Config>,
    /// How to reach Nomad.
    pub nomad: Nomad,
    /// The label of this cluster.
    pub cluster: Option<String>,
    /// The name of the sink, if it takes messages for people.
    pub messenger: Option<&'static str>,
    /// The settings of the log.
    pub log: Log,
}

/// The settings of `tail`: how to read a cluster, and what of it. It needs no other setting of a run.
#[derive(Debug)]
pub struct Tail {
    /// The kinds to watch.
    pub kinds: Vec<Kind>,
    /// The topics of [`Kind::Events`].
    pub topics: Vec<Topic>,
    /// The namespaces to watch.
    pub namespaces: Vec<String>,
    /// How to reach Nomad.
    pub nomad: Nomad,
    /// Where records come from, and how lists are read.
    pub polling: Polling,
    /// The settings of the log.
    pub log: Log,
}

/// Reads the configuration file if one is named, lets variables and then flags override it, and checks the whole.
///
/// # Errors
/// All problems, at once.
pub fn load(
    wanted: Wanted,
    flags: &Flags,
    environment: &Environment<'_>,
) -> Result<(Settings, Vec<Warning>), Problems> {
    let (layers, problems) = gather(flags, environment);
    let valid = validate::validate(wanted, &layers, environment, problems);
    valid.map(|(settings, warnings)| (settings, with_exposure(&layers, warnings)))
}

/// As [`load`], for a check: of the pipeline with this name, or of all. Without a log level, only errors are logged.
///
/// # Errors
/// As [`load`]. A name that no pipeline has is a problem, too.
pub fn load_check(
    wanted: Wanted,
    pipeline: Option<&str>,
    flags: &Flags,
    environment: &Environment<'_>,
) -> Result<(Settings, Vec<Warning>), Problems> {
    let (layers, mut problems) = gather(flags, environment);
    let name = pipeline.and_then(|text| named(text, &mut problems));
    if let Some(name) = name.as_ref().filter(|name| !layers.pipelines().any(|known| known == *name)) {
        problems.push(Problem::new("--pipeline", Some(name.as_str()), no_such_pipeline(&layers)));
    }
    let (mut settings, warnings) = validate::validate(wanted, &layers, environment, problems)?;
    if layers.get(&catalogue::LOG_LEVEL).is_none() {
        settings.shared.log.level = tracing::Level::ERROR;
    }
    if name.is_some() {
        settings.pipelines.retain(|pipeline| pipeline.name == name);
    }
    Ok((settings, with_exposure(&layers, warnings)))
}

/// A configuration that was read again while the program runs.
#[derive(Debug)]
pub struct Reloaded {
    /// It, with the settings that need a restart as they were.
    pub settings: Settings,
    /// Values that are valid, and probably not intended.
    pub warnings: Vec<Warning>,
    /// The settings that differ, and stay as they were.
    pub ignored: Vec<&'static Setting>,
}

/// Reads the configuration of a run again. `running` is what it runs with.
///
/// # Errors
/// All problems, at once.
pub fn reload(
    wanted: Wanted,
    flags: &Flags,
    environment: &Environment<'_>,
    running: &Shared,
) -> Result<Reloaded, Problems> {
    let (mut layers, problems) = gather(flags, environment);
    // What would not start is a mistake, even where it is ignored.
    let (settings, warnings) = validate::validate(wanted, &layers, environment, problems)?;
    let warnings = with_exposure(&layers, warnings);
    let ignored = layers.hold(&catalogue::fixed(), &running.fixed.0);
    if ignored.is_empty() {
        return Ok(Reloaded { settings, warnings, ignored });
    }
    let (settings, warnings) = validate::validate(wanted, &layers, environment, Vec::new())?;
    Ok(Reloaded { settings, warnings: with_exposure(&layers, warnings), ignored })
}

/// As [`load`], but reads only the settings of [`State`]: that of the pipeline with this name, whether or not the file still has it.
/// `is_live` if Nomad will be asked.
///
/// # Errors
/// All problems with these, at once.
pub fn load_state(
    pipeline: Option<&str>,
    is_live: bool,
    flags: &Flags,
    environment: &Environment<'_>,
) -> Result<(State, Vec<Warning>), Problems> {
    let (mut layers, mut problems) = gather(flags, environment);
    let name = pipeline.and_then(|text| named(text, &mut problems));
    if let Some(name) = &name {
        layers = layers.of_pipeline(name);
    }
    let valid = validate::validate_state((name.as_ref(), is_live), &layers, environment, problems);
    valid.map(|(state, warnings)| (state, with_exposure(&layers, warnings)))
}

/// As [`load`], but reads only the settings of [`Tail`]. Tables of pipelines are not looked at.
///
/// # Errors
/// All problems with these, at once.
pub fn load_tail(flags: &Flags, environment: &Environment<'_>) -> Result<(Tail, Vec<Warning>), Problems> {
    let (layers, problems) = gather(flags, environment);
    let valid = validate::validate_tail(&layers, environment, problems);
    valid.map(|(tail, warnings)| (tail, with_exposure(&layers, warnings)))
}

/// As [`load`], but reads only where the status listener of a run is.
///
/// # Errors
/// All problems with that, at once. A missing address is one of them.
pub fn load_listen(flags: &Flags, environment: &Environment<'_>) -> Result<(SocketAddr, Vec<Warning>), Problems> {
    let (layers, problems) = gather(flags, environment);
    validate::validate_listen(&layers, environment, problems)
}

/// As [`load`], but reads only the settings of [`Outlet`]. A sink that needs to know the kinds of its records gets those of
/// `NOMAD_FIREHOSE_RESOURCES` if it is set, and otherwise what `kinds` returns, which is called only then.
///
/// # Errors
/// All problems with these, at once. A missing sink is one of them.
pub fn load_outlet(
    pipeline: Option<&str>,
    kinds: impl Fn() -> Vec<Kind>,
    flags: &Flags,
    environment: &Environment<'_>,
) -> Result<(Outlet, Vec<Warning>), Problems> {
    let (mut layers, mut problems) = gather(flags, environment);
    if let Some(name) = pipeline.and_then(|text| named(text, &mut problems)) {
        if !layers.pipelines().any(|known| *known == name) {
            problems.push(Problem::new("--pipeline", Some(name.as_str()), no_such_pipeline(&layers)));
        }
        layers = layers.of_pipeline(&name);
    }
    let valid = validate::validate_outlet(kinds, &layers, environment, problems);
    valid.map(|(outlet, warnings)| (outlet, with_exposure(&layers, warnings)))
}

/// As [`load`], but reads only the settings of [`Trial`]: those of the pipeline with this name, or of the only one.
/// `is_live` if the records are to be read from Nomad, so that the kinds have to be named.
///
/// # Errors
/// All problems with these, at once.
pub fn load_trial(
    pipeline: Option<&str>,
    is_live: bool,
    flags: &Flags,
    environment: &Environment<'_>,
) -> Result<(Trial, Vec<Warning>), Problems> {
    let (mut layers, mut problems) = gather(flags, environment);
    let names: Vec<_> = layers.pipelines().cloned().collect();
    let name = match (pipeline, &names[..]) {
        (Some(text), _) => named(text, &mut problems),
        (None, [only]) => Some(only.clone()),
        (None, []) => None,
        (None, _) => {
            let names: Vec<_> = names.iter().map(PipelineName::as_str).collect();
            let what = format!("the configuration file has several pipelines; choose one of {}", names.join(", "));
            problems.push(Problem::new("--pipeline", None, what));
            None
        }
    };
    if let Some(name) = name {
        if !names.contains(&name) {
            problems.push(Problem::new("--pipeline", Some(name.as_str()), no_such_pipeline(&layers)));
        }
        layers = layers.of_pipeline(&name);
    }
    let valid = validate::validate_trial(is_live, &layers, environment, problems);
    valid.map(|(trial, warnings)| (trial, with_exposure(&layers, warnings)))
}

fn with_exposure(layers: &Layers, mut warnings: Vec<Warning>) -> Vec<Warning> {
    let pipelines = layers.pipelines().map(|name| layers.of_pipeline(name)).collect::<Vec<_>>();
    if !layers.without_effect().is_empty() {
        warnings.push(Warning::WithoutEffect { keys: layers.without_effect().to_vec() });
    }
    for exposed in pipelines.iter().chain([layers]).flat_map(exposure::warnings) {
        if !warnings.contains(&exposed) {
            warnings.push(exposed);
        }
    }
    warnings
}

/// The name that a command was given; a wrong one is noted.
fn named(text: &str, problems: &mut Vec<Problem>) -> Option<PipelineName> {
    text.parse()
        .map_err(|error: InvalidName| problems.push(Problem::new("--pipeline", Some(text), error.to_string())))
        .ok()
}

fn no_such_pipeline(layers: &Layers) -> String {
    let names: Vec<_> = layers.pipelines().map(PipelineName::as_str).collect();
    if names.is_empty() {
        return "the configuration file has no [pipeline] table; leave out --pipeline".to_owned();
    }
    format!("no such pipeline; choose one of {}", names.join(", "))
}

/// The given values: flags override variables, and variables override the file. Below all of these is the configuration of
/// nomad-events-sink.
fn gather(flags: &Flags, environment: &Environment<'_>) -> (Layers, Vec<Problem>) {
    let (mut layers, mut problems) = (Layers::default(), Vec::new());
    layers.flags(flags, &mut problems);
    layers.variables(&catalogue::ALL, environment, &mut problems);
    if let Some((path, text)) = named_file(&mut layers, &catalogue::CONFIG, &mut problems) {
        let (path, text, settings) = (path.as_ref(), text.as_str(), catalogue::of_files());
        let file = File { path, text, settings: &settings, of_pipelines: &catalogue::OF_PIPELINES, environment };
        layers.file(&file, &mut problems);
    }
    if let Some((path, text)) = named_file(&mut layers, &catalogue::NOMAD_EVENTS_SINK_CONFIG, &mut problems) {
        nomad_events_sink::add(&mut layers, path.as_ref(), &text, environment, &mut problems);
    }
    (layers, problems)
}

/// The file that a setting names, and its text.
fn named_file(layers: &mut Layers, setting: &Setting, problems: &mut Vec<Problem>) -> Option<(String, String)> {
    let named = layers.get(setting)?;
    let [path] = named.values.as_slice() else { return None };
    match std::fs::read_to_string(path) {
        Ok(text) => Some((path.clone(), text)),
        Err(error) => {
            let what = format!("cannot read the file: {error}; name a TOML file that this program may read");
            problems.push(Problem::new(named.origin.place(setting), Some(path), what));
            layers.lacks_a_file();
            None
        }
    }
}
