//! Checks the given values and builds [`Settings`] from them. Pure, and reports all problems at once.

mod commands;

use std::{path::PathBuf, time::Duration};

pub(super) use self::commands::{validate_listen, validate_outlet, validate_state, validate_tail, validate_trial};
use super::{
    Fixed, Given, Pipeline, Settings, Shared, Stages, Wanted, catalogue, consul, names, nomad,
    values::{dead_letter, folder, format, label, level, listen, namespace_name, source, start, topic, variables},
};
use crate::{
    coordinator::{self, NomadConfig},
    digest, envelope,
    kind::Kind,
    nomad::{Place, Topic},
    program, rules,
    settings::{
        Broken, ByteSize, Environment, Layers, Origin, PipelineName, Problem, Problems, Reader, Setting, Warning,
        add_new, between, duration, nearest,
    },
    sink::{self, Chosen, Kinds},
    source::Polling,
    telemetry::Log,
};

/// The kinds that polling can carry.
const POLLED: [Kind; 6] =
    [Kind::Allocations, Kind::Nodes, Kind::Evaluations, Kind::Jobs, Kind::JobListStubs, Kind::Deployments];

/// The shortest interval between repeated actions, and the longest that a stop or a pause may take.
const SHORT: Duration = Duration::from_millis(100);
const TEN_MINUTES: Duration = Duration::from_secs(600);

pub(super) fn validate(
    wanted: Wanted,
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
) -> Result<(Settings, Vec<Warning>), Problems> {
    all_or_problems(layers, environment, problems, |reader| settings(wanted, reader, environment))
}

fn all_or_problems<T>(
    layers: &Layers,
    environment: &Environment<'_>,
    problems: Vec<Problem>,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Broken>,
) -> Result<(T, Vec<Warning>), Problems> {
    let mut reader = Reader::new(layers, problems, names::unknown_variables(environment));
    let read = read(&mut reader);
    let Reader { mut problems, warnings, .. } = reader;
    match read {
        Ok(settings) if problems.is_empty() => Ok((settings, warnings)),
        // A misspelt variable can be why another one is missing.
        _ => {
            problems.extend(warnings.iter().filter_map(Warning::problem));
            Err(Problems(problems))
        }
    }
}

/// Reads every setting before it gives up, so that it notes all problems.
fn settings(wanted: Wanted, reader: &mut Reader<'_>, environment: &Environment<'_>) -> Result<Settings, Broken> {
    let shared = shared(reader, environment);
    let layers = reader.layers;
    let names: Vec<_> = layers.pipelines().cloned().collect();
    if names.is_empty() {
        let pipeline = pipeline(None, wanted, reader, environment);
        return Ok(Settings { shared: shared?, pipelines: vec![pipeline?] });
    }
    if let Wanted::One(kind) = wanted {
        let given = layers.get(&catalogue::CONFIG).map(|given| given.origin.place(&catalogue::CONFIG));
        let what = format!("it has [pipeline] tables, and {kind} carries one kind; use `nomad-firehose run`");
        reader.problems.push(Problem::new(given.unwrap_or_default(), None, what));
    }
    let (mut pipelines, mut targets) = (Vec::new(), Vec::new());
    for name in names {
        let given = layers.of_pipeline(&name);
        let mut own = Reader::new(&given, Vec::new(), Vec::new());
        let pipeline = pipeline(Some(name), Wanted::Listed, &mut own, environment);
        targets.extend(pipeline.iter().map(|pipeline| given.texts_of(pipeline.sink.definition().settings)));
        pipelines.push(pipeline);
        // What is wrong with a setting above the tables is wrong for each of them.
        let Reader { problems, warnings, .. } = own;
        add_new(&mut reader.problems, problems);
        warnings.into_iter().for_each(|warning| reader.warn(warning));
    }
    let pipelines = pipelines.into_iter().collect::<Result<Vec<_>, _>>()?;
    let printing: Vec<_> = pipelines.iter().filter(|pipeline| pipeline.sink.name() == "stdout").collect();
    if let [_, second, ..] = printing.as_slice() {
        let name = second.name.as_ref().map(PipelineName::as_str).unwrap_or_default();
        let what =
            "only one pipeline can write to standard output, where lines of several would mix; choose another sink";
        reader.problems.push(Problem::new(format!("sink-type of [pipeline.{name}] (SINK_TYPE)"), Some("stdout"), what));
    }
    shared_targets(&pipelines, &targets, reader);
    Ok(Settings { shared: shared?, pipelines })
}

