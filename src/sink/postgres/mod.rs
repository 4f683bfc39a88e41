//! Writes to tables of PostgreSQL. Delivered means: the transaction with the record is committed.
//!
//! | What happens | Outcome |
//! |---|---|
//! | `COMMIT` is answered | delivered |
//! | a value that its column cannot hold (SQLSTATE 22…), such as `\u0000` in `jsonb`; a `CHECK` or an exclusion; too large (54…, but for limits of the whole database) | reject; halves are sent until the refused records stand alone |
//! | no connection, a broken one, no answer in time | retry: the transaction may be committed |
//! | login refused; database, schema, table, column or right missing; `id` not unique; a standby | retry, with what to fix |
//! | too many connections, out of memory | retry: throttled |
//! | the same of the login or of a temporary table, where no record is sent | retry, with what to fix |
//! | transaction IDs or the queue of NOTIFY are used up (54000) | retry |
//! | disk full, a deadlock, a lock, starting, stopping, anything else | retry |
//!
//! **Effectively once.** `id` is unique, and a row that is there already stays (`ON CONFLICT (id) DO NOTHING`). So a record that is sent
//! again, by this replica or by the next leader, is there once: also if the first `COMMIT` was executed and its answer was lost, and also
//! if it is still being executed, because the second transaction then waits for the first one.
//!
//! A batch is one transaction: `COPY` into a temporary table, and from there `INSERT … SELECT`. `COPY` itself knows no conflicts.
//!
//! The sink holds one connection, and serves it only while it waits for an answer. A batch that is given up drops the connection with
//! what is in its buffers. `COMMIT` is written last, alone, after all else was answered: so what is dropped before that never commits.

mod address;
mod check;
mod config;
mod fault;
mod round;
mod rows;
mod session;
mod settings;
mod table;

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use rustls::ClientConfig;
use tokio::sync::Mutex;

pub(super) use self::settings::DEFINITION;
use self::{config::VARIABLES, fault::Fault, round::Round, session::Session};
pub use self::{
    config::{Config, Password},
    table::Tables,
};
use super::{Closed, ErrorClass, Outcome, Policy, Prepared, Sink, Unusable, lease};
use crate::{
    finding::Finding,
    record::Record,
    tls::{self, Asked, BadFile},
};

/// Writes batches, one transaction at a time.
#[derive(Debug)]
pub struct Postgres {
    settings: Settings,
    place: Mutex<Place>,
    /// The log says that only people can fix it.
    is_reported: AtomicBool,
}

/// What is the same for each batch.
struct Settings {
    config: Config,
    tls: Option<Arc<ClientConfig>>,
    cluster: Option<String>,
}

/// The connection, where there is one.
#[derive(Debug, Default)]
struct Place {
    session: Option<Session>,
    /// The server to try next.
    server: usize,
}

impl Postgres {
    /// A sink with these settings; `cluster` is the label of this cluster. Connects at the first send.
    ///
    /// # Errors
    /// A TLS file cannot be used: the message names the variable.
    pub fn new(config: Config, cluster: Option<&str>) -> Result<Self, Unusable> {
        let tls = if config.secure {
            let client = tls::client(&config.tls, &VARIABLES, None, Asked::default());
            Some(Arc::new(client.map_err(|BadFile { variable, path, reason }| {
                Unusable::new(format!("{variable} names {}: {reason}", path.display()))
            })?))
        } else {
            None
        };
        let settings = Settings { config, tls, cluster: cluster.map(str::to_owned) };
        Ok(Postgres { settings, place: Mutex::default(), is_reported: AtomicBool::new(false) })
    }

    async fn write(&self, batch: &[Record]) -> Vec<Outcome> {
        let mut unheld = pin!(lease::until_unheld(batch));
        let mut place = self.place.lock().await;
        let mut round = Round::new(&self.settings, batch);
        let done = tokio::select! {
            biased;
            done = self.through(&mut place, &mut round) => done,
            () = &mut unheld => Err(Fault::unheld()),
        };
        drop(place);
        let fault = done.err();
        self.report(fault.as_ref());
        round.outcomes(fault.as_ref())
    }

    /// Sends the batch over the connection, which is kept only if all is well.
    async fn through(&self, place: &mut Place, round: &mut Round<'_>) -> Result<(), Fault> {
        let mut session = self.session(place).await?;
        round.through(&mut session).await?;
        // The type of a column may be changed because of a refused record. The session knows the old one.
        if !round.has_refused() {
            place.session = Some(session);
        }
        Ok(())
    }

    /// The connection; a new one if there is none.
    async fn session(&self, place: &mut Place) -> Result<Session, Fault> {
        if let Some(mut session) = place.session.take()
            && session.is_alive().await
        {
            return Ok(session);
        }
        Session::open(&self.settings, &mut place.server).await
    }

    /// Logs once what only people can fix: otherwise it looks like any other outage.
    fn report(&self, fault: Option<&Fault>) {
        match fault {
            Some(Fault { class: ErrorClass::Refused, reason, .. }) => {
                if !self.is_reported.swap(true, Ordering::Relaxed) {
                    tracing::error!(%reason, "postgres refuses access");
                }
            }
            Some(_) => {}
            None => self.is_reported.store(false, Ordering::Relaxed),
        }
    }
}

impl Sink for Postgres {
    fn name(&self) -> &'static str {
        "postgres"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.write(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Postgres::new(self.clone(), cluster)?), self.policy()))
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
