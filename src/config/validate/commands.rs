//! The settings of the commands beside a run: `state`, `dead-letters replay`, `try`, `tail` and `health`. What they have in common with a run
//! is read as a run reads it.

use std::{net::SocketAddr, time::Duration};

use super::{
    all_or_problems, coordinator, kinds, max_in_flight, namespaces, poll_carries, polling, retry_max, shutdown_grace,
    sink,
};
use crate::{
    config::{
        Outlet, Reading, State, Tail, Trial, Wanted, catalogue, nomad,
        values::{format, label, level, listen, topic},
    },
    coordinator::{Config, NomadConfig, Storage},
    kind::Kind,
    program,
    settings::{Broken, Environment, Layers, PipelineName, Problem, Problems, Reader, Warning},
    sink::SINKS,
    telemetry::Log,
};

/// The kinds that `tail` shows if none are named.
const WATCHED: [Kind; 5] = [Kind::Allocations, Kind::Nodes, Kind::Evaluations, Kind::Jobs, Kind::Deployments];

/// `asked` is the pipeline, and whether Nomad will be asked.
pub(in crate::config) fn validate_state(
    asked: (Option<&PipelineName>, bool),
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
) -> Result<(State, Vec<Warning>), Problems> {
    all_or_problems(layers, environment, problems, |reader| state(asked, reader, environment))
}

pub(in crate::config) fn validate_outlet(
    kinds: impl Fn() -> Vec<Kind>,
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
) -> Result<(Outlet, Vec<Warning>), Problems> {
    all_or_problems(layers, environment, problems, |reader| outlet(kinds, reader))
}

pub(in crate::config) fn validate_trial(
    is_live: bool,
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
) -> Result<(Trial, Vec<Warning>), Problems> {
    all_or_problems(layers, environment, problems, |reader| trial(is_live, reader, environment))
}

pub(in crate::config) fn validate_tail(
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
) -> Result<(Tail, Vec<Warning>), Problems> {
    all_or_problems(layers, environment, problems, |reader| tail(reader, environment))
}

/// The address that `health` asks.
pub(in crate::config) fn validate_listen(
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
) -> Result<(SocketAddr, Vec<Warning>), Problems> {
    all_or_problems(layers, environment, problems, |reader| {
        let address = reader.optional(&catalogue::LISTEN, listen);
        if address.is_none() && layers.get(&catalogue::LISTEN).is_none() {
            let what = "without it, the program serves nothing that could be asked; set it as for the run";
            reader.missing(&catalogue::LISTEN, what.to_owned());
        }
        address.ok_or(Broken)
    })
}

/// The settings of [`State`] alone.
fn state(
    (pipeline, is_live): (Option<&PipelineName>, bool),
    reader: &mut Reader<'_>,
    environment: &Environment<'_>,
) -> Result<State, Broken> {
    // A command that works on stored checkpoints holds no lease.
    let coordinator = coordinator(reader, environment, Ok(Duration::ZERO));
    let level = reader.value(&catalogue::LOG_LEVEL, level);
    let format = reader.value(&catalogue::LOG_FORMAT, format);
    let is_nomad = matches!(coordinator, Ok(Config::Nomad(_)));
    let cluster = (is_live || is_nomad).then(|| reading(reader, environment)).transpose();
    let coordinator = match pipeline {
        Some(name) => coordinator?.of_pipeline(name),
        None => coordinator?,
    };
    let storage = match coordinator {
        Config::Consul(config) => Storage::Consul(Box::new(config.client)),
        Config::Nomad(NomadConfig { place, .. }) => {
            let Ok(Some(cluster)) = &cluster else { return Err(Broken) };
            Storage::Nomad { client: Box::new(cluster.nomad.clone()), place }
        }
        Config::File { data_dir } => Storage::File { data_dir },
        Config::None => {
            reader.wrong(&catalogue::COORDINATOR, "none stores no state; name the coordinator of the run");
            return Err(Broken);
        }
    };
    Ok(State { storage, cluster: cluster?, log: Log { level: level?, format: format? } })
}

