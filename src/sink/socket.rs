//! A TCP connection of a sink that speaks its protocol by itself: made within a deadline, over TLS if need be, and torn off.

use std::{
    io,
    net::{Shutdown, SocketAddr},
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

use crate::sys;

/// Bytes in both directions, over TLS or not.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Connects to the first address of `host` that accepts. A silent address gets only its share of the time: a name can stand for several
/// servers, and one of them may be gone.
///
/// A close discards the bytes that are not sent yet.
pub(super) async fn connect(host: &str, port: u16, within: Duration) -> io::Result<TcpStream> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
    let found = timeout(within, lookup_host((host, port))).await.map_err(|_| late())??;
    let addresses: Vec<SocketAddr> = found.collect();
    let shares = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match timeout(within / shares, TcpStream::connect(address)).await.unwrap_or_else(|_| Err(late())) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_zero_linger()?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// The TLS handshake. The server's certificate has to be for `name`.
pub(super) async fn secure(stream: TcpStream, config: Arc<ClientConfig>, name: &str) -> io::Result<Box<dyn Duplex>> {
    let name = ServerName::try_from(name.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the host's name cannot be that of a certificate"))?;
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}

/// Ends a connection at once, whoever reads or writes it.
#[derive(Debug)]
pub(super) struct Tear(std::net::TcpStream);

impl Tear {
    pub(super) fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Tear(sys::sockets::second_handle(stream)?))
    }

    /// Nothing is read or written from now on. What the system has not sent yet is discarded when the stream is dropped.
    pub(super) fn off(&self) {
        // It may be closed already.
        self.0.shutdown(Shutdown::Both).ok();
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn what_was_not_sent_yet_is_discarded() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let mut stream = connect("127.0.0.1", address.port(), Duration::from_secs(10)).await.expect("it listens");
        let tear = Tear::of(&stream).expect("a second handle");
        let (mut far, _) = listener.accept().await.expect("a connection");
        // The far side reads nothing, so that both buffers fill.
        let mut written = 0;
        while let Ok(Ok(more)) = timeout(Duration::from_millis(200), stream.write(&[7; 1 << 16])).await {
            written += more;
        }
        tear.off();
        drop((stream, tear));
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
}
