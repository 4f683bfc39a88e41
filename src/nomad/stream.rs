//! The event stream.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, StatusCode};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    client::{Call, Client, Limits, STREAM},
    error::Error,
    lines::{Lines, LongLine, Unheld, is_heartbeat},
    topic::{Permission, Topic},
};
use crate::{http, position::RaftIndex, redact};

/// How much longer a busy reader waits when it comes back after the deadline: what the server sent meanwhile is still in the
/// socket.
const GRACE: Duration = Duration::from_secs(2);

/// How long a server may take for other requests, after it did not answer the one for the stream.
const OTHER_QUESTIONS: Duration = Duration::from_secs(3);

/// How many pieces of whole lines in a row prove that nothing buffers the stream.
const WHOLE_PIECES: u32 = 3;

/// The most bytes of a piece that has only heartbeats in it.
const SIGNS_OF_LIFE: usize = 64;

/// How many bytes are shown of a line that is not an event.
const SHOWN: usize = 200;

/// Which events to stream, and from where.
#[derive(Clone, Debug)]
pub struct StreamQuery {
    /// A namespace, or `*` for all that exist at this moment. The token must have the right to read all of them.
    pub namespace: String,
    /// The topics. Without any, Nomad sends every topic and wants a management token.
    pub topics: Vec<Topic>,
    /// Where to start. Nomad sends this index again if its buffer still holds it. Otherwise Nomad starts at the oldest index
    /// that it holds, without saying so. 0 is the oldest.
    pub index: RaftIndex,
}

impl StreamQuery {
    fn call(&self) -> Call {
        let mut query = vec![("namespace", self.namespace.clone()), ("index", self.index.to_string())];
        query.extend(self.topics.iter().map(|topic| ("topic", topic.to_string())));
        Call { what: "the event stream".to_owned(), path: STREAM.to_owned(), query, needs: self.needs() }
    }

    /// The rules that all topics together need.
    pub(super) fn needs(&self) -> String {
        let namespace = self.namespace.as_str();
        let topics = self.topics.iter().map(|topic| (Permission::of(&topic.name), namespace));
        let mut permissions: Vec<_> = topics.collect();
        if permissions.is_empty() {
            permissions.push((Permission::of("*"), namespace));
        }
        Permission::rules(&permissions)
    }
}

/// An open event stream, subscribed and alive.
#[derive(Debug)]
pub struct EventStream {
    server: String,
    idle: Duration,
    lines: Lines,
    /// A line that came instead of the first heartbeat.
    first: Option<Result<Bytes, LongLine>>,
    /// `None` after the end of the connection.
    body: Option<Response>,
    pieces: Pieces,
    /// When a silent connection counts as dead. It is set when a reader starts to wait, so that a busy reader does not make
    /// the server look silent.
    deadline: Option<Instant>,
    extended: bool,
}

/// How the pieces of a connection relate to its lines. A buffering proxy sends a piece when its buffer is full, wherever a
/// line ends.
#[derive(Debug, Default)]
struct Pieces {
    /// A piece has come. The first piece proves nothing: it can come with the head of the answer.
    begun: bool,
    /// How many pieces in a row were whole lines.
    whole: u32,
    /// It is proven that nothing buffers the stream.
    unbuffered: bool,
}

impl Pieces {
    /// Takes in a piece of the body. `begins` says that it does not continue a line of the piece before.
    fn take(&mut self, begins: bool, piece: &[u8]) {
        let is_whole = std::mem::replace(&mut self.begun, true) && begins && piece.ends_with(b"\n");
        self.whole = if is_whole { self.whole + 1 } else { 0 };
        let is_alone = || piece.split(|byte| *byte == b'\n').all(is_heartbeat);
        self.unbuffered |= self.whole >= WHOLE_PIECES || is_whole && piece.len() <= SIGNS_OF_LIFE && is_alone();
    }
}

/// What came of waiting for the first line.
enum Opening {
    Alive,
    Closed,
    Nothing,
}

impl EventStream {
    /// The stream in the body of `response`.
    pub(super) fn over(response: Response, server: String, limits: &Limits) -> Self {
        EventStream {
            server,
            idle: limits.stream_idle,
            lines: Lines::new(limits.line),
            first: None,
            body: Some(response),
            pieces: Pieces::default(),
            deadline: None,
            extended: false,
        }
    }

    /// The next line of events, without its line break; `None` at the end of the connection. Cancel-safe.
    ///
    /// Heartbeats are dropped here. So is half a line before the end: it comes again after resuming. A line can be an error
    /// message instead of events; the caller has to notice that, because only the caller knows whether it came before.
    ///
    /// # Errors
    /// [`Error::LongLine`] for a line that is too long; the stream continues after it. Any other error ends the stream:
    /// [`Error::Silent`] without any sign of life, [`Error::Garbage`] for a line without end, [`Error::Broken`] for a
    /// connection that was cut off.
    pub async fn next_line(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(first) = self.first.take() {
            return first.map(Some).map_err(|long| self.long_line(long));
        }
        loop {
            match self.ready()? {
                // The lines that came with it need not wait for the next piece.
                Some(Ok(line)) if is_heartbeat(&line) => continue,
                Some(line) => return line.map(Some).map_err(|long| self.long_line(long)),
                None => {}
            }
            if self.body.is_none() {
                return Ok(None);
            }
            self.fill().await?;
        }
    }

