//! `GET /v1/event/stream`.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::request::Request;
use super::response::Response;
use super::{Context, is_silent};
use crate::cluster::Broker;
use crate::filter::{Filter, Topics};
use crate::json::shuffled;
use crate::line::Line;
use crate::ring::{Cursor, Next};
use crate::server::{Inject, lock};

/// The head as the real agent writes it: neither a length nor chunks, the body ends with the connection.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nContent-Type: application/json\r\n\
                      Vary: Accept-Encoding\r\nConnection: close\r\n\r\n";

/// What became of a request for the stream.
pub(super) enum Opened<'a> {
    Stream(Box<Session<'a>>),
    /// An answer instead of a stream.
    Refused(Response),
}

/// An accepted subscription, or one that is refused after the 200 has gone out.
#[derive(Debug)]
pub(super) struct Session<'a> {
    context: &'a Context,
    connection: u64,
    token: String,
    /// `None`: refused.
    subscription: Option<(Filter, Cursor)>,
    inject: broadcast::Receiver<Inject>,
    rng: fastrand::Rng,
}

pub(super) async fn open<'a>(
    context: &'a Context,
    request: &Request,
    connection: u64,
    writer: &mut (impl AsyncWrite + Unpin),
) -> Opened<'a> {
    if request.method != "GET" {
        return Opened::Refused(Response::text(405, "Invalid method"));
    }
    let broker = *lock(&context.cluster.broker);
    match broker {
        Broker::Missing => return Opened::Refused(Response::text(404, "404 page not found")),
        Broker::Failing => return Opened::Refused(Response::text(500, "EventBroker not configured")),
        Broker::Enabled | Broker::Disabled => {}
    }
    let index = match parse_index(request.get("index").unwrap_or_default()) {
        Ok(index) => index,
        Err(text) => return Opened::Refused(Response::text(400, text)),
    };
    let topics = match Topics::parse(request.all("topic")) {
        Ok(topics) => topics,
        Err(text) => return Opened::Refused(Response::text(400, text)),
    };
    if let Err(error) = writer.write_all(HEAD).await {
        tracing::debug!(%error, "the subscriber is already gone");
    }
    let server = context.server();
    let namespaces = match request.namespace() {
        "*" => server.read(|state| state.namespaces.names()),
        name => vec![name.to_owned()],
    };
    let policy = lock(&context.cluster.acl).resolve(&request.token);
    let allowed = policy.is_some_and(|policy| policy.may_subscribe(&topics, &namespaces));
    let subscription = (broker == Broker::Enabled && allowed)
        .then(|| (Filter { topics, namespaces }, lock(&server.ring).subscribe(index)));
    Opened::Stream(Box::new(Session {
        context,
        connection,
        token: request.token.clone(),
        subscription,
        inject: server.inject.subscribe(),
        rng: fastrand::Rng::with_seed(connection),
    }))
}

fn parse_index(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    // Go reads a signed number here, and turns a negative one into a huge index.
    text.parse::<i64>().map(i64::cast_unsigned).map_err(|_| {
        format!("Unable to parse index: strconv.Atoi: parsing {}: invalid syntax", crate::json::quoted(text))
    })
}

/// What a stream does next.
enum Step {
    Send(Bytes),
    /// The connection ends after a delay, without a word.
    End(Duration),
    /// Look again.
    Again,
}

struct Counted<'a>(&'a std::sync::atomic::AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Session<'_> {
    pub(super) async fn run(mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let config = &self.context.cluster.config;
        let Some((filter, mut cursor)) = self.subscription.take() else {
            sleep(config.refusal).await;
            return Ok(());
        };
        let server = self.context.server();
        server.streams.fetch_add(1, Ordering::SeqCst);
        let _open = Counted(&server.streams);
        let mut published = server.published.subscribe();
        let mut gate = server.gate.subscribe();
        let mut acl = self.context.cluster.acl_changed.subscribe();
        let mut heartbeat = interval_at(Instant::now() + config.heartbeat, config.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cut = None;
        if gate.wait_for(|gate| !is_silent(gate, self.connection)).await.is_err() {
            return Ok(());
        }
        self.write(writer, b"{}\n").await?;
        loop {
            if gate.wait_for(|gate| !is_silent(gate, self.connection)).await.is_err() {
                return Ok(());
            }
            published.borrow_and_update();
            let next = lock(&server.ring).next(&mut cursor);
            let step = match next {
                Next::Line(line) => self.line(&filter, &line).map_or(Step::Again, Step::Send),
                Next::Dropped => Step::End(config.refusal),
                Next::Wait => tokio::select! {
                    biased;
                    injected = self.inject.recv() => match injected {
                        Ok(Inject::Bytes(bytes)) => {
                            self.write(writer, &bytes).await?;
                            Step::Again
                        }
                        Ok(Inject::Cut(at)) => {
                            cut = Some(at);
                            Step::Again
                        }
                        Err(RecvError::Lagged(_)) => Step::Again,
                        Err(RecvError::Closed) => Step::End(Duration::ZERO),
                    },
                    _ = acl.changed() => self.recheck(&filter),
                    _ = gate.changed() => Step::Again,
                    _ = published.changed() => Step::Again,
                    _ = heartbeat.tick() => {
                        self.write(writer, b"{}\n").await?;
                        Step::Again
                    }
                },
            };
            match step {
                Step::Again => {}
                Step::End(delay) => {
                    sleep(delay).await;
                    return Ok(());
                }
                Step::Send(text) => {
                    // A cut ordered just before this line was published must hit this line.
                    while let Ok(injected) = self.inject.try_recv() {
                        match injected {
                            Inject::Bytes(bytes) => self.write(writer, &bytes).await?,
                            Inject::Cut(at) => cut = Some(at),
                        }
                    }
                    if let Some(at) = cut {
                        let at = at.unwrap_or(text.len() / 2).min(text.len());
                        return self.write(writer, &text[..at]).await;
                    }
                    self.write(writer, &text).await?;
                    self.write(writer, b"\n").await?;
                }
            }
        }
    }

    fn line(&mut self, filter: &Filter, line: &Line) -> Option<Bytes> {
        let text = filter.apply(line)?;
        if !self.context.cluster.shuffles() {
            return Some(text);
        }
        let Ok(plain) = std::str::from_utf8(&text) else { return Some(text) };
        Some(Bytes::from(shuffled(plain, &mut self.rng)))
    }

    /// A deleted token silences its streams, a narrowed one closes them.
    fn recheck(&self, filter: &Filter) -> Step {
        let config = &self.context.cluster.config;
        match lock(&self.context.cluster.acl).resolve(&self.token) {
            None => Step::End(config.revocation),
            Some(policy) if policy.may_subscribe(&filter.topics, &filter.namespaces) => Step::Again,
            Some(_) => Step::End(config.refusal),
        }
    }

    async fn write(&self, writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
        let limit = self.context.cluster.config.write_timeout;
        timeout(limit, writer.write_all(bytes)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}
