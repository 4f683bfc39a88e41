//! Which coordinator a run uses, and how it is built.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    Coordinator,
    consul::{Consul, Options, inspect::Folder},
    file::Directory,
    inspect::Inspector,
    nomad::{self, Nomad},
    none::Unshared,
    own::{OwnVariables, PIPELINES},
    turn::Turns,
};
use crate::{
    cluster::Known,
    consul,
    kind::Kind,
    nomad::{Client, Config as NomadClient, Error as NomadError, Place},
    settings::PipelineName,
    telemetry::{Metrics, Status},
};

/// Which coordinator keeps leases and checkpoints, with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// Consul: replicas anywhere.
    Consul(Box<ConsulConfig>),
    /// Variables of the Nomad cluster that is read: replicas anywhere.
    Nomad(NomadConfig),
    /// Files in a directory: replicas on one machine.
    File {
        /// The directory.
        data_dir: PathBuf,
    },
    /// Nothing is kept: one process, and each start is a first start.
    None,
}

/// The settings of the Consul coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsulConfig {
    /// How to reach Consul. Its folder is that of the keys.
    pub client: consul::Config,
    /// How long a leader may go without a heartbeat: 1 s to 60 s.
    pub lease: Duration,
    /// The session's TTL: 10 s to 24 h, and no shorter than the lease.
    pub session_ttl: Duration,
    /// Whether the session also ends when Consul's health checks find the agent's node dead.
    pub node_checks: bool,
}

/// The settings of the Nomad coordinator. Its client is that of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NomadConfig {
    /// Where the Variables are.
    pub place: Place,
    /// How long a leader may go without a heartbeat: 1 s to 60 s.
    pub lease: Duration,
}

/// A coordinator cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The client of Consul cannot be built.
    #[error(transparent)]
    Consul(#[from] consul::Error),
    /// The client of Nomad cannot be built.
    #[error(transparent)]
    Nomad(#[from] NomadError),
    /// The directory of the file coordinator cannot be used.
    #[error("cannot use NOMAD_FIREHOSE_DATA_DIR: {0}; name a directory that holds only files of this program")]
    Directory(String),
}

/// What a coordinator needs to know of the run.
#[derive(Debug)]
pub struct Run<'a> {
    /// How to reach Nomad.
    pub nomad: &'a NomadClient,
    /// What the run carries.
    pub kinds: &'a [Kind],
    /// Who this replica is, for people.
    pub holder: String,
    /// The cluster that this replica reads.
    pub cluster: Known,
    /// Where to count.
    pub metrics: Metrics,
    /// Where to report.
    pub status: Status,
    /// The name of the pipeline, and the turns that it takes with the others; `None` for the one without a name.
    pub pipeline: Option<(PipelineName, Turns)>,
}

impl Config {
    /// The place of a pipeline's own leases and checkpoints: a folder below that of the pipeline without a name.
    #[must_use]
    pub fn of_pipeline(self, name: &PipelineName) -> Self {
        match self {
            Config::Consul(mut config) => {
                config.client.folder = format!("{}/{PIPELINES}/{name}", config.client.folder);
                Config::Consul(config)
            }
            Config::Nomad(mut config) => {
                config.place.folder = format!("{}/{PIPELINES}/{name}", config.place.folder);
                Config::Nomad(config)
            }
            Config::File { data_dir } => Config::File { data_dir: data_dir.join(PIPELINES).join(name.as_str()) },
            Config::None => Config::None,
        }
    }

    /// The Variables of this coordinator and of those that [`Config::of_pipeline`] makes of it; `None` if Nomad does not coordinate.
    pub fn own_variables(&self) -> Option<OwnVariables> {
        match self {
            Config::Nomad(config) => Some(OwnVariables::below(config.place.clone())),
            Config::Consul(_) | Config::File { .. } | Config::None => None,
        }
    }

    /// Checks whether a coordinator for `kinds` can be built, and starts nothing.
    ///
    /// # Errors
    /// As [`Config::build`].
    pub fn check(&self, kinds: &[Kind]) -> Result<(), Unusable> {
        match self {
            Config::Consul(config) => Ok(consul::Client::new(config.client.clone()).map(drop)?),
            Config::File { data_dir } => {
                Directory::new(data_dir).check(kinds).map_err(|error| Unusable::Directory(error.to_string()))
            }
            Config::Nomad(_) | Config::None => Ok(()),
        }
    }

