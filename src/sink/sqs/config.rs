//! The sink's settings.

use reqwest::Url;

use crate::template::Template;

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The queue. The sink never creates it.
    pub queue: Queue,
    /// The message group; `None` is the record's own key. Only a FIFO queue has groups.
    pub group: Option<Template>,
}

/// How the queue is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// By its name, in the region and the account that the environment says.
    Name(String),
    /// By its ARN.
    Arn {
        /// The region in it.
        region: String,
        /// The account in it.
        account: String,
        /// The name in it.
        name: String,
    },
    /// By its URL.
    Url {
        /// The whole URL.
        url: Url,
        /// The region in it; `None` if the host is not one of the service's own, and so an endpoint by itself.
        region: Option<String>,
        /// The name in it.
        name: String,
    },
}

impl Queue {
    /// Its name.
    pub fn name(&self) -> &str {
        let (Queue::Name(name) | Queue::Arn { name, .. } | Queue::Url { name, .. }) = self;
        name
    }

    /// Whether it is a FIFO queue. Every FIFO queue has this suffix, and no other queue has it.
    pub fn is_fifo(&self) -> bool {
        self.name().ends_with(FIFO)
    }
}

/// The suffix of the name of a FIFO queue.
pub(super) const FIFO: &str = ".fifo";
