//! Opens a connection of bytes: over TCP, over TLS, or to a socket that is named by a path.

use std::{
    fmt, io,
    net::{Shutdown, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::ErrorClass;
use crate::{
    redact::{WORDS, shown},
    sys::sockets,
    tls::{self, Asked, Variables, Words},
};

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A host and a TCP port.
    Tcp {
        /// A name, or an IP address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket that is named by a path.
    Path(PathBuf),
}

/// What becomes of the bytes that are written, and not yet sent, once the connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtDrop {
    /// They are discarded.
    Discard,
    /// The system still sends them.
    Send,
}

/// Both directions of a connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open connection.
pub(super) struct Dialled {
    pub(super) stream: Box<dyn Stream>,
    pub(super) socket: Socket,
}

/// A second handle on the socket of a connection, by which it can be ended while others read or write.
#[derive(Debug)]
pub(super) struct Socket(std::net::TcpStream);

impl Socket {
    /// Another handle on the socket of `stream`.
    pub(super) fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Socket(sockets::second_handle(stream)?))
    }

    /// Ends both directions at once.
    pub(super) fn tear_off(&self) {
        // It may be closed already.
        self.0.shutdown(Shutdown::Both).ok();
    }
}

/// Connects within this time, TLS included.
///
/// # Errors
/// A refusal of TLS is among the causes of the error: see [`crate::tls::cause`].
pub(super) async fn dial(
    place: &Place,
    tls: Option<&Arc<ClientConfig>>,
    at_drop: AtDrop,
    within: Duration,
) -> io::Result<Dialled> {
    let dialled = timeout(within, async {
        let (host, port) = match place {
            Place::Tcp { host, port } => (host.as_str(), *port),
            Place::Path(path) => {
                let stream = sockets::connect_path(path).await?;
                let socket = Socket(sockets::second_handle(&stream)?);
                return Ok(Dialled { stream: Box::new(stream), socket });
            }
        };
        let stream = tcp(host, port, at_drop, within).await?;
        let socket = Socket::of(&stream)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(tls) => secure(stream, tls, host).await?,
        };
        Ok(Dialled { stream, socket })
    });
    dialled.await.unwrap_or_else(|_| Err(late()))
}

/// Connects within this time, without TLS: for a protocol that says first whether it wants TLS.
pub(super) async fn tcp(host: &str, port: u16, at_drop: AtDrop, within: Duration) -> io::Result<TcpStream> {
    let connected = timeout(within, async { first_of(lookup_host((host, port)).await?.collect(), within).await });
    let stream = connected.await.unwrap_or_else(|_| Err(late()))?;
    stream.set_nodelay(true)?;
    if at_drop == AtDrop::Discard {
        stream.set_zero_linger()?;
    }
    Ok(stream)
}

/// The TLS handshake. The server's certificate has to be for `name`.
pub(super) async fn secure(stream: TcpStream, tls: &Arc<ClientConfig>, name: &str) -> io::Result<Box<dyn Stream>> {
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
}

/// What an error of the connection to `server` means: its class, and why with what to fix. `ended` is said if the server has closed it.
pub(super) fn judged(
    server: &str,
    error: &io::Error,
    asked: &Asked,
    variables: &Variables,
    ended: &str,
) -> (ErrorClass, String) {
    let of_tls = tls::cause(error).map(|cause| tls::words(cause, variables));
    let of_tls = of_tls.or_else(|| asked.hint(variables).map(|(why, fix)| Words { why: why.to_owned(), fix }));
    match of_tls {
        Some(Words { why, fix }) => (ErrorClass::Tls, format!("TLS with {server} failed: {why}; {fix}")),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            (ErrorClass::Connection, format!("connection to {server}: {ended}"))
        }
        None => (ErrorClass::Connection, format!("connection to {server}: {}", shown(error.to_string(), WORDS))),
    }
}

/// Connects to the first of these addresses that accepts. A silent address gets only its share of the time: a name can stand for
/// several servers, and one of them may be gone.
async fn first_of(addresses: Vec<SocketAddr>, within: Duration) -> io::Result<TcpStream> {
    // The last share is for TLS.
    let shares = u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_add(1);
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match timeout(within / shares, TcpStream::connect(address)).await.unwrap_or_else(|_| Err(late())) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// What a connection that took too long fails with.
pub(super) fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no connection in time")
}

impl fmt::Debug for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialled").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Place::Tcp { host, port } => write!(f, "{host}:{port}"),
            Place::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpSocket},
    };

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_silent_address_does_not_keep_from_the_next_one() {
        // The backlog is full: the server answers no more than a dead host.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let full = socket.listen(1).expect("it listens");
        let silent = full.local_addr().expect("bound");
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(silent)).await {
            waiting.push(stream);
        }
        let there = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = there.local_addr().expect("bound");
        let stream = first_of(vec![silent, address], WITHIN).await.expect("one is there");
        assert_eq!(stream.peer_addr().expect("connected"), address);
        drop(waiting);
    }

    #[tokio::test]
    async fn what_was_not_sent_yet_is_discarded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut stream = tcp("127.0.0.1", address.port(), AtDrop::Discard, WITHIN).await.expect("it listens");
        let socket = Socket::of(&stream).expect("a second handle");
        let (mut far, _) = listener.accept().await.expect("a connection");
        // The far side reads nothing, so that both buffers fill.
        let mut written = 0;
        while let Ok(Ok(more)) = timeout(Duration::from_millis(200), stream.write(&[7; 1 << 16])).await {
            written += more;
        }
        socket.tear_off();
        drop((stream, socket));
        let (mut read, mut buffer) = (0, vec![0; 1 << 16]);
        let end = loop {
            match far.read(&mut buffer).await {
                Ok(0) => break None,
                Ok(more) => read += more,
                Err(error) => break Some(error.kind()),
            }
        };
        assert_eq!(end, Some(io::ErrorKind::ConnectionReset));
        assert!(read < written, "all {written} bytes came");
    }

    #[test]
    fn a_place_is_shown_as_an_address() {
        let tcp = |host: &str| Place::Tcp { host: host.to_owned(), port: 1 }.to_string();
        assert_eq!((tcp("a"), tcp("::1")), ("a:1".to_owned(), "[::1]:1".to_owned()));
        assert_eq!(Place::Path("/run/a".into()).to_string(), "/run/a");
    }
}