/// Warns of pipelines that write the same records to a target that drops repeats. `targets` are the settings of their sinks.
fn shared_targets<T: PartialEq>(pipelines: &[Pipeline], targets: &[T], reader: &mut Reader<'_>) {
    let all: Vec<_> = pipelines.iter().zip(targets).filter(|(pipeline, _)| pipeline.sink.drops_repeats()).collect();
    for (place, (first, target)) in all.iter().enumerate() {
        for (second, other) in &all[place + 1..] {
            let is_one = first.sink.name() == second.sink.name() && target == other;
            let kind = first.kinds.iter().find(|kind| second.kinds.contains(kind));
            if let (true, true, Some(kind)) = (is_one, share_namespaces(first, second), kind) {
                let name = |pipeline: &Pipeline| pipeline.name.as_ref().map(ToString::to_string).unwrap_or_default();
                reader.warn(Warning::SharedTarget { first: name(first), second: name(second), kind: kind.name() });
            }
        }
    }
}

fn share_namespaces(first: &Pipeline, second: &Pipeline) -> bool {
    let is_every = |names: &[String]| names.is_empty() || names.iter().any(|name| name == "*");
    let (first, second) = (&first.namespaces, &second.namespaces);
    is_every(first) || is_every(second) || first.iter().any(|name| second.contains(name))
}

/// The settings of the program as a whole.
fn shared(reader: &mut Reader<'_>, environment: &Environment<'_>) -> Result<Shared, Broken> {
    let nomad = nomad::read(reader, environment);
    let polling = polling(reader);
    let shutdown_grace = shutdown_grace(reader);
    let cluster = reader.optional(&catalogue::CLUSTER, label);
    let listen = reader.optional(&catalogue::LISTEN, listen);
    let level = reader.value(&catalogue::LOG_LEVEL, level);
    let format = reader.value(&catalogue::LOG_FORMAT, format);
    let is_of_pipelines = |setting: &Setting| catalogue::OF_PIPELINES.iter().any(|own| own.flag == setting.flag);
    let all: Vec<_> = catalogue::ALL.iter().copied().filter(|setting| !is_of_pipelines(setting)).collect();
    Ok(Shared {
        nomad: nomad?,
        polling: polling?,
        shutdown_grace: shutdown_grace?,
        cluster,
        listen,
        log: Log { level: level?, format: format? },
        given: Given(reader.layers.texts_of(&all)),
        fixed: Fixed(reader.layers.only(&catalogue::fixed())),
    })
}

