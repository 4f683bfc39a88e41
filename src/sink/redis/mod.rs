//! Writes to Redis: to a stream (`XADD`), to a list (`RPUSH`, as the original program), or to a channel (`PUBLISH`).
//! Delivered means: Redis has executed the command and answered. With `WAIT`, so many replicas have it too.
//!
//! | What happens | Outcome |
//! |---|---|
//! | the answer to the record is no error; of `PUBLISH`, also if nobody listens | delivered |
//! | fewer replicas than wanted have it in time | retry |
//! | no connection, a broken one, no answer within 30 s | retry: the record may have arrived |
//! | Redis is loading, out of memory, cannot save, has too few replicas, takes no more clients | retry |
//! | password, user or right missing; a replica; another node of a cluster; a key of another type | retry, with what to fix |
//! | larger than `proto-max-bulk-len` | reject |
//!
//! Commands are pipelined over one connection: a batch is written while earlier ones still wait for their answers. An error
//! is about one command, and Redis goes on with the next: a record can stand before an earlier one of its key that failed.
//! Delivery sends both again.
//!
//! A batch that is given up ends the connection, with what is in its buffers. Batches that waited meanwhile are not sent, so that
//! none overtakes it. A connection that is only no longer used for further batches, because Redis refuses something, is followed by the
//! next one when all that is written to it is answered.

mod check;
mod command;
mod config;
mod fault;
mod round;
mod session;
mod settings;
mod wire;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex as StdMutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use rustls::ClientConfig;
use tokio::{sync::Mutex, time::Instant};

pub use self::config::{Config, Mode, Server, Wait};
pub(super) use self::settings::DEFINITION;
use self::{
    fault::{Fault, VARIABLES},
    round::Round,
    session::Session,
    wire::Link,
};
use super::{Closed, ErrorClass, Outcome, Policy, Prepared, Sink, Unusable, lease};
use crate::{
    finding::Finding,
    record::Record,
    template::Template,
    tls::{self, Asked, BadFile},
};

/// Writes records, and waits for the answers.
#[derive(Debug)]
pub struct Redis {
    settings: Settings,
    /// Who has it writes.
    session: Mutex<Option<Session>>,
    /// When a connection last failed.
    failed: StdMutex<Option<Instant>>,
    /// The log says that Redis refuses everything.
    is_reported: AtomicBool,
}

/// What is the same for each batch.
struct Settings {
    server: Server,
    /// The server's address without credentials, for messages.
    shown: String,
    tls: Option<Arc<ClientConfig>>,
    mode: Mode,
    key: Template,
    max_length: Option<u64>,
    wait: Option<Wait>,
    cluster: Option<String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("server", &self.shown).finish_non_exhaustive()
    }
}

impl Redis {
    /// A sink with these settings; `cluster` is the label of this cluster. Connects at the first send.
    ///
    /// # Errors
    /// A TLS file cannot be used.
    pub fn new(config: Config, cluster: Option<&str>) -> Result<Self, Unusable> {
        let Config { server, mode, key, max_length, wait, tls } = config;
        let tls = if server.secure {
            let client = tls::client(&tls, &VARIABLES, None, Asked::default());
            Some(Arc::new(client.map_err(|BadFile { variable, path, reason }| {
                Unusable::new(format!("{variable} names {}: {reason}", path.display()))
            })?))
        } else {
            None
        };
        let shown = match (&server.place, server.secure) {
            (super::dial::Place::Path(_), _) => format!("unix://{}", server.place),
            (_, true) => format!("rediss://{}", server.place),
            (_, false) => format!("redis://{}", server.place),
        };
        let cluster = cluster.map(str::to_owned);
        let settings = Settings { server, shown, tls, mode, key, max_length, wait, cluster };
        let (session, failed) = (Mutex::new(None), StdMutex::new(None));
        Ok(Redis { settings, session, failed, is_reported: AtomicBool::new(false) })
    }