    /// How many bytes of an unfinished line have come; 0 between two lines.
    pub fn bytes_of_line(&self) -> usize {
        self.lines.unfinished()
    }

    /// Whether it is certain that nothing on the way buffers the stream: a heartbeat has arrived by itself, or several
    /// pieces in a row were whole lines.
    pub fn is_unbuffered(&self) -> bool {
        self.pieces.unbuffered
    }

    /// Waits until it [is certain](EventStream::is_unbuffered) that nothing buffers the stream. Drops what arrives
    /// meanwhile.
    ///
    /// # Errors
    /// As [`EventStream::next_line`], and [`Error::HeldBack`] if the connection ends first.
    pub async fn until_unbuffered(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        while !self.is_unbuffered() {
            while self.ready()?.is_some() {}
            if self.body.is_none() {
                return Err(Error::HeldBack { address: self.server.clone(), after: rounded(begun.elapsed()) });
            }
            self.fill().await?;
        }
        Ok(())
    }

    /// The label of the address that the stream comes from.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A line that has arrived as a whole, including heartbeats and lines that are too long.
    fn ready(&mut self) -> Result<Option<Result<Bytes, LongLine>>, Error> {
        match self.lines.next() {
            Ok(line) => Ok(line.map(Ok)),
            Err(Unheld::TooLong(long)) => Ok(Some(Err(long))),
            Err(Unheld::Endless { bytes }) => {
                self.body = None;
                self.lines = Lines::new(0);
                Err(self.garbage(format!("a line has no end after {bytes} bytes")))
            }
        }
    }

    fn long_line(&self, line: LongLine) -> Error {
        Error::LongLine { address: self.server.clone(), line: Box::new(line) }
    }

    /// Waits for the next chunk, or for the end.
    async fn fill(&mut self) -> Result<(), Error> {
        let Some(body) = &mut self.body else {
            return Ok(());
        };
        loop {
            let now = Instant::now();
            let deadline = *self.deadline.get_or_insert(now + self.idle);
            match timeout_at(deadline, body.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    self.pieces.take(self.lines.unfinished() == 0, &chunk);
                    self.lines.push(chunk);
                    break;
                }
                Ok(Ok(None)) => {
                    self.body = None;
                    break;
                }
                Ok(Err(error)) => {
                    self.body = None;
                    let reason = http::reason(&error);
                    return Err(Error::Broken {
                        address: self.server.clone(),
                        what: "the event stream".to_owned(),
                        reason,
                    });
                }
                Err(_) if now >= deadline && !self.extended => {
                    self.extended = true;
                    self.deadline = Some(now + GRACE.min(self.idle));
                }
                Err(_) => {
                    self.body = None;
                    return Err(Error::Silent { address: self.server.clone(), after: self.idle });
                }
            }
        }
        self.deadline = None;
        self.extended = false;
        Ok(())
    }

    fn garbage(&self, text: String) -> Error {
        Error::Garbage { address: self.server.clone(), what: "the event stream".to_owned(), text }
    }

    /// Waits for the first line.
    async fn open(&mut self, deadline: Instant) -> Result<Opening, Error> {
        loop {
            if let Some(line) = self.ready()? {
                let text = line.as_ref().unwrap_or_else(|long| &long.head);
                if text.is_empty() {
                    continue;
                }
                if !is_object(text) {
                    self.body = None;
                    return Err(self.garbage(shown(text)));
                }
                self.first = (!is_heartbeat(text)).then_some(line);
                return Ok(Opening::Alive);
            }
            if self.body.is_none() {
                return Ok(Opening::Closed);
            }
            match timeout_at(deadline, self.fill()).await {
                Ok(filled) => filled?,
                Err(_) => return Ok(Opening::Nothing),
            }
        }
    }
}