/// The settings of one pipeline.
fn pipeline(
    name: Option<PipelineName>,
    wanted: Wanted,
    reader: &mut Reader<'_>,
    environment: &Environment<'_>,
) -> Result<Pipeline, Broken> {
    let kinds = kinds(wanted, name.as_ref(), reader);
    let topics = reader.list(&catalogue::TOPIC, topic);
    poll_carries(&kinds, reader);
    let namespaces = namespaces(reader, environment);
    let lease = reader.value(&catalogue::LEASE, duration(Duration::from_secs(1), Duration::from_secs(60)));
    let coordinator = coordinator(reader, environment, lease);
    let standby_buffer = reader.value(&catalogue::STANDBY_BUFFER, between(ByteSize::new(0), ByteSize::new(2 << 30)));
    let hour = Duration::from_secs(60 * 60);
    let checkpoint_interval = reader.value(&catalogue::CHECKPOINT_INTERVAL, duration(SHORT, hour));
    let start = reader.value(&catalogue::START, start);
    let index_file = index_file(&kinds, name.is_some(), &coordinator, reader);
    let max_in_flight = max_in_flight(reader);
    let retry_max = retry_max(reader);
    let sink = sink(reader, &|_| kinds.clone());
    let stages = stages(reader, sink.as_ref().ok());
    if let (Ok(sink), Ok(window)) = (&sink, &max_in_flight) {
        gathered(reader, sink, *window);
    }
    let dead_letter = reader.value(&catalogue::DEAD_LETTER, dead_letter).map(|place| match &name {
        Some(name) if !is_own(&catalogue::DEAD_LETTER, reader) => place.of_pipeline(name),
        _ => place,
    });

    if kinds.contains(&Kind::Events) {
        let unknown = topics.iter().filter(|topic| !names::TOPICS.contains(&topic.name.as_str()));
        for Topic { name, .. } in unknown {
            reader.warn(Warning::UnknownTopic { topic: name.clone(), nearest: nearest(name, names::TOPICS) });
        }
    }
    let own_variables = coordinator.as_ref().ok().and_then(coordinator::Config::own_variables);
    let coordinator = coordinator.map(|coordinator| match &name {
        Some(name) => coordinator.of_pipeline(name),
        None => coordinator,
    });
    Ok(Pipeline {
        name,
        kinds,
        topics,
        namespaces,
        coordinator: coordinator?,
        own_variables,
        standby_buffer: usize::try_from(standby_buffer?.bytes()).map_err(|_| Broken)?,
        checkpoint_interval: checkpoint_interval?,
        start: start?,
        index_file,
        max_in_flight: max_in_flight?,
        retry_max: retry_max?,
        stages: stages?,
        sink: sink?,
        dead_letter: dead_letter?,
        given: Given(reader.layers.texts_of(&catalogue::OF_PIPELINES)),
    })
}

/// The settings of the stages between source and delivery.
fn stages(reader: &mut Reader<'_>, sink: Option<&Chosen>) -> Result<Stages, Broken> {
    let program = program::settings::read(reader);
    let rules = rules::settings::read(reader);
    let envelope = envelope::settings::read(reader);
    if let (Ok(form), Some(sink)) = (&envelope, sink) {
        envelope::settings::check(reader, *form, sink);
    }
    let digest = digest::settings::read(reader);
    let is_for_people = sink.is_some_and(|sink| sink.definition().is_for_people);
    Ok(Stages { program: program?, rules: rules?, envelope: envelope?, digest: digest?.filter(|_| is_for_people) })
}

/// Notes a sink that gathers more than half of the window: the other half is what is read meanwhile, and a line in the window is larger
/// than its records.
fn gathered(reader: &mut Reader<'_>, sink: &Chosen, window: usize) {
    let Some((variable, bytes)) = sink.gathers().filter(|(_, bytes)| *bytes > window / 2) else { return };
    let size = |bytes: usize| ByteSize::new(bytes as u64);
    let what = format!(
        "a batch of {} does not fill while only {} may be in flight; set NOMAD_FIREHOSE_MAX_IN_FLIGHT to {} or more, or \
         {variable} to {} or less",
        size(bytes),
        size(window),
        size(2 * bytes),
        size(window / 2),
    );
    reader.wrong(&catalogue::MAX_IN_FLIGHT, what);
}

/// Whether the table of a pipeline has this setting itself.
fn is_own(setting: &Setting, reader: &Reader<'_>) -> bool {
    reader.layers.get(setting).is_some_and(|given| matches!(given.origin, Origin::Pipeline(..)))
}

