//! The one way to connect to the event stream, for a leader and for a standby.

use crate::{
    kind::Kind,
    nomad::{Client, Error, EventStream, StreamQuery, Topic},
    source::resume::namespaces::Namespaces,
};

/// An open event stream, and the namespaces whose events it has.
#[derive(Debug)]
pub(in crate::source) struct Subscription {
    pub(in crate::source) stream: EventStream,
    pub(in crate::source) namespaces: Namespaces,
}

impl Subscription {
    /// Subscribes. `namespaces` was listed just before; `None` if one was created meanwhile: the caller lists them again.
    ///
    /// # Errors
    /// Nomad refuses the stream, or cannot be reached.
    pub(in crate::source) async fn open(
        client: &Client,
        query: &StreamQuery,
        namespaces: Namespaces,
    ) -> Result<Option<Self>, Error> {
        let stream = client.stream(query).await?;
        let is_outdated = namespaces.is_outdated(client).await?;
        Ok((!is_outdated).then_some(Subscription { stream, namespaces }))
    }
}

/// Whether a kind reads the stream of the first namespace, or of another one. Nodes have no namespace: one stream is
/// enough for them.
pub(in crate::source) fn reads(kind: Kind, first: bool) -> bool {
    first || kind != Kind::Nodes
}

/// What to subscribe to: each topic once. Where several keys of one topic are wanted, all of it: Nomad sends an event
/// that matches two keys twice, and none at all for a topic that is named twice (2.0.5).
pub(in crate::source) fn union<'a>(wanted: impl IntoIterator<Item = &'a Topic>) -> Vec<Topic> {
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
