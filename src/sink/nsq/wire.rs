//! One connection to an nsqd: login, heartbeats, and the answers to commands, which come in the order of the commands.
//!
//! A task reads all that comes, another one answers heartbeats, so that an idle connection stays alive. A connection that is dropped sends nothing
//! more, whatever is still in a buffer.

use std::{
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use rustls::ClientConfig;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Config, Server,
    fault::Fault,
    proto::{self, Frame, Identified},
};
use crate::{
    identity,
    sink::{
        ErrorClass,
        dial::{self, AtDrop, Socket, Stream},
    },
    sys,
    tls::Asked,
};

/// How long the answer to a heartbeat may take: as long as until the next one, which nsqd sends each 30 s.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A connection on which nothing came for so long, with two heartbeats missing, is dead.
const SILENCE: Duration = Duration::from_secs(75);

/// The most bytes that are written at a time.
const PIECE: usize = 64 << 10;

/// More answers than a batch has commands.
const ANSWERS: usize = 1_024;

/// What a connection is made of.
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) asked: Asked,
}

/// An open connection. Dropping it ends it.
pub(super) struct Link {
    inner: Arc<Inner>,
    answers: mpsc::Receiver<Answer>,
    version: String,
    _tasks: [AbortOnDropHandle<()>; 2],
}

struct Inner {
    /// Its address, for messages.
    server: String,
    writer: tokio::sync::Mutex<WriteHalf<Box<dyn Stream>>>,
    socket: Socket,
    heartbeat: Notify,
    /// Why it has ended.
    fault: Mutex<Option<Fault>>,
}

/// nsqd's answer to a command.
#[derive(Debug)]
pub(super) enum Answer {
    Taken,
    /// Its words. It closes the connection.
    Error(String),
}

impl Link {
    /// Connects and logs in.
    pub(super) async fn connect(config: &Config, tls: &Tls, server: &Server, within: Duration) -> Result<Self, Fault> {
        let shown = server.to_string();
        let opened = timeout(within, open(config, tls, server, within)).await;
        let late = || {
            let fix = "check that nsqd runs there, and SINK_NSQ_ADDR";
            Fault::new(ErrorClass::Timeout, format!("{shown} did not open a connection within {within:.1?}; {fix}"))
        };
        let Opened { stream, buffer, version, socket } = opened.map_err(|_| late())??;
        let (read, write) = tokio::io::split(stream);
        let inner = Arc::new(Inner {
            server: shown,
            writer: tokio::sync::Mutex::new(write),
            socket,
            heartbeat: Notify::new(),
            fault: Mutex::default(),
        });
        let (sender, answers) = mpsc::channel(ANSWERS);
        let reading = tokio::spawn(Arc::clone(&inner).read(read, buffer, sender));
        let living = tokio::spawn(Arc::clone(&inner).live());
        Ok(Link { inner, answers, version, _tasks: [reading, living].map(AbortOnDropHandle::new) })
    }

    pub(super) fn server(&self) -> &str {
        &self.inner.server
    }

    /// The version of nsqd.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Whether commands can be sent over it. An answer that nobody waits for would be taken for that of the next command.
    pub(super) fn is_usable(&self) -> bool {
        self.inner.fault().is_none() && self.answers.is_empty()
    }

    /// Writes whole commands, each piece of them within this time.
    pub(super) async fn write(&self, commands: &[u8], within: Duration) -> Result<(), Fault> {
        self.inner.write(commands, within).await
    }

    /// The next answer.
    pub(super) async fn answer(&mut self) -> Result<Answer, Fault> {
        let ended = || Fault::new(ErrorClass::Connection, format!("connection to {}: it ended", self.inner.server));
        match self.answers.recv().await {
            Some(answer) => Ok(answer),
            None => Err(self.inner.fault().clone().unwrap_or_else(ended)),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.inner.socket.tear_off();
    }
}

impl Inner {
    fn fault(&self) -> MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, commands: &[u8], within: Duration) -> Result<(), Fault> {
        let late = || {
            let text = format!("{} took nothing for {within:?}; check nsqd and the network", self.server);
            Fault::new(ErrorClass::Timeout, text)
        };
        let mut writer = timeout(within, self.writer.lock()).await.map_err(|_| late())?;
        for piece in commands.chunks(PIECE) {
            let written = timeout(within, async {
                writer.write_all(piece).await?;
                writer.flush().await
            });
            let written = written.await.map_err(|_| late())?;
            written.map_err(|error| Fault::of_io(&self.server, &error, &Asked::default()))?;
        }
        Ok(())
    }

