//! The newest records of a cluster: from the event buffer of the server, and from lists where it has too few.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use super::input::{Found, Reading};
use crate::{
    kind::Kind,
    nomad::{Client, Error, ListQuery, StreamQuery, Table, Topic},
    position::RaftIndex,
    resource::{self, Known, Listed},
};

/// The server sends what it has at once. After this silence, that was all.
const SILENCE: Duration = Duration::from_millis(700);
/// A busy cluster is never silent.
const LONGEST: Duration = Duration::from_secs(5);
/// How many elements of the lists that begin with the newest are looked at.
const PAGE: u32 = 200;

/// What is read.
#[derive(Clone, Copy)]
pub(super) struct Cluster<'a> {
    pub(super) client: &'a Client,
    pub(super) kinds: &'a [Kind],
    /// Of the kind `events`.
    pub(super) topics: &'a [Topic],
    pub(super) namespaces: &'a [String],
}

impl Cluster<'_> {
    /// The `last` newest records, the oldest of them first.
    pub(super) async fn newest(self, last: usize) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for namespace in self.namespaces {
            // Without a stream, lists alone are read; they tell why, if nothing can be read.
            match self.streamed(namespace).await {
                Ok(streamed) => found.extend(streamed),
                Err(error) if self.kinds == [Kind::Events] => return Err(error),
                Err(_) => {}
            }
        }
        if found.len() < last {
            let known: HashSet<Box<str>> = found.iter().map(|found| found.draft.id.clone()).collect();
            for kind in self.kinds {
                for namespace in self.namespaces {
                    let listed = self.listed(*kind, namespace, last).await?;
                    found.extend(listed.into_iter().filter(|found| !known.contains(&found.draft.id)));
                }
            }
        }
        found.sort_by_key(|found| found.draft.index);
        Ok(found.split_off(found.len().saturating_sub(last)))
    }

    /// The records of the event buffer.
    async fn streamed(self, namespace: &str) -> Result<Vec<Found>, Error> {
        let of_kind = |kind: &Kind| kind.topic().map_or_else(|| self.topics.to_vec(), |topic| vec![Topic::all(topic)]);
        let mut topics: Vec<Topic> = Vec::new();
        for topic in self.kinds.iter().flat_map(of_kind) {
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        let query = StreamQuery { namespace: namespace.to_owned(), topics, index: RaftIndex(1) };
        let mut stream = self.client.stream(&query).await?;
        let (mut reading, mut found, until) = (Reading::new(self.kinds), Vec::new(), Instant::now() + LONGEST);
        while let Ok(Ok(line)) = timeout_at(until, timeout(SILENCE, stream.next_line())).await {
            let Some(line) = line? else { break };
            found.extend(reading.of_stream(&line).unwrap_or_default());
        }
        Ok(found)
    }

    /// The records of the objects that changed last.
    async fn listed(self, kind: Kind, namespace: &str, last: usize) -> Result<Vec<Found>, Error> {
        let Some(table) = kind.topic().and_then(Table::from_topic) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for (_, element) in self.changed_last(table, namespace, last).await? {
            let object = match kind {
                Kind::Jobs | Kind::Nodes => self.object(kind, &element).await?,
                _ => Some(element),
            };
            let made =
                object.and_then(|object| resource::from_object(kind, &object, Known::task_cursors(&|_| None)).ok());
            let drafts = made.into_iter().flat_map(|made| made.drafts);
            found.extend(drafts.map(|draft| Found { kind, draft }));
        }
        Ok(found)
    }

    /// The elements of a list that changed last.
    async fn changed_last(
        self,
        table: Table,
        namespace: &str,
        last: usize,
    ) -> Result<BTreeMap<(RaftIndex, String), Bytes>, Error> {
        let (mut newest, mut token) = (BTreeMap::new(), None::<String>);
        // These lists can be huge, and begin with the newest. The others are ordered by ID.
        let reverse = matches!(table, Table::Allocations | Table::Evaluations | Table::Deployments);
        loop {
            let query =
                ListQuery { per_page: PAGE, next_token: token.as_deref(), reverse, ..ListQuery::new(table, namespace) };
            let mut page = self.client.list(&query).await?;
            while let Some(element) = page.next().await? {
                let Ok(listed) = Listed::parse(&element) else { continue };
                // A copy: an element shares the memory of its neighbours.
                newest.insert((listed.modify_index, listed.id), Bytes::copy_from_slice(&element));
                if newest.len() > last {
                    newest.pop_first();
                }
            }
            token = page.next_token.take().filter(|_| !reverse);
            if token.is_none() {
                return Ok(newest);
            }
        }
    }

    async fn object(self, kind: Kind, stub: &[u8]) -> Result<Option<Bytes>, Error> {
        let Ok(stub) = Listed::parse(stub).map(|stub| stub.of(kind)) else { return Ok(None) };
        match kind {
            Kind::Nodes => self.client.node(&stub.id).await,
            // An ID with a slash can end like a path of the API.
            _ if stub.id.contains('/') => self.client.job_version(&stub.namespace, &stub.id).await,
            _ => self.client.job(&stub.namespace, &stub.id).await,
        }
    }
}
