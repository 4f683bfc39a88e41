//! Whether leases and checkpoints can be kept in Nomad's Variables.

use std::time::Duration;

use super::in_pipeline;
use crate::{
    check::clock::{Clock, Hang},
    config::Pipeline,
    coordinator::{Config, NomadConfig},
    finding::Finding,
    nomad::{Client, Error, Items, Place, Written},
    position::RaftIndex,
};

/// The deadline of each call.
const WITHIN: Duration = Duration::from_secs(3);

pub(super) const HANG: Hang = Hang { who: "Nomad", fix: "check the agent and its servers (NOMAD_ADDR)" };

/// Writes a Variable of its own in the folder, reads it, lists it and deletes it.
pub(super) async fn variables(client: &Client, pipeline: &Pipeline, clock: Clock) -> Finding {
    let Config::Nomad(NomadConfig { place, .. }) = &pipeline.coordinator else {
        return Finding::skipped("nomad variables", "another coordinator");
    };
    let what = in_pipeline(pipeline, "nomad variables");
    let check = async {
        match try_all(client, place).await {
            Ok(()) => Finding::ok(&what, format!("{} in namespace {} can be written", place.folder, place.namespace)),
            Err(error) => Finding::of_error(&what, error),
        }
    };
    clock.timed(&what, HANG, check).await
}

async fn try_all(client: &Client, place: &Place) -> Result<(), Error> {
    let path = format!("{}/check-{:016x}", place.folder, fastrand::u64(..));
    let items = Items::from([("from".to_owned(), "nomad-firehose check".to_owned())]);
    let written = client.put_variable(place, &path, (&items, RaftIndex(0)), WITHIN).await?;
    let read = async {
        client.variable(place, &path, None, WITHIN).await?;
        client.variables(place, &path, WITHIN).await
    };
    let read = read.await;
    let Written::Done(index) = written else { return read.map(drop) };
    // Nobody else knows its name.
    client.delete_variable(place, &path, index, WITHIN).await.map(drop)?;
    read.map(drop)
}