    async fn read(
        self: Arc<Self>,
        mut half: ReadHalf<Box<dyn Stream>>,
        mut buffer: BytesMut,
        answers: mpsc::Sender<Answer>,
    ) {
        let fault = loop {
            let answer = match timeout(SILENCE, frame(&mut half, &mut buffer)).await {
                Ok(Ok(Frame::Heartbeat)) => {
                    self.heartbeat.notify_one();
                    continue;
                }
                Ok(Ok(Frame::Response(words))) if words == "OK" => Answer::Taken,
                Ok(Ok(Frame::Response(words))) => Answer::Error(String::from_utf8_lossy(&words).into_owned()),
                Ok(Ok(Frame::Error(words))) => Answer::Error(words),
                Ok(Err(error)) => break Fault::of_io(&self.server, &error, &Asked::default()),
                Err(_) => {
                    let text = format!("{} sent no heartbeat; check nsqd and the network", self.server);
                    break Fault::new(ErrorClass::Timeout, text);
                }
            };
            // The link is gone where nobody takes it.
            if answers.send(answer).await.is_err() {
                return;
            }
        };
        self.fault().get_or_insert(fault);
    }

    /// Answers heartbeats: nsqd ends a connection on which it reads nothing for two of them.
    async fn live(self: Arc<Self>) {
        loop {
            self.heartbeat.notified().await;
            if self.write(proto::NOP, HEARTBEAT).await.is_err() {
                // What reads notices, too.
                return self.socket.tear_off();
            }
        }
    }
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
    version: String,
    socket: Socket,
}

async fn open(config: &Config, tls: &Tls, server: &Server, within: Duration) -> Result<Opened, Fault> {
    let shown = server.to_string();
    let failed = |error: io::Error| Fault::of_io(&shown, &error, &tls.asked);
    let mut tcp = dial::tcp(&server.host, server.port, AtDrop::Discard, within).await.map_err(failed)?;
    let socket = Socket::of(&tcp).map_err(failed)?;
    let mut buffer = BytesMut::with_capacity(8 << 10);
    let mut hello = proto::MAGIC.to_vec();
    proto::command(&mut hello, "IDENTIFY", identity(server.secure).as_bytes());
    tcp.write_all(&hello).await.map_err(failed)?;
    let answer = said(&mut tcp, &mut buffer).await.map_err(failed)?.map_err(|words| Fault::of_words(&shown, &words))?;
    // An nsqd that negotiates nothing says only OK.
    let Identified { version, tls_v1, auth_required } = serde_json::from_slice(&answer).unwrap_or_default();
    let mut stream: Box<dyn Stream> = if server.secure {
        if !tls_v1 {
            let fix = "start nsqd with --tls-cert and --tls-key, or leave tls:// out of SINK_NSQ_ADDR";
            return Err(Fault::new(ErrorClass::Refused, format!("{shown} offers no TLS; {fix}")));
        }
        // Nothing that came without TLS may count as if it had come with it.
        buffer.clear();
        let mut stream = dial::secure(tcp, &tls.config, &server.host).await.map_err(failed)?;
        let answer = said(&mut stream, &mut buffer).await.map_err(failed)?;
        answer.map_err(|words| Fault::of_words(&shown, &words))?;
        tls.asked.answered();
        stream
    } else {
        Box::new(tcp)
    };
    if auth_required {
        let Some(secret) = &config.secret else {
            let fix = "set SINK_NSQ_AUTH_SECRET or SINK_NSQ_AUTH_SECRET_FILE";
            return Err(Fault::new(
                ErrorClass::Refused,
                format!("{shown} asks for the secret of its auth server; {fix}"),
            ));
        };
        let secret = secret.current("SINK_NSQ_AUTH_SECRET_FILE").await;
        let secret = secret.map_err(|reason| Fault::new(ErrorClass::Local, reason))?;
        let mut command = Vec::new();
        proto::command(&mut command, "AUTH", secret.expose().as_bytes());
        stream.write_all(&command).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
        let answer = said(&mut stream, &mut buffer).await.map_err(failed)?;
        answer.map_err(|words| Fault::of_words(&shown, &words))?;
    }
    Ok(Opened { stream, buffer, version, socket })
}

/// The answer to the only command under way, or the words of an error.
async fn said(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<Result<Bytes, String>> {
    loop {
        match frame(stream, buffer).await? {
            Frame::Heartbeat => {}
            Frame::Response(answer) => return Ok(Ok(answer)),
            Frame::Error(words) => return Ok(Err(words)),
        }
    }
}

/// What the program says of itself, and what it wants.
fn identity(secure: bool) -> String {
    let name = sys::machine::name();
    json!({
        "client_id": name,
        "hostname": name,
        "user_agent": identity::PRODUCT,
        "feature_negotiation": true,
        "tls_v1": secure,
    })
    .to_string()
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("server", &self.inner.server).field("is_usable", &self.is_usable()).finish()
    }
}