/// Notes where only lists are read, and `kinds` has one that no list holds.
fn poll_carries(kinds: &[Kind], reader: &mut Reader<'_>) {
    if reader.text(&catalogue::SOURCE) != Some("poll") || !kinds.contains(&Kind::Events) {
        return;
    }
    let others = kinds.iter().filter(|kind| **kind != Kind::Events);
    let others =
        if kinds.len() > 1 { others.map(|kind| kind.name()).collect() } else { POLLED.map(Kind::name).to_vec() };
    let what =
        format!("lists have no raw events; use auto, or carry other kinds (run --resources {})", others.join(","));
    reader.wrong(&catalogue::SOURCE, what);
}

/// Where records come from, and how lists are read.
fn polling(reader: &mut Reader<'_>) -> Result<Polling, Broken> {
    let source = reader.value(&catalogue::SOURCE, source);
    let interval = reader.value(&catalogue::POLL_INTERVAL, duration(SHORT, TEN_MINUTES));
    let stale = reader.optional(&catalogue::STALE, duration(SHORT, TEN_MINUTES));
    Ok(Polling { source: source?, interval: interval?, stale })
}

fn max_in_flight(reader: &mut Reader<'_>) -> Result<usize, Broken> {
    let size = reader.value(&catalogue::MAX_IN_FLIGHT, between(ByteSize::new(64 << 10), ByteSize::new(2 << 30)))?;
    usize::try_from(size.bytes()).map_err(|_| Broken)
}

fn shutdown_grace(reader: &mut Reader<'_>) -> Result<Duration, Broken> {
    reader.value(&catalogue::SHUTDOWN_GRACE, duration(SHORT, TEN_MINUTES))
}

fn retry_max(reader: &mut Reader<'_>) -> Result<Duration, Broken> {
    reader.value(&catalogue::RETRY_MAX, duration(SHORT, TEN_MINUTES))
}

fn kinds(wanted: Wanted, pipeline: Option<&PipelineName>, reader: &mut Reader<'_>) -> Vec<Kind> {
    if let Wanted::One(kind) = wanted {
        return vec![kind];
    }
    if reader.layers.get(&catalogue::RESOURCES).is_none() {
        let what = match pipeline {
            Some(name) => {
                format!("[pipeline.{name}] names no kinds to carry; write resources = [\"allocations\"] into it")
            }
            None => "run has no default; name the kinds to carry, such as allocations,jobs, or all".to_owned(),
        };
        reader.missing(&catalogue::RESOURCES, what);
        return Vec::new();
    }
    let named = reader.list(&catalogue::RESOURCES, |text| match text {
        "all" => Ok(None),
        name => name.parse::<Kind>().map(Some).map_err(|_| {
            let names = Kind::ALL.iter().map(|kind| kind.name()).chain(["all"]);
            let nearest = nearest(name, names.clone()).map(|nearest| format!(", did you mean {nearest}?"));
            format!("no such kind{}; choose from {}", nearest.unwrap_or_default(), names.collect::<Vec<_>>().join(", "))
        }),
    });
    let wanted = |kind: &Kind| named.contains(&Some(*kind)) || named.contains(&None);
    Kind::ALL.into_iter().filter(wanted).collect()
}

fn namespaces(reader: &mut Reader<'_>, environment: &Environment<'_>) -> Vec<String> {
    let namespaces = reader.list(&catalogue::NOMAD_NAMESPACE, |text| match text {
        "*" => Ok(text.to_owned()),
        _ => namespace_name(text),
    });
    if namespaces.len() > 1 && namespaces.iter().any(|name| name == "*") {
        reader.wrong(&catalogue::NOMAD_NAMESPACE, "* already means every namespace; write * alone, or only names");
    }
    let by_variable = reader.layers.get(&catalogue::NOMAD_NAMESPACE).is_some_and(|it| it.origin == Origin::Variable);
    if let [only] = namespaces.as_slice()
        && by_variable
        && only != "*"
        && environment.get("NOMAD_ALLOC_ID").is_some()
    {
        reader.warn(Warning::InjectedNamespace { namespace: only.clone() });
    }
    namespaces
}

