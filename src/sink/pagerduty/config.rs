//! The sink's settings.

use crate::{http::Secret, sink::webhook};

/// Where alerts go; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub(super) webhook: webhook::Config,
    pub(super) routing_key: Secret,
}
