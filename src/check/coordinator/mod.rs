//! Whether leases can be taken and checkpoints be stored, who leads, and whether what is stored belongs to this cluster.

mod consul;
mod directory;
mod nomad;
mod stored;

use futures_util::future::join_all;

use super::{clock::Clock, in_pipeline};
use crate::{
    cluster::Known,
    config::Pipeline,
    coordinator::{Config, NomadConfig, Storage},
    finding::Finding,
    nomad::{Client, Config as NomadClient},
};

/// Which cluster a run would read.
#[derive(Clone, Debug)]
pub(super) struct Here {
    /// What is known of it.
    pub(super) known: Known,
    /// Where its indexes are read.
    pub(super) client: Client,
}

/// Checks the coordinator of all pipelines once, and the leases and checkpoints of each.
pub(super) async fn check(
    pipelines: &[Pipeline],
    nomad: &NomadClient,
    here: Option<&Here>,
    clock: Clock,
) -> Vec<Finding> {
    // All pipelines share it, each in a folder of its own.
    let Some(first) = pipelines.first() else { return Vec::new() };
    match &first.coordinator {
        Config::None => {
            let text = "nothing is stored: each start is a first start, two replicas would send everything twice, and what happens \
                        while none runs can be lost";
            let fix = "set NOMAD_FIREHOSE_COORDINATOR to consul or nomad (replicas anywhere) or file (one machine)";
            vec![Finding::warning("coordinator", text, fix)]
        }
        Config::Consul(config) => {
            let (mut findings, client) = consul::reach(&config.client, clock).await;
            let Some(client) = client else {
                findings.push(Finding::skipped("consul rights", "Consul does not answer"));
                return findings;
            };
            let (session, folders, stored) = tokio::join!(
                consul::session(&client, config, clock),
                join_all(pipelines.iter().map(|pipeline| consul::folder(&client, pipeline, clock))),
                stored::check((pipelines, nomad), here, clock),
            );
            findings.push(session);
            findings.extend(folders);
            findings.extend(stored);
            findings
        }
        Config::Nomad(_) => {
            let Some(Here { client, .. }) = here else {
                return vec![Finding::skipped("nomad variables", "Nomad does not answer")];
            };
            let (mut findings, stored) = tokio::join!(
                join_all(pipelines.iter().map(|pipeline| nomad::variables(client, pipeline, clock))),
                stored::check((pipelines, nomad), here, clock),
            );
            findings.extend(stored);
            findings
        }
        Config::File { .. } => {
            let (mut findings, stored) = tokio::join!(
                join_all(pipelines.iter().map(|pipeline| directory::check(pipeline, clock))),
                stored::check((pipelines, nomad), here, clock),
            );
            findings.extend(stored);
            findings
        }
    }
}

/// Where a pipeline stores, and the variable that chooses it.
fn storage(pipeline: &Pipeline, nomad: &NomadClient) -> Option<(Storage, &'static str)> {
    match &pipeline.coordinator {
        Config::Consul(config) => {
            Some((Storage::Consul(Box::new(config.client.clone())), "NOMAD_FIREHOSE_CONSUL_PREFIX"))
        }
        Config::Nomad(NomadConfig { place, .. }) => {
            let (client, place) = (Box::new(nomad.clone()), place.clone());
            Some((Storage::Nomad { client, place }, "NOMAD_FIREHOSE_NOMAD_VAR_PREFIX"))
        }
        Config::File { data_dir } => Some((Storage::File { data_dir: data_dir.clone() }, "NOMAD_FIREHOSE_DATA_DIR")),
        Config::None => None,
    }
}
