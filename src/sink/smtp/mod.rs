//! Messages as mail, through an SMTP server. Delivered means that the server answered 250 to the whole mail: it has taken over the responsibility for it.
//!
//! | Answer | Outcome |
//! |---|---|
//! | 250 after the mail | delivered |
//! | 5xx to `DATA` or after the mail: too large, refused content | reject |
//! | 4xx | retry |
//! | 5xx to the login, the sender, a recipient; no STARTTLS | retry: a setting is wrong |
//! | a timeout, a broken connection | retry |
//!
//! A connection carries one mail after the other. It is dropped with the first failure, so that nothing can leave after the sink has given it up. The
//! `Message-ID` is made from the record's id, so that a mail that comes twice can be recognised.

mod check;
mod config;
mod fault;
mod mail;
mod settings;
mod subject;
mod wire;

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use lettre::transport::smtp::{
    authentication::Credentials,
    client::{Certificate, CertificateStore, TlsParameters},
    extension::ClientId,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};
use tracing::warn;

pub use self::config::{Config, Encryption, User};
pub(super) use self::settings::DEFINITION;
use self::wire::{Idle, Step};
use super::{Closed, ErrorClass, Outcome, Policy, Prepared, Sink, Unusable, lease, webhook};
use crate::{files, finding::Finding, lease::LeaseState, record::Record, sys};

/// The largest file with certificates.
const MAX_CERTIFICATES: usize = 16 << 20;

/// Sends mails through one server.
pub struct Smtp {
    config: Config,
    cluster: Option<String>,
    /// For STARTTLS or TLS.
    tls: Option<TlsParameters>,
    /// Set by [`Smtp::load_password`].
    credentials: Option<Credentials>,
    hello: ClientId,
    /// The connection of the mail before.
    idle: Option<Idle>,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("server", &self.server()).finish_non_exhaustive()
    }
}

impl Smtp {
    /// A sink with these settings. Connects to nothing yet.
    ///
    /// # Errors
    /// The certificate cannot be used: the message names the variable.
    pub fn new(config: Config, cluster: Option<&str>) -> Result<Self, Unusable> {
        let tls = match config.encryption {
            Encryption::None => None,
            Encryption::Starttls | Encryption::Tls => Some(tls(&config)?),
        };
        Ok(Smtp { tls, credentials: None, hello: hello(), cluster: cluster.map(str::to_owned), config, idle: None })
    }

    /// The server, for messages.
    fn server(&self) -> String {
        format!("{}:{}", self.config.host, self.config.port)
    }

    /// Loads the authority again before a new connection. If its file cannot be used now, what was loaded before stays in use.
    fn load_authority(&mut self) {
        if self.idle.is_some() || self.tls.is_none() || self.config.ca_cert.is_none() {
            return;
        }
        match tls(&self.config) {
            Ok(tls) => self.tls = Some(tls),
            Err(error) => warn!(%error, action = "keep what was loaded before", "cannot load certificate"),
        }
    }

    /// Reads the password, which others can renew.
    async fn load_password(&mut self) -> Result<(), String> {
        if let Some(User { name, password }) = &self.config.user {
            let password = password.current("SINK_SMTP_PASSWORD_FILE").await?;
            self.credentials = Some(Credentials::new(name.clone(), password.expose().to_owned()));
        }
        Ok(())
    }

    async fn outcome(&mut self, record: &Record) -> Outcome {
        let mail = match mail::of(record, &self.config, self.cluster.as_deref()) {
            Ok(mail) => mail,
            Err(error) => return Outcome::Reject { reason: format!("no mail can be made of the message: {error}") },
        };
        if record.ack.lease_state() != LeaseState::Held {
            return Outcome::failed(ErrorClass::Unsent, "not sent: the lease is not held at the moment");
        }
        self.load_authority();
        if let Err(reason) = self.load_password().await {
            return Outcome::failed(ErrorClass::Local, reason);
        }
        let deadline = Instant::now() + self.config.timeout;
        let mut step = Step::Connect;
        let transfer = timeout_at(deadline, self.transfer(&mail, &mut step));
        // A connection that is dropped half-way hands nothing over.
        let transferred = tokio::select! {
            transferred = transfer => transferred,
            () = lease::until_unheld([record]) => {
                return Outcome::failed(ErrorClass::Unsent, "given up: the lease is not held at the moment");
            }
        };
        match transferred {
            Ok(Ok(())) => Outcome::Delivered,
            Ok(Err(error)) => fault::judge(&error, step, &self.server()),
            Err(_) => fault::late(self.config.timeout, step, &self.server()),
        }
    }
}

/// Only the given authority is trusted, or those of the system.
fn tls(config: &Config) -> Result<TlsParameters, Unusable> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(path) = &config.ca_cert {
        let wrong = |reason: String| Unusable::new(format!("SINK_SMTP_CACERT: {}: {reason}", path.display()));
        let pem = files::read(path, MAX_CERTIFICATES).map_err(|error| wrong(error.to_string()))?;
        // A text without any certificate would make a store that trusts nobody.
        if CertificateDer::pem_slice_iter(&pem).next().is_none_or(|found| found.is_err()) {
            return Err(wrong("it is no PEM file with a certificate".to_owned()));
        }
        let certificate =
            Certificate::from_pem(&pem).map_err(|_| wrong("it is no PEM file with a certificate".to_owned()))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
    }
    builder.build().map_err(|error| Unusable::new(format!("SINK_SMTP_TLS: {error}")))
}

/// The name of this machine, as the greeting of SMTP asks for it.
fn hello() -> ClientId {
    let name = sys::machine::name();
    let is_name = name.contains(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    if is_name { ClientId::Domain(name) } else { ClientId::default() }
}

/// One batch at a time.
impl Sink for Mutex<Smtp> {
    fn name(&self) -> &'static str {
        "smtp"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async move {
            let mut smtp = self.lock().await;
            let mut outcomes = Vec::with_capacity(batch.len());
            for record in batch {
                let outcome = smtp.outcome(record).await;
                let failed = matches!(outcome, Outcome::Retry { .. });
                outcomes.push(outcome);
                if failed {
                    break;
                }
            }
            outcomes.resize_with(batch.len(), Outcome::not_sent);
            Ok(outcomes)
        })
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Mutex::new(Smtp::new(self.clone(), cluster)?)), webhook::policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }
}
