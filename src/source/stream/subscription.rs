//! How a leader or a standby subscribes to the event stream, and to which topics.

use crate::{
    kind::Kind,
    nomad::{Client, Error, EventStream, StreamQuery, Topic},
    source::resume::namespaces::Namespaces,
};

/// An open event stream, and the namespaces whose events it has.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) stream: EventStream,
    pub(crate) namespaces: Namespaces,
}

impl Subscription {
    /// Subscribes. `namespaces` was listed just before; returns `None` if one was created meanwhile, and the caller
    /// lists them again.
    ///
    /// # Errors
    /// Nomad refuses the stream, or cannot be reached.
    pub(crate) async fn open(
        client: &Client,
        query: &StreamQuery,
        namespaces: Namespaces,
    ) -> Result<Option<Self>, Error> {
        let stream = client.stream(query).await?;
        let is_outdated = namespaces.is_outdated(client).await?;
        Ok((!is_outdated).then_some(Subscription { stream, namespaces }))
    }
}

/// Whether a kind reads the stream of the first namespace, or of another one. Nodes have no namespace: they read the
/// first stream only.
pub(crate) fn reads(kind: Kind, first: bool) -> bool {
    first || kind != Kind::Nodes
}

/// The topics of the stream of the first namespace, or of another one, for all that is `wanted`.
pub(crate) fn wanted_in(wanted: &[(Kind, Vec<Topic>)], first: bool) -> Vec<Topic> {
    union(wanted.iter().filter(|(kind, _)| reads(*kind, first)).flat_map(|(_, topics)| topics))
}

/// The topics to subscribe to, each once. If several keys of one topic are wanted, the whole topic: Nomad sends an
/// event that matches two keys twice, and nothing for a topic that is named twice (2.0.5).
fn union<'a>(wanted: impl IntoIterator<Item = &'a Topic>) -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    for topic in wanted {
        if topic.name == "*" && topic.key.is_none() {
            return vec![topic.clone()];
        }
        match topics.iter_mut().find(|known| known.name == topic.name) {
            Some(known) if known.key != topic.key => known.key = None,
            Some(_) => {}
            None => topics.push(topic.clone()),
        }
    }
    topics
}
