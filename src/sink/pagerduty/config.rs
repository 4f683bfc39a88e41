//! The sink's settings.

use crate::sink::{secret::SecretSource, webhook};

/// Where alerts go; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(super) webhook: webhook::Config,
    /// The key of the integration. One in a file is read again for each alert.
    pub(super) routing_key: SecretSource,
}
