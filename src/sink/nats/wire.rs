//! One connection to a server: login, the inbox for acknowledgements, and who waits for them.
//!
//! A task reads all that comes, another one answers the server's pings, so that an idle connection stays alive. What a sender gives up is
//! never sent later: the connection ends with it, before anybody else can write to it.

use std::{
    collections::HashMap,
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::BytesMut;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Config, Server,
    fault::Fault,
    login,
    proto::{self, Frame, Info, Message},
};
use crate::{
    sink::{
        ErrorClass,
        dial::{self, AtDrop, Socket, Stream},
    },
    tls::Asked,
};

/// How often an idle connection is tried. One that has answered nothing twice is dead.
const PING: Duration = Duration::from_secs(60);

/// The most bytes of a message with its headers, if the server does not say it: NATS's default.
const MAX_PAYLOAD: usize = 1 << 20;

/// The most bytes that are written at a time.
pub(super) const PIECE: usize = 64 << 10;

/// What a connection is made of.
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) asked: Asked,
}

/// An open connection. Dropping it ends it.
pub(super) struct Link {
    inner: Arc<Inner>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

struct Inner {
    /// Its address, for messages.
    server: String,
    info: Info,
    /// As the last INFO says it that does.
    max_payload: AtomicUsize,
    /// What inboxes begin with.
    inbox: String,
    writer: tokio::sync::Mutex<WriteHalf<Box<dyn Stream>>>,
    socket: Socket,
    state: Mutex<State>,
    pong: Notify,
    /// The server is about to stop.
    is_leaving: AtomicBool,
    /// Something came since the last ping.
    is_heard: AtomicBool,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u64, mpsc::Sender<Arrival>>,
    next: u64,
    /// Why it has ended.
    fault: Option<Fault>,
}

/// What came for a sender.
#[derive(Debug)]
pub(super) enum Arrival {
    /// The answer to the record of this number.
    Answer(usize, Message),
    /// The user may not publish to this subject.
    Denied(String, Fault),
}

impl Link {
    /// Connects and logs in.
    pub(super) async fn connect(config: &Config, tls: &Tls, server: &Server, within: Duration) -> Result<Self, Fault> {
        let shown = server.to_string();
        let opened = timeout(within, open(config, tls, server, within)).await;
        let late = || {
            let fix = "check that NATS runs there, and SINK_NATS_URL";
            Fault::new(ErrorClass::Timeout, format!("{shown} did not open a connection within {within:.1?}; {fix}"))
        };
        let Opened { stream, buffer, info, inbox, socket } = opened.map_err(|_| late())??;
        let (read, write) = tokio::io::split(stream);
        let is_leaving = info.ldm;
        let inner = Arc::new(Inner {
            server: shown,
            max_payload: AtomicUsize::new(info.max_payload.unwrap_or(MAX_PAYLOAD)),
            info,
            inbox,
            writer: tokio::sync::Mutex::new(write),
            socket,
            state: Mutex::default(),
            pong: Notify::new(),
            is_leaving: AtomicBool::new(is_leaving),
            is_heard: AtomicBool::new(true),
        });
        let reading = tokio::spawn(Arc::clone(&inner).read(read, buffer));
        let living = tokio::spawn(Arc::clone(&inner).live());
        Ok(Link { inner, _tasks: [reading, living].map(AbortOnDropHandle::new) })
    }

    pub(super) fn server(&self) -> &str {
        &self.inner.server
    }

    pub(super) fn info(&self) -> &Info {
        &self.inner.info
    }

    /// The most bytes of a message with its headers.
    pub(super) fn max_payload(&self) -> usize {
        self.inner.max_payload.load(Ordering::Relaxed)
    }

    /// Whether new records can be sent over it.
    pub(super) fn is_usable(&self) -> bool {
        self.inner.state().fault.is_none() && !self.inner.is_leaving.load(Ordering::Relaxed)
    }

    /// A place for so many answers.
    pub(super) fn ticket(&self, answers: usize) -> Result<Ticket<'_>, Fault> {
        // Room for some refusals beside them.
        let (sender, arrivals) = mpsc::channel(answers + 16);
        let mut state = self.inner.state();
        if let Some(fault) = &state.fault {
            return Err(fault.clone());
        }
        let number = state.next;
        state.next += 1;
        state.waiting.insert(number, sender);
        Ok(Ticket { link: self, number, arrivals, is_dirty: false })
    }