fn is_object(line: &[u8]) -> bool {
    line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

impl Client {
    /// Subscribes, and waits for the stream's first line, which shows that Nomad accepts the subscription.
    ///
    /// Nomad accepts a namespace that does not exist, and topics that it does not know, without saying so.
    ///
    /// # Errors
    /// Since Nomad 1.11.2 a refusal is a success that ends without a line. List requests then find out why:
    /// [`Error::Denied`] names the missing permission, [`Error::NoNamespace`] the missing namespace,
    /// [`Error::NoStream`] a cluster without events, and [`Error::Refused`] is left when the reason stays unknown.
    pub async fn stream(&self, query: &StreamQuery) -> Result<EventStream, Error> {
        self.with_renewed_token(|| self.subscribe(query)).await
    }

    async fn subscribe(&self, query: &StreamQuery) -> Result<EventStream, Error> {
        let call = query.call();
        let limit = self.limits().open;
        let asked = Instant::now();
        let (response, server) = match self.send(&call, limit).await {
            // A proxy that waits for a full buffer holds back even the head of the answer.
            Err(error @ Error::Timeout { .. }) => return Err(self.held_back(error, query, asked).await),
            asked => asked?,
        };
        match response.status() {
            status if status.is_success() => {}
            StatusCode::FORBIDDEN => return Err(self.explain(server, query).await),
            _ => return Err(no_stream(self.failure(server, &call, response).await)),
        }
        let mut stream = EventStream::over(response, server.label.clone(), &self.limits());
        match stream.open(Instant::now() + limit).await {
            Ok(Opening::Alive) => Ok(stream),
            Ok(Opening::Closed) => Err(self.explain(server, query).await),
            // Nomad itself ends a refused stream properly, so this was a proxy.
            Ok(Opening::Nothing) | Err(Error::Broken { .. }) => match self.explain(server, query).await {
                Error::Refused { address, .. } => Err(Error::HeldBack { address, after: rounded(asked.elapsed()) }),
                error => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Why no answer to `query` came. If the same server answers other requests at once, a proxy holds the stream back.
    async fn held_back(&self, error: Error, query: &StreamQuery, asked: Instant) -> Error {
        let Error::Timeout { address, .. } = &error else { return error };
        let Some(server) = self.server(address) else { return error };
        match timeout(OTHER_QUESTIONS, self.explain(server, query)).await {
            Ok(Error::Refused { address, .. }) => Error::HeldBack { address, after: rounded(asked.elapsed()) },
            Ok(found @ (Error::Denied { .. } | Error::NoNamespace { .. } | Error::NoStream { .. })) => found,
            Ok(_) | Err(_) => error,
        }
    }
}

/// A time for people, in tenths of a second.
fn rounded(time: Duration) -> Duration {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis.div_ceil(100).saturating_mul(100))
}

/// Recognises a Nomad without events by its status and words: before 1.0 it has no such path, an older server behind a newer
/// agent has no such call, and a broker can be switched off (`EventBroker not configured`).
fn no_stream(error: Error) -> Error {
    let Error::Status { address, what, code, text } = error else {
        return error;
    };
    let lower = text.to_lowercase();
    if lower.contains("eventbroker not configured") {
        return Error::no_broker(address);
    }
    let reason = if matches!(code, 404 | 405) {
        format!(
            "there is no Nomad API at {address}: /v1/event/stream answered {code} {text:?}; check the path in NOMAD_ADDR \
             (Nomad before 1.0 has no event stream either)"
        )
    } else if code == 501 || lower.contains("unknown rpc") {
        format!(
            "Nomad at {address} has no event stream: it answered {code} {text:?}, as Nomad before 1.0 does; upgrade Nomad, \
             or read lists (NOMAD_FIREHOSE_SOURCE)"
        )
    } else {
        return Error::Status { address, what, code, text };
    };
    Error::NoStream { address, reason }
}

/// The first words of a line that is not an event, such as an error message. Where JSON begins in it, objects of the cluster
/// can follow, and their content must not go to the log.
fn shown(line: &[u8]) -> String {
    let words = line.split(|byte| matches!(byte, b'{' | b'[' | b'"')).next().unwrap_or_default().trim_ascii();
    format!("a line of {} bytes is not an event: {}", line.len(), redact::shown(words, SHOWN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unbuffered(pieces: &[&str]) -> bool {
        let (mut seen, mut lines) = (Pieces::default(), Lines::new(64));
        for piece in pieces {
            seen.take(lines.unfinished() == 0, piece.as_bytes());
            lines.push(Bytes::copy_from_slice(piece.as_bytes()));
            while lines.next().is_ok_and(|line| line.is_some()) {}
        }
        seen.unbuffered
    }

    #[test]
    fn a_heartbeat_that_arrives_by_itself_shows_that_nothing_buffers() {
        assert!(!unbuffered(&["{}\n"]), "the first piece");
        assert!(unbuffered(&["{}\n", "{}\n"]));
        assert!(unbuffered(&["{\"Index\":5}\n", "{}\n{}\n"]));
        assert!(!unbuffered(&["{}\n", "{}\n{\"Index\":5}\n"]), "with other lines, a buffer can have let it go");
        assert!(!unbuffered(&["{}\n", "{\"Ind", "ex\":5}\n", "{"]));
        assert!(!unbuffered(&["{}\n", "{", "}\n"]), "the end of a line");
    }

    #[test]
    fn whole_lines_piece_by_piece_show_that_nothing_buffers() {
        let (line, begun) = ("{\"Index\":5}\n", "{\"Index\":5}\n{\"In");
        assert!(unbuffered(&[line, line, line, line]));
        assert!(!unbuffered(&[line, line, line]));
        assert!(!unbuffered(&[line, line, begun, "dex\":6}\n", line, line]));
        assert!(unbuffered(&[begun, "dex\":6}\n", line, line, line]));
    }
}
