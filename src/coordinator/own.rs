//! Which Variables of the cluster are those of this program.

use crate::{kind::Kind, nomad::Place};

/// The folder of the pipelines that have a name.
pub(super) const PIPELINES: &str = "pipelines";

/// The Variables in which all pipelines of this program keep their leases and checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnVariables(Place);

impl OwnVariables {
    /// Those below the folder of a run whose pipeline has no name, which those of the others lie below, too.
    pub(super) fn below(place: Place) -> Self {
        OwnVariables(place)
    }

    /// Whether the Variable at this path is one of them: the head of a kind's checkpoint, or a part of it. Others may be in the same
    /// folder.
    pub fn have(&self, namespace: &str, path: &str) -> bool {
        let Place { namespace: own, folder } = &self.0;
        let Some(rest) = below(folder, path) else { return false };
        let of_pipeline = below(PIPELINES, rest).and_then(|rest| rest.split_once('/'));
        let rest = of_pipeline.map_or(rest, |(_name, rest)| rest);
        let (kind, part) = rest.split_once('/').unwrap_or((rest, ""));
        namespace == own && !part.contains('/') && Kind::ALL.iter().any(|it| it.storage_name() == kind)
    }
}

/// The path from the folder on.
fn below<'a>(folder: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_program_writes_is_its_own() {
        let place = Place { namespace: "ops".to_owned(), folder: "nomad/jobs/firehose".to_owned() };
        let own = OwnVariables::below(place);
        for path in ["jobs", "jobliststub", "events/3a-17", "pipelines/team/nodes", "pipelines/jobs/allocations/3a-17"]
        {
            let path = format!("nomad/jobs/firehose/{path}");
            assert!(own.have("ops", &path), "{path}");
            assert!(!own.have("default", &path), "{path}");
        }
        for path in [
            "nomad/jobs/firehose",
            "nomad/jobs/firehose/",
            "nomad/jobs/firehose/group/task",
            "nomad/jobs/firehose/jobs/a/b",
            "nomad/jobs/firehose/pipelines/team",
            "nomad/jobs/firehose/pipelines/team/group/task",
            "nomad/jobs/firehose-2/jobs",
            "jobs",
        ] {
            assert!(!own.have("ops", path), "{path}");
        }
    }
}