    /// Waits for its turn to write.
    pub(super) async fn writing(&self) -> Writing<'_> {
        Writing { inner: &self.inner, writer: self.inner.writer.lock().await, is_whole: true }
    }

    /// Why it has ended.
    pub(super) fn fault(&self) -> Fault {
        self.inner.state().fault.clone().unwrap_or_else(|| Fault::ended(&self.inner.server))
    }
}

/// Somebody who waits for answers. If it is dropped while some are due, the connection ends.
pub(super) struct Ticket<'a> {
    link: &'a Link,
    number: u64,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    /// A record is written, or could be, that has no answer yet.
    pub(super) is_dirty: bool,
}

impl Ticket<'_> {
    /// Where the answer to the record of this number arrives.
    pub(super) fn inbox(&self, record: usize) -> String {
        format!("{}.{}-{record}", self.link.inner.inbox, self.number)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let inner = &self.link.inner;
        inner.state().waiting.remove(&self.number);
        if self.is_dirty {
            inner.close(Fault::new(ErrorClass::Connection, format!("the connection to {} was given up", inner.server)));
        }
    }
}

/// The right to write. A frame that is not written whole ends the connection before the next writer has its turn.
pub(super) struct Writing<'a> {
    inner: &'a Inner,
    writer: tokio::sync::MutexGuard<'a, WriteHalf<Box<dyn Stream>>>,
    is_whole: bool,
}

impl Writing<'_> {
    /// Writes whole frames, each piece of them within this time.
    pub(super) async fn all(&mut self, frames: &[u8], within: Duration) -> Result<(), Fault> {
        self.is_whole = false;
        for piece in frames.chunks(PIECE) {
            let written = timeout(within, async {
                self.writer.write_all(piece).await?;
                self.writer.flush().await
            });
            match written.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let known = self.inner.state().fault.clone();
                    return Err(known.unwrap_or_else(|| Fault::of_io(&self.inner.server, &error, &Asked::default())));
                }
                Err(_) => {
                    let text =
                        format!("{} took nothing for {within:?}; check the server and the network", self.inner.server);
                    return Err(Fault::new(ErrorClass::Timeout, text));
                }
            }
        }
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            let server = &self.inner.server;
            self.inner.close(Fault::new(ErrorClass::Connection, format!("the connection to {server} was given up")));
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it, for everybody. The first reason stays.
    fn close(&self, fault: Fault) {
        let mut state = self.state();
        state.fault.get_or_insert(fault);
        state.waiting.clear();
        self.socket.tear_off();
    }

    async fn read(self: Arc<Self>, mut half: ReadHalf<Box<dyn Stream>>, mut buffer: BytesMut) {
        let mut last_words = None;
        let fault = loop {
            match frame(&mut half, &mut buffer).await {
                Ok(frame) => self.heed(frame, &mut last_words),
                Err(error) => break Fault::of_io(&self.server, &error, &Asked::default()),
            }
        };
        self.close(last_words.map_or(fault, |words: String| Fault::of_words(&self.server, &words)));
    }

    fn heed(&self, frame: Frame, last_words: &mut Option<String>) {
        self.is_heard.store(true, Ordering::Relaxed);
        match frame {
            Frame::Ping => self.pong.notify_one(),
            Frame::Info(info) => {
                if let Some(bytes) = info.max_payload {
                    self.max_payload.store(bytes, Ordering::Relaxed);
                }
                self.is_leaving.fetch_or(info.ldm, Ordering::Relaxed);
            }
            Frame::Message(message) => self.answered(message),
            Frame::Error(words) => match denied(&words) {
                Some(subject) => {
                    let fault = Fault::of_words(&self.server, &words);
                    for sender in self.state().waiting.values() {
                        // Who has no room for it hears of it as a missing answer.
                        sender.try_send(Arrival::Denied(subject.to_owned(), fault.clone())).ok();
                    }
                }
                None => *last_words = Some(words),
            },
            Frame::Pong | Frame::Ok => {}
        }
    }

    fn answered(&self, message: Message) {
        let Some((_, token)) = message.subject.rsplit_once('.') else { return };
        let Some((ticket, record)) = token.split_once('-') else { return };
        let (Ok(ticket), Ok(record)) = (ticket.parse::<u64>(), record.parse()) else { return };
        if let Some(sender) = self.state().waiting.get(&ticket) {
            // There is room for one answer to each record.
            sender.try_send(Arrival::Answer(record, message)).ok();
        }
    }

    /// Answers pings, and sends some of its own while nothing comes.
    async fn live(self: Arc<Self>) {
        let mut is_tried = false;
        loop {
            let is_asked = timeout(PING, self.pong.notified()).await.is_ok();
            let frame: &[u8] = if is_asked {
                b"PONG\r\n"
            } else if self.is_heard.swap(false, Ordering::Relaxed) {
                is_tried = false;
                b"PING\r\n"
            } else if is_tried {
                let text = format!("{} answered no ping; check the server and the network", self.server);
                return self.close(Fault::new(ErrorClass::Timeout, text));
            } else {
                is_tried = true;
                b"PING\r\n"
            };
            let mut writing = Writing { inner: &self, writer: self.writer.lock().await, is_whole: true };
            if writing.all(frame, PING).await.is_err() {
                return;
            }
        }
    }
}

