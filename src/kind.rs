//! The kinds of record the program carries: one for each subcommand.

use std::{fmt, str::FromStr};

/// What a pipeline carries. Each kind has its own lease and its own checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// One record for each task event of each allocation.
    Allocations,
    /// One record for each new version of a node.
    Nodes,
    /// One record for each new version of an evaluation.
    Evaluations,
    /// One record for each new version of a job, and one for its purge.
    Jobs,
    /// As [`Kind::Jobs`], in the shape of the job list.
    JobListStubs,
    /// One record for each new version of a deployment.
    Deployments,
    /// Every event of the stream as Nomad sent it.
    Events,
}

impl Kind {
    /// Every kind, in the order the help lists them.
    pub const ALL: [Kind; 7] = [
        Kind::Allocations,
        Kind::Nodes,
        Kind::Evaluations,
        Kind::Jobs,
        Kind::JobListStubs,
        Kind::Deployments,
        Kind::Events,
    ];

    /// The subcommand, and the value of `--resources`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Allocations => "allocations",
            Kind::Nodes => "nodes",
            Kind::Evaluations => "evaluations",
            Kind::Jobs => "jobs",
            Kind::JobListStubs => "jobliststubs",
            Kind::Deployments => "deployments",
            Kind::Events => "events",
        }
    }

    /// The type name under which the lease and the checkpoint are stored. It is the original's, which stores
    /// `jobliststubs` in the singular.
    pub const fn storage_name(self) -> &'static str {
        match self {
            Kind::JobListStubs => "jobliststub",
            other => other.name(),
        }
    }

    /// The topic of the event stream that carries this kind; `None` for [`Kind::Events`], which names its own.
    pub const fn topic(self) -> Option<&'static str> {
        match self {
            Kind::Allocations => Some("Allocation"),
            Kind::Nodes => Some("Node"),
            Kind::Evaluations => Some("Evaluation"),
            Kind::Jobs | Kind::JobListStubs => Some("Job"),
            Kind::Deployments => Some("Deployment"),
            Kind::Events => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is no kind.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not one of allocations, nodes, evaluations, jobs, jobliststubs, deployments, events")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| UnknownKind(name.to_owned()))
    }
}
