//! Writes to collections of MongoDB. Delivered means: a majority of the servers has the document, in its journal.
//!
//! | What happens | Outcome |
//! |---|---|
//! | the document is inserted with `w: majority, j: true` | delivered |
//! | its `_id` is there already (`E11000`) | delivered: it came before |
//! | validation (121), another unique index, larger than 16 MiB, a name of a member with a null character | reject; what follows under its key waits |
//! | no primary, a broken connection, no answer in time, no majority in time | retry: it may be stored |
//! | login refused, a right missing | retry, with what to fix |
//! | anything else | retry |
//!
//! **Effectively once.** `_id` is the record's id, so a record that is sent again is no second document.
//!
//! Documents are inserted in order (`ordered: true`), and the first one that fails stops those behind it. If it is there already, the sink
//! asks which of the others are, and goes on with the rest. So a batch that comes again as a whole costs two requests, not a thousand.
//!
//! The client sends once (`retryWrites=false`). It ends the connection of a request that is given up; what is in the system's buffers by
//! then can still arrive, and is known by its `_id` when it is sent again.

mod check;
mod config;
mod document;
mod fault;
mod round;
mod settings;

use std::{
    fmt,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use ::mongodb::{
    Client, Database,
    options::{Acknowledgment, ClientOptions, Tls, TlsOptions, WriteConcern},
};
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

pub use self::config::Config;
pub(super) use self::settings::DEFINITION;
use self::{fault::Fault, round::Round};
use super::{Closed, ErrorClass, Outcome, Policy, Prepared, Sink, Unusable, lease};
use crate::{finding::Finding, identity::PRODUCT, record::Record};

/// How long a connection, and the search for a primary, may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Inserts batches, in order.
#[derive(Debug)]
pub struct Mongodb {
    settings: Settings,
    /// Made at the first use: it runs tasks of its own.
    client: OnceCell<Client>,
    /// The log says that only people can fix it.
    is_reported: AtomicBool,
}

/// What is the same for each batch.
struct Settings {
    config: Config,
    cluster: Option<String>,
}

impl Mongodb {
    /// A sink with these settings; `cluster` is the label of this cluster. Connects at the first send.
    ///
    /// # Errors
    /// A TLS file cannot be read: the message names the variable.
    pub fn new(config: Config, cluster: Option<&str>) -> Result<Self, Unusable> {
        let files = [("SINK_MONGODB_CACERT", &config.ca_cert), ("SINK_MONGODB_CLIENT_CERT", &config.client_cert)];
        for (variable, file) in files {
            if let Some(file) = file {
                let read = std::fs::read(file);
                read.map_err(|error| Unusable::new(format!("{variable} names {}: {error}", file.display())))?;
            }
        }
        let settings = Settings { config, cluster: cluster.map(str::to_owned) };
        Ok(Mongodb { settings, client: OnceCell::new(), is_reported: AtomicBool::new(false) })
    }

    async fn write(&self, batch: &[Record]) -> Vec<Outcome> {
        let mut unheld = pin!(lease::until_unheld(batch));
        let mut round = Round::new(&self.settings, batch);
        let done = tokio::select! {
            biased;
            done = async { round.through(&self.database().await?).await } => done,
            () = &mut unheld => Err(Fault::unheld()),
        };
        let fault = done.err();
        self.report(fault.as_ref());
        round.outcomes(fault.as_ref())
    }

    /// The database, whose writes a majority has to confirm.
    async fn database(&self) -> Result<Database, Fault> {
        let client = self.client.get_or_try_init(|| client(&self.settings.config)).await?;
        Ok(client.database(&self.settings.config.database))
    }

    /// Logs once what only people can fix: otherwise it looks like any other outage.
    fn report(&self, fault: Option<&Fault>) {
        match fault {
            Some(Fault { class: ErrorClass::Refused, reason }) => {
                if !self.is_reported.swap(true, Ordering::Relaxed) {
                    tracing::error!(%reason, "mongodb refuses access");
                }
            }
            Some(_) => {}
            None => self.is_reported.store(false, Ordering::Relaxed),
        }
    }
}

async fn client(config: &Config) -> Result<Client, Fault> {
    let of = |error| Fault::of(&error, &config.shown);
    let mut options = ClientOptions::parse(config.connection.expose()).await.map_err(of)?;
    options.app_name.get_or_insert_with(|| PRODUCT.to_owned());
    // Whatever the connection string says of these: the delivery sends again, and its position moves on the answer.
    options.retry_writes = Some(false);
    options.retry_reads = Some(false);
    let concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).w_timeout(config.timeout).build();
    options.write_concern = Some(concern);
    options.selection_criteria = None;
    options.connect_timeout = Some(options.connect_timeout.unwrap_or(CONNECT).min(CONNECT));
    options.server_selection_timeout = Some(options.server_selection_timeout.unwrap_or(CONNECT).min(CONNECT));
    let is_secure = config.ca_cert.is_some() || config.client_cert.is_some();
    if is_secure || matches!(options.tls, Some(Tls::Enabled(_))) {
        let mut tls = match options.tls.take() {
            Some(Tls::Enabled(tls)) => tls,
            _ => TlsOptions::default(),
        };
        if let Some(file) = &config.ca_cert {
            tls.ca_file_path = Some(file.clone());
        }
        if let Some(file) = &config.client_cert {
            tls.cert_key_file_path = Some(file.clone());
        }
        // The client would trust a list of its own.
        tls.ca_file_path = tls.ca_file_path.or_else(|| openssl_probe::probe().cert_file);
        options.tls = Some(Tls::Enabled(tls));
    }
    Client::with_options(options).map_err(of)
}

impl Sink for Mongodb {
    fn name(&self) -> &'static str {
        "mongodb"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.write(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Mongodb::new(self.clone(), cluster)?), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }

    fn drops_repeats(&self) -> bool {
        true
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("config", &self.config).finish_non_exhaustive()
    }
}
