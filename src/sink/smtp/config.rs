//! The sink's settings.

use std::{path::PathBuf, time::Duration};

use lettre::message::Mailbox;

use super::subject::Subject;
use crate::sink::secret::SecretSource;

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// It begins in plain text and has to change to TLS before the login.
    Starttls,
    /// It is TLS from the start.
    Tls,
    /// Not at all.
    None,
}

impl Encryption {
    /// For people.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Encryption::Starttls => "STARTTLS",
            Encryption::Tls => "TLS",
            Encryption::None => "no encryption",
        }
    }

    /// The usual port.
    pub const fn port(self) -> u16 {
        match self {
            Encryption::Starttls => 587,
            Encryption::Tls => 465,
            Encryption::None => 25,
        }
    }
}

/// Who logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The password. One in a file is read again for each mail.
    pub password: SecretSource,
}

/// Where mails go; validated by the configuration layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The server, and the name in its certificate.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub encryption: Encryption,
    /// The authority to trust; those of the system without one.
    pub ca_cert: Option<PathBuf>,
    /// The login, if there is one. Never sent over a network in plain text.
    pub user: Option<User>,
    /// The sender.
    pub from: Mailbox,
    /// The recipients, at least one.
    pub to: Vec<Mailbox>,
    /// The subject of a mail.
    pub subject: Subject,
    /// The deadline of a whole mail: 100 ms to 10 min.
    pub timeout: Duration,
}
