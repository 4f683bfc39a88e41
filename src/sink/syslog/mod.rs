//! Writes messages to a syslog server: over TCP, TLS, a socket of a path, or as datagrams.
//!
//! **Syslog has no acknowledgement.** Delivered means: this machine's system has taken the message. What is then in its buffers,
//! on the way, or in the server's queue is lost with the connection or the server, and nobody tells. The sink says so in the log when
//! it starts, and keeps the loss small: it watches for the server's end of the connection before, while and after it
//! writes, and a batch during which the connection fails is sent again as a whole.
//!
//! | What happens | Outcome |
//! |---|---|
//! | the system has taken it, and the connection still stands | delivered |
//! | no connection, a broken or closed one, nothing taken within 30 s | retry, with the whole batch: it may have arrived |
//! | TLS fails, or the socket's rights forbid it | retry, with what to fix |
//! | larger than `SINK_SYSLOG_MAX_SIZE`, or than a datagram can be | reject |

mod check;
mod config;
mod fault;
mod message;
mod settings;
mod wire;

#[cfg(test)]
mod tests;

use std::{fmt, io, pin::pin, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use rustls::ClientConfig;
use tokio::sync::Mutex;

pub use self::config::{Config, Format, Framing, Target};
pub(super) use self::settings::DEFINITION;
use self::{fault::VARIABLES, wire::Wire};
use super::{Closed, ErrorClass, Outcome, Policy, Prepared, Sink, Unusable, lease};
use crate::{
    finding::Finding,
    lease::LeaseState,
    record::Record,
    sys,
    tls::{self, Asked, BadFile},
};

/// How long a new connection is watched behind its first batch: a proxy without a server behind it accepts, and closes at once.
const SETTLE: Duration = Duration::from_millis(500);

/// About how many bytes are written to a connection at a time.
const PIECE: usize = 64 << 10;

/// Writes messages.
pub struct Syslog {
    settings: Settings,
    wire: Option<Wire>,
}

impl fmt::Debug for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syslog").field("server", &self.settings.shown).finish_non_exhaustive()
    }
}

/// What is the same for each message.
struct Settings {
    target: Target,
    /// The server, for messages.
    shown: String,
    tls: Option<Arc<ClientConfig>>,
    format: Format,
    framing: Framing,
    tag: String,
    hostname: String,
    /// Messages go to the logger of this machine, which knows the machine's name.
    is_local: bool,
    priority: u8,
    max_size: Option<usize>,
    cluster: Option<String>,
}

impl Syslog {
    /// A sink with these settings; `cluster` is the label of this cluster. Connects at the first send.
    ///
    /// # Errors
    /// A TLS file cannot be used.
    pub fn new(config: Config, cluster: Option<&str>) -> Result<Self, Unusable> {
        let Config { target, format, framing, tag, hostname, priority, max_size, tls } = config;
        let tls = if matches!(target, Target::Tls(_)) {
            let client = tls::client(&tls, &VARIABLES, None, Asked::default());
            Some(Arc::new(client.map_err(|BadFile { variable, path, reason }| {
                Unusable::new(format!("{variable} names {}: {reason}", path.display()))
            })?))
        } else {
            None
        };
        let shown = match &target {
            Target::Local => "the local logger".to_owned(),
            Target::Stream(place) => format!("syslog server {place}"),
            Target::Tls(place) => format!("syslog server {place} (TLS)"),
            Target::Udp(host, port) => format!("syslog server {host}:{port} (UDP)"),
            Target::Datagram(path) => format!("syslog server {}", path.display()),
        };
        let hostname = hostname.unwrap_or_else(own_name);
        let is_local = target.is_of_this_machine();
        let cluster = cluster.map(str::to_owned);
        let settings =
            Settings { target, shown, tls, format, framing, tag, hostname, is_local, priority, max_size, cluster };
        Ok(Syslog { settings, wire: None })
    }

