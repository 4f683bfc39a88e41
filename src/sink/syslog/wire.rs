//! The way to the server: a connection, or a socket for datagrams.

use std::{future::Future, io, path::Path, time::Duration};

use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::UdpSocket,
    time::timeout,
};

use super::{Settings, Target};
use crate::{
    sink::dial::{AtDrop, Place, Socket, Stream, dial},
    sys::sockets::{LOGGERS, PathDatagram, datagrams_to},
};

/// How long a server may take until a connection is open, TLS included.
const CONNECT: Duration = Duration::from_secs(10);

/// How long it may take nothing of what is written.
const WRITE: Duration = Duration::from_secs(30);

/// An open way.
pub(super) enum Wire {
    Stream { reader: ReadHalf<Box<dyn Stream>>, writer: WriteHalf<Box<dyn Stream>>, socket: Socket },
    Udp(UdpSocket),
    Datagrams(PathDatagram),
}

impl Wire {
    pub(super) async fn open(settings: &Settings) -> io::Result<Self> {
        match &settings.target {
            Target::Stream(place) => Wire::stream(place, settings).await,
            Target::Tls(place) => Wire::stream(place, settings).await,
            Target::Udp(host, port) => in_time(CONNECT, Wire::udp(host, *port)).await,
            Target::Datagram(path) => Ok(Wire::Datagrams(datagrams_to(path)?)),
            Target::Local => Wire::local(settings).await,
        }
    }

    async fn stream(place: &Place, settings: &Settings) -> io::Result<Self> {
        // What is written counts as delivered: the system has to send it.
        let dialled = dial(place, settings.tls.as_ref(), AtDrop::Send, CONNECT).await?;
        let (reader, writer) = tokio::io::split(dialled.stream);
        Ok(Wire::Stream { reader, writer, socket: dialled.socket })
    }

    async fn udp(host: &str, port: u16) -> io::Result<Self> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in tokio::net::lookup_host((host, port)).await? {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).await?;
            match socket.connect(address).await {
                Ok(()) => return Ok(Wire::Udp(socket)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The first that is there, by datagrams or as a stream, as Go's syslog package looks for it.
    async fn local(settings: &Settings) -> io::Result<Self> {
        for path in LOGGERS {
            if let Ok(socket) = datagrams_to(Path::new(path)) {
                return Ok(Wire::Datagrams(socket));
            }
            if let Ok(wire) = Wire::stream(&Place::Path(path.into()), settings).await {
                return Ok(wire);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "no logger listens on this machine"))
    }

    /// Whether messages are told apart by the way itself.
    pub(super) fn is_of_datagrams(&self) -> bool {
        !matches!(self, Wire::Stream { .. })
    }

    /// Whether the server has closed the connection, as far as this machine knows. What it sends is thrown away.
    pub(super) fn is_closed(&mut self) -> bool {
        let Wire::Stream { reader, .. } = self else { return false };
        let mut buffer = [0; 512];
        loop {
            match reader.read(&mut buffer).now_or_never() {
                None => return false,
                Some(Ok(1..)) => {}
                Some(Ok(0) | Err(_)) => return true,
            }
        }
    }

    /// Waits a while for an end of a connection, which is an error.
    pub(super) async fn settle(&mut self, within: Duration) -> io::Result<()> {
        let Wire::Stream { reader, .. } = self else { return Ok(()) };
        match timeout(within, closed(reader)).await {
            Ok(()) => Err(ended()),
            Err(_) => Ok(()),
        }
    }

    /// Writes bytes of a stream; ends early once the server closes.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Wire::Stream { reader, writer, .. } = self else { return Ok(()) };
        let written = async {
            let mut left = bytes;
            while !left.is_empty() {
                match in_time(WRITE, writer.write(left)).await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    taken => left = &left[taken..],
                }
            }
            in_time(WRITE, writer.flush()).await
        };
        tokio::select! {
            biased;
            () = closed(reader) => Err(ended()),
            written = written => written,
        }
    }

    /// Sends one datagram.
    pub(super) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Wire::Udp(socket) => in_time(WRITE, socket.send(message)).await.map(drop),
            Wire::Datagrams(socket) => in_time(WRITE, socket.send(message)).await.map(drop),
            Wire::Stream { .. } => Ok(()),
        }
    }

    /// Ends a connection at once.
    pub(super) fn tear_off(&self) {
        if let Wire::Stream { socket, .. } = self {
            socket.tear_off();
        }
    }
}

/// Waits for the server's end of a connection. What it sends until then is thrown away.
async fn closed(reader: &mut ReadHalf<Box<dyn Stream>>) {
    let mut buffer = [0; 512];
    while let Ok(1..) = reader.read(&mut buffer).await {}
}

/// What a batch during which the server ends the connection fails with.
pub(super) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the server has closed the connection")
}

async fn in_time<T>(within: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("the server took nothing within {within:?}"));
    timeout(within, step).await.map_err(late)?
}
