//! What the status page may know of a pipeline: its settings without secrets, and its records without what it redacts.

use std::sync::Arc;

use crate::{
    config::{Pipeline, Shared},
    coordinator, program,
    source::{Source, Start},
    telemetry::{Board, Outline, Tap},
};

/// A short account of the settings.
pub(super) fn of(pipeline: &Pipeline, shared: &Shared) -> Outline {
    let stages = &pipeline.stages;
    let addresses: Vec<_> = shared.nomad.addresses.iter().map(ToString::to_string).collect();
    let mut settings = vec![
        ("Nomad", addresses.join(", ")),
        ("Namespaces", pipeline.namespaces.join(", ")),
        ("Source", source(shared).to_owned()),
        ("Sink", pipeline.sink.name().to_owned()),
        ("Coordinator", coordinator(&pipeline.coordinator)),
        ("Dead letters", pipeline.dead_letter.to_string()),
        ("First start", start(pipeline.start)),
        ("Checkpoint every", format!("{:?}", pipeline.checkpoint_interval)),
        ("Longest pause between tries", format!("{:?}", pipeline.retry_max)),
    ];
    let program = stages.program.as_ref();
    let of_stages = [
        (program.is_some_and(|program| program.jq.is_some()), "a jq program"),
        (program.is_some_and(|program| !program.redact.is_empty()), "redaction"),
        (stages.rules.is_some(), "counting rules"),
        (stages.digest.is_some(), "summaries"),
    ];
    let stages: Vec<_> = of_stages.iter().filter_map(|(is_set, name)| is_set.then_some(*name)).collect();
    if !stages.is_empty() {
        settings.push(("Stages", stages.join(", ")));
    }
    Outline { sink: pipeline.sink.name(), window_bytes: pipeline.max_in_flight as u64, settings }
}

/// Where the page sees the records of a pipeline. Nobody looks if there is no page.
pub(super) fn tap(pipeline: &Pipeline, shared: &Shared, board: &Board) -> Tap {
    if shared.listen.is_none() {
        return Tap::default();
    }
    let paths = pipeline.stages.program.as_ref().map(|program| program.redact.clone()).unwrap_or_default();
    let veil = (!paths.is_empty()).then(|| {
        let paths: Arc<[program::Path]> = paths.into();
        Arc::new(move |body: &[u8]| program::redacted(&paths, body)) as _
    });
    board.recent().tap(pipeline.name.as_ref().map(|name| name.as_str()), veil)
}

fn source(shared: &Shared) -> &'static str {
    match shared.polling.source {
        Source::Auto => "event stream, or lists where there is none",
        Source::Stream => "event stream alone",
        Source::Poll => "lists alone",
    }
}

/// Where leases and checkpoints are.
pub(super) fn coordinator(config: &coordinator::Config) -> String {
    match config {
        coordinator::Config::Consul(consul) => {
            format!("Consul, folder {}, lease {:?}", consul.client.folder, consul.lease)
        }
        coordinator::Config::Nomad(nomad) => {
            format!("Nomad Variables, folder {}, lease {:?}", nomad.place.folder, nomad.lease)
        }
        coordinator::Config::File { data_dir } => format!("files in {}", data_dir.display()),
        coordinator::Config::None => "none: nothing is stored, and each start is a first start".to_owned(),
    }
}

fn start(start: Start) -> String {
    match start {
        Start::All => "with everything that Nomad still has".to_owned(),
        Start::Now => "with events from now on".to_owned(),
        Start::Index(index) => format!("with events from raft index {index} on"),
    }
}