    /// Builds the coordinator, and starts its tasks.
    ///
    /// # Errors
    /// A certificate or the directory cannot be used.
    pub fn build(&self, run: Run<'_>) -> Result<Arc<dyn Coordinator>, Unusable> {
        let Run { nomad, kinds, holder, cluster, metrics, status, pipeline } = run;
        match self {
            Config::Consul(config) => {
                let client = consul::Client::new(config.client.clone())?;
                let options = Options {
                    prefix: config.client.folder.clone(),
                    lease: config.lease,
                    session_ttl: config.session_ttl,
                    node_checks: config.node_checks,
                    session_name: session_name(kinds, pipeline.as_ref().map(|(name, _)| name)),
                    holder,
                    cluster,
                    turns: pipeline.map(|(_, turns)| turns),
                };
                Ok(Arc::new(Consul::start(client, options, metrics, status)))
            }
            Config::Nomad(NomadConfig { place, lease }) => {
                // It has connections of its own: a list that takes long delays no heartbeat.
                let client = Client::new(nomad.clone())?;
                let turns = pipeline.map(|(_, turns)| turns);
                let options = nomad::Options { place: place.clone(), lease: *lease, holder, cluster, turns };
                Ok(Arc::new(Nomad::start(client, options, metrics, status)))
            }
            Config::File { data_dir } => {
                let directory = Directory::new(data_dir).of_cluster(cluster).shown_on(status);
                directory.check(kinds).map_err(|error| Unusable::Directory(error.to_string()))?;
                Ok(Arc::new(directory))
            }
            Config::None => Ok(Arc::new(Unshared)),
        }
    }
}

/// The original program names its sessions like this, and each of its processes carries one kind.
fn session_name(kinds: &[Kind], pipeline: Option<&PipelineName>) -> String {
    match kinds {
        _ if let Some(name) = pipeline => format!("nomad-firehose-{name}"),
        [kind] => format!("nomad-firehose-{}", kind.storage_name()),
        _ => "nomad-firehose".to_owned(),
    }
}

/// Where checkpoints are stored, for an operator who looks at them from outside of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Consul's KV store, in the folder of the client.
    Consul(Box<consul::Config>),
    /// Nomad's Variables.
    Nomad {
        /// How to reach Nomad.
        client: Box<NomadClient>,
        /// Where the Variables are.
        place: Place,
    },
    /// Files in a directory.
    File {
        /// The directory.
        data_dir: PathBuf,
    },
}

impl Storage {
    /// Opens the place. Connects to nothing yet.
    ///
    /// # Errors
    /// A certificate cannot be used.
    pub fn open(&self) -> Result<Box<dyn Inspector>, Unusable> {
        Ok(match self {
            Storage::Consul(config) => {
                let folder = config.folder.clone();
                Box::new(Folder::new(consul::Client::new((**config).clone())?, folder))
            }
            Storage::Nomad { client, place } => {
                Box::new(nomad::inspect::Folder::new(Client::new((**client).clone())?, place.clone()))
            }
            Storage::File { data_dir } => Box::new(Directory::new(data_dir)),
        })
    }

    /// The value of `NOMAD_FIREHOSE_COORDINATOR` that chooses it.
    pub fn coordinator(&self) -> &'static str {
        match self {
            Storage::Consul(_) => "consul",
            Storage::Nomad { .. } => "nomad",
            Storage::File { .. } => "file",
        }
    }

    /// The coordinator of this place, for a command that holds leases for a moment: it belongs to no cluster, and counts nowhere.
    ///
    /// # Errors
    /// As [`Config::build`].
    pub fn lead(&self, holder: String) -> Result<Arc<dyn Coordinator>, Unusable> {
        let (metrics, status) = (Metrics::new(&Kind::ALL), Status::new(&Kind::ALL));
        let (lease, cluster) = (Duration::from_secs(10), Known::nothing());
        Ok(match self {
            Storage::Consul(config) => {
                let options = Options {
                    prefix: config.folder.clone(),
                    lease,
                    session_ttl: lease,
                    node_checks: false,
                    session_name: session_name(&Kind::ALL, None),
                    holder,
                    cluster,
                    turns: None,
                };
                Arc::new(Consul::start(consul::Client::new((**config).clone())?, options, metrics, status))
            }
            Storage::Nomad { client, place } => {
                let options = nomad::Options { place: place.clone(), lease, holder, cluster, turns: None };
                Arc::new(Nomad::start(Client::new((**client).clone())?, options, metrics, status))
            }
            Storage::File { data_dir } => Arc::new(Directory::new(data_dir)),
        })
    }
}