fn coordinator(
    reader: &mut Reader<'_>,
    environment: &Environment<'_>,
    lease: Result<Duration, Broken>,
) -> Result<coordinator::Config, Broken> {
    const NAMES: [&str; 5] = ["consul", "nomad", "file", "none", "auto"];
    let given = reader.text(&catalogue::COORDINATOR).is_some();
    let name = reader.optional(&catalogue::COORDINATOR, |text| {
        NAMES.into_iter().find(|name| *name == text).ok_or_else(|| {
            let nearest = nearest(text, NAMES);
            let nearest = nearest.map(|nearest| format!(", did you mean {nearest}?")).unwrap_or_default();
            format!("no such coordinator{nearest}; choose consul, nomad, file, none or auto")
        })
    });
    let data_dir = reader.optional(&catalogue::DATA_DIR, |text| Ok::<_, String>(PathBuf::from(text)));
    let folder = reader.value(&catalogue::CONSUL_PREFIX, folder);
    let variables = reader.value(&catalogue::NOMAD_VAR_PREFIX, variables);
    let namespace = reader.value(&catalogue::NOMAD_VAR_NAMESPACE, namespace_name);
    let name = match name.or(if given { None } else { catalogue::COORDINATOR.default }) {
        Some("auto") => Some(automatic(reader, environment)),
        name => name,
    };
    match (name, data_dir) {
        // Only the Consul coordinator reads Consul's variables: an environment can have them for other programs.
        (Some("consul"), _) => {
            consul::read(reader, folder, lease).map(|consul| coordinator::Config::Consul(Box::new(consul)))
        }
        (Some("nomad"), _) => {
            let place = Place { folder: variables?, namespace: namespace? };
            folder.and(lease).map(|lease| coordinator::Config::Nomad(NomadConfig { place, lease }))
        }
        (Some("none"), _) => folder.and(lease).map(|_| coordinator::Config::None),
        (Some(_), Some(data_dir)) => folder.and(lease).map(|_| coordinator::Config::File { data_dir }),
        (Some(_), None) => {
            if reader.text(&catalogue::DATA_DIR).is_none() {
                reader.missing(
                    &catalogue::DATA_DIR,
                    "the file coordinator needs a directory for its checkpoints; name one",
                );
            }
            Err(Broken)
        }
        (None, _) => Err(Broken),
    }
}

/// The coordinator of `auto`. A task of Nomad whose operator says nothing of Consul has no other place that all replicas reach.
fn automatic(reader: &Reader<'_>, environment: &Environment<'_>) -> &'static str {
    let mut of_consul = catalogue::ALL.iter().filter(|setting| setting.flag.starts_with("consul-"));
    let has_consul = of_consul.any(|setting| reader.layers.get(setting).is_some());
    if !has_consul && environment.get("NOMAD_ALLOC_ID").is_some() { "nomad" } else { "consul" }
}

/// The index file of nomad-events-sink, which has the raw events of one subscription.
fn index_file(
    kinds: &[Kind],
    is_named: bool,
    coordinator: &Result<coordinator::Config, Broken>,
    reader: &mut Reader<'_>,
) -> Option<PathBuf> {
    let path = reader.optional(&catalogue::INDEX_FILE, |text| Ok::<_, String>(PathBuf::from(text)))?;
    if is_named || !kinds.contains(&Kind::Events) {
        let what = "only `events` without [pipeline] tables has an index file; carry `events`, or leave it out";
        reader.wrong(&catalogue::INDEX_FILE, what);
    }
    if let Ok(coordinator::Config::None) = coordinator {
        let what = "it follows the checkpoint, and the coordinator none stores none; choose file or consul";
        reader.wrong(&catalogue::INDEX_FILE, what);
    }
    Some(path)
}

fn sink(reader: &mut Reader<'_>, kinds: Kinds<'_>) -> Result<Chosen, Broken> {
    sink::registry::read(&catalogue::SINK_TYPE, reader, kinds)
}

#[cfg(test)]
mod tests;
