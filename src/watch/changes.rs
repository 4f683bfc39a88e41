//! What a new version of a job changed, as Nomad knows it.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::{kind::Kind, nomad::Client, position::RaftIndex, record::Record};

/// How long a line may wait for it.
const WITHIN: Duration = Duration::from_secs(2);
/// How long nothing is asked after a failure: the lines of other events would wait each time.
const REST: Duration = Duration::from_secs(30);

/// Asks Nomad for the versions of jobs.
#[derive(Debug)]
pub(super) struct Changes {
    client: Client,
    rests_until: Option<Instant>,
}

impl Changes {
    pub(super) fn new(client: Client) -> Self {
        Changes { client, rests_until: None }
    }

    /// Nomad's diff of the version that `record` brings; `None` if it is no new version, or Nomad does not know the diff.
    pub(super) async fn diff(&mut self, record: &Record, job: &Value) -> Option<Value> {
        let number = |name: &str| job[name].as_u64();
        let (version, made_at) = (number("Version").filter(|version| *version > 0)?, number("JobModifyIndex")?);
        let is_change = record.kind == Kind::Jobs && number("ModifyIndex") == Some(made_at) && job["Deleted"] != true;
        let rests = self.rests_until.is_some_and(|until| Instant::now() < until);
        // These IDs would name another path of the API.
        if !is_change || rests || matches!(&*record.job, "" | "." | "..") {
            return None;
        }
        let versions = self.client.job_versions(&record.namespace, &record.job, RaftIndex(made_at));
        let Ok(Ok(versions)) = timeout(WITHIN, versions).await else {
            self.rests_until = Some(Instant::now() + REST);
            return None;
        };
        let ours = versions.iter().find(|known| known.version == version && known.made_at == RaftIndex(made_at))?;
        serde_json::from_slice(ours.diff.as_ref()?).ok()
    }
}
