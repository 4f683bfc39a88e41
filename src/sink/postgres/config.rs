//! The sink's settings.

use std::{path::PathBuf, time::Duration};

use super::table::Tables;
use crate::{
    http::{Secret, Tls},
    kind::Kind,
    sink::{Policy, dial::Place},
    tls::Variables,
};

/// The variables of TLS.
pub(super) static VARIABLES: Variables = Variables {
    role: "sink",
    ca_cert: "SINK_POSTGRES_CACERT",
    ca_path: "",
    client_cert: "SINK_POSTGRES_CLIENT_CERT",
    client_key: "SINK_POSTGRES_CLIENT_KEY",
    server_name: "",
    usual_name: "",
};

/// The valid settings of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Servers of one cluster, in the order in which they are tried. At least one.
    pub servers: Vec<Place>,
    /// Whether connections over TCP use TLS.
    pub secure: bool,
    /// The user to log in as.
    pub user: String,
    /// The password of that user.
    pub password: Password,
    /// The database.
    pub database: String,
    /// Options for the server process (`-c name=value`).
    pub options: Option<String>,
    /// The tables to write to.
    pub tables: Tables,
    /// Whether a missing table is created.
    pub creates: bool,
    /// How long one step may take.
    pub timeout: Duration,
    /// The kinds that the pipeline carries, for the check.
    pub kinds: Vec<Kind>,
    /// The certificates, without a directory and without a server name.
    pub tls: Tls,
}

impl Config {
    /// How records are batched for it: one transaction at a time, so that rows become visible in Nomad's order.
    pub fn policy(&self) -> Policy {
        Policy::default()
    }
}

/// The password of the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Password {
    /// There is none.
    #[default]
    None,
    /// This one.
    Text(Secret),
    /// The one in this file, which is read for each connection.
    File(PathBuf),
}
