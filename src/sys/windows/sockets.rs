//! Sockets: second handles on those of TCP.

use std::{io, net::TcpStream, os::windows::io::AsSocket, path::Path};

use reqwest::ClientBuilder;

/// Whether a client can connect to a socket that is named by a path.
pub(crate) const HAVE_PATHS: bool = false;

/// No setting gets here: see [`HAVE_PATHS`].
pub(crate) fn through(builder: ClientBuilder, _: &Path) -> ClientBuilder {
    builder
}

/// No setting gets here: see [`HAVE_PATHS`].
pub(crate) async fn connect_path(_: &Path) -> io::Result<tokio::net::TcpStream> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There is no logger with a socket.
pub(crate) const LOGGERS: [&str; 0] = [];

/// There are none: see [`HAVE_PATHS`].
pub(crate) use tokio::net::UdpSocket as PathDatagram;

/// No setting gets here: see [`HAVE_PATHS`].
pub(crate) fn datagrams_to(_: &Path) -> io::Result<PathDatagram> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A second handle on the socket.
pub(crate) fn second_handle(socket: &impl AsSocket) -> io::Result<TcpStream> {
    Ok(TcpStream::from(socket.as_socket().try_clone_to_owned()?))
}

/// The name of a host of PostgreSQL. There are no Unix sockets.
#[cfg(feature = "postgres")]
pub(crate) fn host_or_directory(host: &tokio_postgres::config::Host) -> Result<&str, &std::path::Path> {
    let tokio_postgres::config::Host::Tcp(name) = host;
    Ok(name)
}
