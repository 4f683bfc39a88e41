//! The certificates of `amqps`.

use std::sync::Arc;

use rustls::ClientConfig;

use crate::tls::{self, Asked, BadFile, Tls, Variables};

pub(super) static VARIABLES: Variables = Variables {
    role: "sink",
    ca_cert: "SINK_AMQP_CACERT",
    ca_path: "",
    client_cert: "SINK_AMQP_CLIENT_CERT",
    client_key: "SINK_AMQP_CLIENT_KEY",
    server_name: "",
    usual_name: "",
};

/// A wrong setting, found before the sink connects.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error("{variable} names {path}: {reason}")]
    File {
        /// The setting's variable.
        variable: &'static str,
        /// The file.
        path: String,
        /// Why, and what to do.
        reason: String,
    },
}

impl From<BadFile> for Error {
    fn from(BadFile { variable, path, reason }: BadFile) -> Self {
        Error::File { variable, path: path.display().to_string(), reason }
    }
}

/// The TLS configuration, with the certificates read. If the settings name an authority, only that one is trusted.
pub(super) fn client(settings: &Tls) -> Result<Arc<ClientConfig>, Error> {
    Ok(Arc::new(tls::client(settings, &VARIABLES, None, Asked::default())?))
}
