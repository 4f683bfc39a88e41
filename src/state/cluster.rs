//! What Nomad says about an index that an operator chooses.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    kind::Kind,
    nomad::{Client, Config, Error, StreamQuery, Table, Topic},
    position::RaftIndex,
};

/// How long Nomad may take to answer for its tables.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// How long the event buffer may take to begin. A server sends what it has at once.
const BEGINS_WITHIN: Duration = Duration::from_secs(2);

/// The cluster that the state is of.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// How to reach it.
    pub nomad: Config,
    /// The topics of [`Kind::Events`].
    pub topics: Vec<Topic>,
    /// The namespaces that the run reads, if its settings name them.
    pub streams: Option<Vec<String>>,
}

/// How far back the event buffer of the server reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffer {
    /// It begins with this index.
    From(RaftIndex),
    /// Nothing of the kind has happened since the chosen index.
    Covers,
    /// It could not be read, or it is empty.
    Unknown,
}

impl Cluster {
    /// The newest index of all tables; or why it is not known.
    pub(super) async fn newest(&self, client: &Client) -> Result<RaftIndex, String> {
        match timeout(ANSWERS_WITHIN, self.newest_index(client)).await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {ANSWERS_WITHIN:?}")),
        }
    }

    async fn newest_index(&self, client: &Client) -> Result<RaftIndex, Error> {
        let (mut newest, mut failure) = (None, None);
        for table in Table::ALL {
            match client.table_index(table, self.namespace()).await {
                Ok(index) => newest = newest.max(Some(index)),
                // A token need not be good for every table.
                Err(error) => failure = Some(error),
            }
        }
        match (newest, failure) {
            (Some(newest), _) => Ok(newest),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(RaftIndex(0)),
        }
    }

    /// Whether the stream still has everything of `kind` after `index`.
    pub(super) async fn buffer(&self, client: &Client, kind: Kind, index: RaftIndex) -> Buffer {
        if let Some(table) = kind.topic().and_then(Table::from_topic)
            && let Ok(Ok(newest)) = timeout(BEGINS_WITHIN, client.table_index(table, self.namespace())).await
            && newest <= index
        {
            return Buffer::Covers;
        }
        match timeout(BEGINS_WITHIN, self.first(client, kind)).await {
            Ok(Ok(Some(first))) => Buffer::From(first),
            Ok(Ok(None) | Err(_)) | Err(_) => Buffer::Unknown,
        }
    }

    /// The index of the first line in the event buffer.
    async fn first(&self, client: &Client, kind: Kind) -> Result<Option<RaftIndex>, Error> {
        let topics = kind.topic().map_or_else(|| self.topics.clone(), |topic| vec![Topic::all(topic)]);
        let query = StreamQuery { namespace: self.namespace().to_owned(), topics, index: RaftIndex(1) };
        let mut stream = client.stream(&query).await?;
        Ok(stream.next_line().await?.and_then(|line| index_of(&line)))
    }

    /// The first namespace, which stands for all of them.
    fn namespace(&self) -> &str {
        self.streams.iter().flatten().next().map_or("*", String::as_str)
    }
}

/// The raft index of a line.
fn index_of(line: &[u8]) -> Option<RaftIndex> {
    #[derive(serde::Deserialize)]
    struct Line {
        #[serde(rename = "Index")]
        index: u64,
    }
    serde_json::from_slice::<Line>(line).ok().map(|line| RaftIndex(line.index))
}