    async fn publish(&self, batch: &[Record]) -> Vec<Outcome> {
        let asked = Instant::now();
        let mut unheld = pin!(lease::until_unheld(batch));
        // In the order of the first polls.
        let mut session = self.session.lock().await;
        let session_of_all = match self.raise(&mut session, asked).await {
            Ok(session) => session,
            Err(fault) => {
                self.report(Some(&fault));
                return batch.iter().map(|_| fault.outcome(0)).collect();
            }
        };
        let link = Arc::clone(&session_of_all.link);
        // Dropped after the hold: who waits for its turn then sees what has failed here.
        let mut answers = None;
        let mut hold = Hold { redis: self, link: &link, is_done: false };
        let mut round = Round::new(&self.settings, batch);
        let written = tokio::select! {
            biased;
            written = round.write(session_of_all) => written,
            () = &mut unheld => Err(unheld_fault()),
        };
        // The place in the queue for the answers, before anybody else may write.
        let mut turn = pin!(link.turn());
        let at_once = (&mut turn).now_or_never();
        if written.is_err() {
            // Half a command may stand in the way of the next.
            link.retire();
            self.fail();
        }
        drop(session);
        // Redis may have said why it closed the connection.
        let read = if written.as_ref().err().is_none_or(|fault| fault.class == ErrorClass::Connection) {
            tokio::select! {
                biased;
                read = async {
                    let answers = answers.insert(match at_once {
                        Some(answers) => answers,
                        None => turn.await,
                    });
                    round.read(answers).await
                } => read,
                () = &mut unheld => Err(unheld_fault()),
            }
        } else {
            Ok(())
        };
        let fault = written.and(read).err();
        hold.is_done = fault.is_none();
        if round.of_server.is_some() {
            link.retire();
            self.fail();
        }
        self.report(round.of_server.as_ref());
        round.outcomes(fault.as_ref())
    }

    /// The connection; opens it if there is none.
    async fn raise<'a>(&self, session: &'a mut Option<Session>, asked: Instant) -> Result<&'a mut Session, Fault> {
        self.may_go(asked)?;
        match session {
            Some(open) if open.link.is_up() => {}
            _ => {
                if let Some(retired) = session {
                    // What is written there and has no answer yet must not come behind what goes over the next one.
                    drop(retired.link.turn().await);
                    self.may_go(asked)?;
                }
                *session = None;
                *session = Some(Session::open(&self.settings).await.inspect_err(|_| self.fail())?);
            }
        }
        Ok(session.as_mut().expect("it is open"))
    }

    /// Whether no batch has failed since this one was asked for.
    fn may_go(&self, asked: Instant) -> Result<(), Fault> {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match failed.is_some_and(|failed| failed >= asked) {
            // A batch before this one: its records come first.
            true => Err(Fault::new(ErrorClass::Unsent, "not sent: an earlier record failed")),
            false => Ok(()),
        }
    }

    /// From now on, batches that wait already are not sent.
    fn fail(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Logs once what only people can fix: otherwise it looks like any other outage.
    fn report(&self, fault: Option<&Fault>) {
        match fault {
            Some(Fault { class: ErrorClass::Refused, reason, .. }) => {
                if !self.is_reported.swap(true, Ordering::SeqCst) {
                    tracing::error!(%reason, "redis refuses access");
                }
            }
            Some(_) => {}
            None => self.is_reported.store(false, Ordering::SeqCst),
        }
    }
}

/// The claim of a batch under way on its answers. Dropped before they have all come, it ends the connection.
struct Hold<'a> {
    redis: &'a Redis,
    link: &'a Link,
    is_done: bool,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.link.tear_off();
            self.redis.fail();
        }
    }
}

fn unheld_fault() -> Fault {
    Fault::new(ErrorClass::Unsent, "the lease is not held any more")
}

impl Sink for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.publish(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        Ok((Box::new(Redis::new(self.clone(), cluster)?), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }

    fn keeps_headers_away(&self) -> Option<&'static str> {
        let what = "redis: a list or a channel holds bodies alone; set SINK_REDIS_MODE=stream, or choose cloudevents";
        (self.mode != Mode::Stream).then_some(what)
    }
}
