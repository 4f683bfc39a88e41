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

/// How much longer a reader waits that came back to find the connection's time over: what the server sent meanwhile has
/// yet to be read off the socket.
const GRACE: Duration = Duration::from_secs(2);

/// How long a server may take for other questions, where it did not answer for the stream.
const OTHER_QUESTIONS: Duration = Duration::from_secs(3);

/// So many pieces of whole lines in a row, and nothing buffers.
const WHOLE_PIECES: u32 = 3;

/// Heartbeats that arrive by themselves are no more bytes than this.
const SIGNS_OF_LIFE: usize = 64;

/// How many bytes of a line that is no event are shown.
const SHOWN: usize = 200;

/// What to stream.
#[derive(Clone, Debug)]
pub struct StreamQuery {
    /// A namespace, or `*`: all that exist at this moment, which the token must all be allowed to read.
    pub namespace: String,
    /// The topics; none is every topic, which takes a management token.
    pub topics: Vec<Topic>,
    /// Where to start: this index again, if the server still holds it, otherwise at the oldest it holds, in silence.
    /// 0 is the oldest.
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
    /// A line that came in the place of the first heartbeat.
    first: Option<Result<Bytes, LongLine>>,
    /// `None` once the connection is at its end.
    body: Option<Response>,
    pieces: Pieces,
    /// When the silence counts as death; set when a reader begins to wait, so that a busy one is not taken for a silent
    /// server.
    deadline: Option<Instant>,
    extended: bool,
}

/// How a connection brings its lines. A proxy that buffers passes on what fills its buffer, wherever a line ends.
#[derive(Debug, Default)]
struct Pieces {
    /// Something has come. The first piece shows nothing: it can come with the head of the answer.
    begun: bool,
    /// So many in a row were whole lines.
    whole: u32,
    /// Nothing holds the lines back.
    unbuffered: bool,
}

impl Pieces {
    /// Takes in a piece of the body; `begins` says that it does not go on with a line of the piece before.
    fn take(&mut self, begins: bool, piece: &[u8]) {
        let is_whole = std::mem::replace(&mut self.begun, true) && begins && piece.ends_with(b"\n");
        self.whole = if is_whole { self.whole + 1 } else { 0 };
        let is_alone = || piece.split(|byte| *byte == b'\n').all(is_heartbeat);
        self.unbuffered |= self.whole >= WHOLE_PIECES || is_whole && piece.len() <= SIGNS_OF_LIFE && is_alone();
    }
}

/// How the first line came out.
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
    /// Heartbeats are taken in here. Half a line before the end is dropped: it comes again on resuming. A line can be an
    /// error message instead of events: that is for the caller to see, who alone can tell whether it came before.
    ///
    /// # Errors
    /// [`Error::LongLine`] for one that is too long: the stream goes on behind it. After any other error it is at its end:
    /// [`Error::Silent`] without any sign of life, [`Error::Garbage`] for a line without end, [`Error::Broken`] for a
    /// connection cut off.
    pub async fn next_line(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(first) = self.first.take() {
            return first.map(Some).map_err(|long| self.long_line(long));
        }
        loop {
            match self.ready()? {
                // What came with it need not wait for what comes next.
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

    /// How much of the next line has come, where its end has not; 0 between two lines.
    pub fn bytes_of_line(&self) -> usize {
        self.lines.unfinished()
    }

    /// Whether it is certain that nothing on the way holds the stream back: a heartbeat has arrived by itself, or several
    /// pieces in a row that were whole lines.
    pub fn is_unbuffered(&self) -> bool {
        self.pieces.unbuffered
    }

    /// Waits until it [is certain](EventStream::is_unbuffered) that nothing holds the stream back. What arrives meanwhile
    /// is dropped.
    ///
    /// # Errors
    /// As [`EventStream::next_line`], and [`Error::HeldBack`] where the connection ends first.
    pub async fn until_unbuffered(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        while !self.is_unbuffered() {
            while self.ready()?.is_some() {}
            if self.body.is_none() {
                return Err(Error::HeldBack { address: self.server.clone(), after: begun.elapsed() });
            }
            self.fill().await?;
        }
        Ok(())
    }

    /// The label of the address it comes from.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A line that has wholly arrived, heartbeats too, and those that are too long.
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
    /// Subscribes, and waits until the subscription stands: until the stream's first line.
    ///
    /// Nomad accepts a namespace that does not exist, and topics it does not know, in silence.
    ///
    /// # Errors
    /// Since 1.11.2 a refusal is a success that ends without a line; what it means is then found out with list requests:
    /// [`Error::Denied`] names the missing permission, [`Error::NoNamespace`] the missing namespace,
    /// [`Error::NoStream`] a cluster without events, [`Error::Refused`] what is left to guess.
    pub async fn stream(&self, query: &StreamQuery) -> Result<EventStream, Error> {
        self.renewing(|| self.subscribe(query)).await
    }

    async fn subscribe(&self, query: &StreamQuery) -> Result<EventStream, Error> {
        let call = query.call();
        let limit = self.limits().open;
        let asked = Instant::now();
        let (response, server) = match self.ask(&call, limit).await {
            // A proxy that waits for a full buffer keeps even the head of the answer.
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
            // Nomad itself ends a refusal properly.
            Ok(Opening::Nothing) | Err(Error::Broken { .. }) => match self.explain(server, query).await {
                Error::Refused { address, .. } => Err(Error::HeldBack { address, after: asked.elapsed() }),
                error => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// What it means that no answer to `query` came: where the same server answers other questions at once, the stream is
    /// held back.
    async fn held_back(&self, error: Error, query: &StreamQuery, asked: Instant) -> Error {
        let Error::Timeout { address, .. } = &error else { return error };
        let Some(server) = self.server(address) else { return error };
        match timeout(OTHER_QUESTIONS, self.explain(server, query)).await {
            Ok(Error::Refused { address, .. }) => Error::HeldBack { address, after: asked.elapsed() },
            Ok(found @ (Error::Denied { .. } | Error::NoNamespace { .. } | Error::NoStream { .. })) => found,
            Ok(_) | Err(_) => error,
        }
    }
}

/// Statuses and words of a Nomad without events: no such path before 1.0, no such call at an older server behind a newer
/// agent, and a broker that is switched off (`EventBroker not configured`).
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
            "there is no Nomad API at {address}: /v1/event/stream answers {code} {text:?}; check the path in NOMAD_ADDR. \
             Nomad before 1.0 has no event stream either"
        )
    } else if code == 501 || lower.contains("unknown rpc") {
        format!("Nomad at {address} has no event stream: it answers {code} {text:?}, as Nomad before 1.0 does")
    } else {
        return Error::Status { address, what, code, text };
    };
    Error::NoStream { address, reason }
}

/// The first words of a line that is none of Nomad's: an error message. Where JSON begins in it, objects of the cluster can
/// follow, and what they hold is not for the log.
fn shown(line: &[u8]) -> String {
    let words = line.split(|byte| matches!(byte, b'{' | b'[' | b'"')).next().unwrap_or_default().trim_ascii();
    format!("a line of {} bytes that is no event: {}", line.len(), redact::shown(words, SHOWN))
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