    async fn publish(&mut self, batch: &[Record]) -> Vec<Outcome> {
        // Out of its place: dropped with the future, it ends with what is written by half.
        let wire = self.wire.take();
        let (mut wire, is_new) = match raise(wire, &self.settings).await {
            Ok(raised) => raised,
            Err(error) => return batch.iter().map(|_| fault::outcome(&error, &self.settings)).collect(),
        };
        let mut unheld = pin!(lease::until_unheld(batch));
        let mut outcomes: Vec<Option<Outcome>> = batch.iter().map(|_| None).collect();
        let written = tokio::select! {
            biased;
            written = async {
                write(&mut wire, batch, &mut outcomes, &self.settings).await?;
                if is_new { wire.settle(SETTLE).await } else { Ok(()) }
            } => written,
            () = &mut unheld => Err(io::Error::other("the lease is not held any more")),
        };
        match written {
            Ok(()) => self.wire = Some(wire),
            Err(error) => {
                wire.tear_off();
                for outcome in &mut outcomes {
                    if outcome.as_ref().is_none_or(|outcome| matches!(outcome, Outcome::Delivered)) {
                        *outcome = Some(fault::outcome(&error, &self.settings));
                    }
                }
            }
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(Outcome::not_sent)).collect()
    }
}

/// The way, if the server has not closed it meanwhile; or a new one, and that it is new.
async fn raise(wire: Option<Wire>, settings: &Settings) -> io::Result<(Wire, bool)> {
    if let Some(mut wire) = wire
        && !wire.is_closed()
    {
        return Ok((wire, false));
    }
    Wire::open(settings).await.map(|wire| (wire, true))
}

/// Writes each message. An error is about all of them.
async fn write(
    wire: &mut Wire,
    batch: &[Record],
    outcomes: &mut [Option<Outcome>],
    settings: &Settings,
) -> io::Result<()> {
    let mut framed = Vec::new();
    for (record, outcome) in batch.iter().zip(outcomes) {
        if record.ack.lease_state() != LeaseState::Held {
            *outcome = Some(Outcome::failed(ErrorClass::Unsent, "the lease is not held"));
            continue;
        }
        let message = message::message(settings, record);
        if let Some(limit) = settings.max_size.filter(|limit| message.len() > *limit) {
            *outcome = Some(fault::too_large(message.len(), Some(limit), settings));
            continue;
        }
        if wire.is_of_datagrams() {
            match wire.send(&message).await {
                Err(error) if fault::is_too_large(&error) => {
                    *outcome = Some(fault::too_large(message.len(), None, settings));
                    continue;
                }
                sent => sent?,
            }
        } else {
            message::frame(settings.framing, &message, &mut framed);
            if framed.len() >= PIECE {
                wire.write(&framed).await?;
                framed.clear();
            }
        }
        *outcome = Some(Outcome::Delivered);
    }
    if !framed.is_empty() {
        wire.write(&framed).await?;
    }
    if wire.is_closed() {
        return Err(wire::ended());
    }
    Ok(())
}

/// This machine's name as a message can have it.
fn own_name() -> String {
    let name: String = sys::machine::name().chars().filter(char::is_ascii_graphic).take(255).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// One batch at a time.
impl Sink for Mutex<Syslog> {
    fn name(&self) -> &'static str {
        "syslog"
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.lock().await.publish(batch).await) })
    }
}

impl Prepared for Config {
    fn build(&self, cluster: Option<&str>) -> Result<(Box<dyn Sink>, Policy), Unusable> {
        let sink = Syslog::new(self.clone(), cluster)?;
        let server = &sink.settings.shown;
        tracing::warn!(server, "syslog cannot confirm delivery");
        Ok((Box::new(Mutex::new(sink)), self.policy()))
    }

    fn check(&self, within: Duration) -> BoxFuture<'_, Vec<Finding>> {
        Box::pin(check::check(self, within))
    }
}
