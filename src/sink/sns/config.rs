//! The sink's settings.

use crate::template::Template;

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The topic. The sink never creates it.
    pub topic: Topic,
    /// The message group; `None` is the record's own key. Only a FIFO topic has groups.
    pub group: Option<Template>,
}

/// A topic, by its ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The whole ARN.
    pub arn: String,
    /// The region in it.
    pub region: String,
    /// The name in it.
    pub name: String,
}

impl Topic {
    /// Whether it is a FIFO topic. Every FIFO topic has this suffix, and no other topic has it.
    pub fn is_fifo(&self) -> bool {
        self.name.ends_with(FIFO)
    }
}

/// The suffix of the name of a FIFO topic.
pub(super) const FIFO: &str = ".fifo";