/// The subject that the user may not publish to: `Permissions Violation for Publish to "a"`.
fn denied(words: &str) -> Option<&str> {
    let (before, rest) = words.split_once('"')?;
    before.to_ascii_lowercase().contains("violation for publish").then_some(rest.split_once('"')?.0)
}

/// The next frame.
async fn frame(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<Frame> {
    loop {
        if let Some(frame) = proto::next(buffer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            return Ok(frame);
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A connection that is logged in.
struct Opened {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    info: Info,
    inbox: String,
    socket: Socket,
}

async fn open(config: &Config, tls: &Tls, server: &Server, within: Duration) -> Result<Opened, Fault> {
    let shown = server.to_string();
    let failed = |error: io::Error| Fault::of_io(&shown, &error, &tls.asked);
    let mut tcp = dial::tcp(&server.host, server.port, AtDrop::Discard, within).await.map_err(failed)?;
    let socket = Socket::of(&tcp).map_err(failed)?;
    let mut buffer = BytesMut::with_capacity(8 << 10);
    let (mut stream, mut info) = if config.tls_first {
        let mut stream = dial::secure(tcp, &tls.config, &server.host).await.map_err(failed)?;
        let info = greeting(&mut stream, &mut buffer).await.map_err(failed)?;
        (stream, info)
    } else {
        let info = greeting(&mut tcp, &mut buffer).await.map_err(failed)?;
        let stream: Box<dyn Stream> = if server.secure || info.tls_required {
            // Nothing that came without TLS may count as if it had come with it.
            buffer.clear();
            dial::secure(tcp, &tls.config, &server.host).await.map_err(failed)?
        } else {
            Box::new(tcp)
        };
        (stream, info)
    };
    if !info.headers {
        let text = format!("{shown} takes no headers; enable them there (no_header_support), or use NATS 2.2 or later");
        return Err(Fault::new(ErrorClass::Refused, text));
    }
    let is_tls = server.secure || config.tls_first || info.tls_required;
    let options = login::options(&config.login, &info, is_tls).await?;
    let inbox = format!("{}.{}", config.inbox, token());
    // With the first PONG, before or behind it, comes the INFO with the limits of the account: it is there with the second one.
    let hello = format!("CONNECT {options}\r\nSUB {inbox}.* 1\r\nPING\r\nPING\r\n");
    stream.write_all(hello.as_bytes()).await.map_err(failed)?;
    stream.flush().await.map_err(failed)?;
    let mut pongs = 0;
    while pongs < 2 {
        match frame(&mut stream, &mut buffer).await.map_err(failed)? {
            Frame::Pong => pongs += 1,
            Frame::Info(later) => {
                info.max_payload = later.max_payload.or(info.max_payload);
                info.ldm |= later.ldm;
            }
            Frame::Ping => stream.write_all(b"PONG\r\n").await.map_err(failed)?,
            Frame::Error(words) => return Err(Fault::of_words(&shown, &words)),
            Frame::Message(_) | Frame::Ok => {}
        }
    }
    tls.asked.answered();
    Ok(Opened { stream, buffer, info, inbox, socket })
}

async fn greeting(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<Info> {
    match frame(stream, buffer).await? {
        Frame::Info(info) => Ok(*info),
        Frame::Error(words) => Err(io::Error::other(words)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, proto::Malformed("no INFO came first"))),
    }
}

/// A name that no other connection has.
fn token() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(22).collect()
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("server", &self.inner.server).field("is_usable", &self.is_usable()).finish()
    }
}