/// What a run reads.
fn reading(reader: &mut Reader<'_>, environment: &Environment<'_>) -> Result<Reading, Broken> {
    let topics = reader.list(&catalogue::TOPIC, topic);
    let given = reader.layers.get(&catalogue::NOMAD_NAMESPACE).is_some();
    let namespaces = given.then(|| namespaces(reader, environment));
    Ok(Reading { nomad: nomad::read(reader, environment)?, topics, namespaces })
}

/// The settings of [`Outlet`] alone.
fn outlet(kinds: impl Fn() -> Vec<Kind>, reader: &mut Reader<'_>) -> Result<Outlet, Broken> {
    // The default would print the records and count them as delivered.
    if reader.layers.get(&catalogue::SINK_TYPE).is_none() {
        reader.missing(&catalogue::SINK_TYPE, "a replay has no default sink; name the sink and set its settings");
    }
    let sink = sink(reader, &|reader| match reader.layers.get(&catalogue::RESOURCES) {
        Some(_) => self::kinds(Wanted::Listed, None, reader),
        None => kinds(),
    });
    let cluster = reader.optional(&catalogue::CLUSTER, label);
    let max_in_flight = max_in_flight(reader);
    let shutdown_grace = shutdown_grace(reader);
    let retry_max = retry_max(reader);
    let level = reader.value(&catalogue::LOG_LEVEL, level);
    let format = reader.value(&catalogue::LOG_FORMAT, format);
    Ok(Outlet {
        sink: sink?,
        cluster,
        max_in_flight: max_in_flight?,
        shutdown_grace: shutdown_grace?,
        retry_max: retry_max?,
        log: Log { level: level?, format: format? },
    })
}

/// The settings of [`Trial`] alone.
fn trial(is_live: bool, reader: &mut Reader<'_>, environment: &Environment<'_>) -> Result<Trial, Broken> {
    let kinds = match reader.layers.get(&catalogue::RESOURCES) {
        None if !is_live => Vec::new(),
        _ => kinds(Wanted::Listed, None, reader),
    };
    let topics = reader.list(&catalogue::TOPIC, topic);
    let namespaces = namespaces(reader, environment);
    let program = program::settings::read(reader);
    let nomad = nomad::read(reader, environment);
    let cluster = reader.optional(&catalogue::CLUSTER, label);
    // What a program does wrong is shown with its record.
    let level = match reader.layers.get(&catalogue::LOG_LEVEL) {
        Some(_) => reader.value(&catalogue::LOG_LEVEL, level),
        None => Ok(tracing::Level::ERROR),
    };
    let format = reader.value(&catalogue::LOG_FORMAT, format);
    // Nothing is sent, so the settings of the sink may be missing.
    let sink = reader.text(&catalogue::SINK_TYPE).unwrap_or_default();
    let messenger = SINKS.iter().find(|known| known.name == sink);
    let messenger = messenger.filter(|known| known.definition.is_some_and(|definition| definition.is_for_people));
    let messenger = messenger.map(|known| known.name);
    Ok(Trial {
        kinds,
        topics,
        namespaces,
        program: program?,
        nomad: nomad?,
        cluster,
        messenger,
        log: Log { level: level?, format: format? },
    })
}

/// The settings of [`Tail`] alone.
fn tail(reader: &mut Reader<'_>, environment: &Environment<'_>) -> Result<Tail, Broken> {
    let kinds = match reader.layers.get(&catalogue::RESOURCES) {
        None => WATCHED.to_vec(),
        Some(_) => kinds(Wanted::Listed, None, reader),
    };
    poll_carries(&kinds, reader);
    let topics = reader.list(&catalogue::TOPIC, topic);
    let namespaces = namespaces(reader, environment);
    let nomad = nomad::read(reader, environment);
    let polling = polling(reader);
    // What happens to the connection is shown in words of its own.
    let level = match reader.layers.get(&catalogue::LOG_LEVEL) {
        Some(_) => reader.value(&catalogue::LOG_LEVEL, level),
        None => Ok(tracing::Level::ERROR),
    };
    let format = reader.value(&catalogue::LOG_FORMAT, format);
    // A job and its stub are the same news.
    let kinds = kinds.iter().copied().filter(|kind| *kind != Kind::JobListStubs || !kinds.contains(&Kind::Jobs));
    Ok(Tail {
        kinds: kinds.collect(),
        topics,
        namespaces,
        nomad: nomad?,
        polling: polling?,
        log: Log { level: level?, format: format? },
    })
}
