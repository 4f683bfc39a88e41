//! The sink's settings.

use crate::sink::webhook;

/// Where messages go; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(super) webhook: webhook::Config,
}
