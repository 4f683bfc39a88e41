//! The sink's settings.

use crate::template::Template;

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The event bus. The sink never creates it.
    pub bus: Bus,
    /// The detail type of each event.
    pub detail_type: Template,
    /// The source of each event.
    pub source: Template,
    /// The resources of each event.
    pub resources: Vec<Template>,
    /// Ask whether the bus exists.
    pub verify: bool,
}

/// How the event bus is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bus {
    /// By its name, in the region and the account that the environment says.
    Name(String),
    /// By its ARN.
    Arn {
        /// The whole ARN.
        arn: String,
        /// The region in it.
        region: String,
        /// The name in it.
        name: String,
    },
}

impl Bus {
    /// Its name.
    pub fn name(&self) -> &str {
        let (Bus::Name(name) | Bus::Arn { name, .. }) = self;
        name
    }

    /// What a call names it by.
    pub fn called(&self) -> &str {
        let (Bus::Name(called) | Bus::Arn { arn: called, .. }) = self;
        called
    }
}
