//! Sockets: second handles, and those that are named by a path.

use std::{io, net::TcpStream, os::fd::AsFd, path::Path};

use reqwest::ClientBuilder;

/// Whether a client can connect to a socket that is named by a path.
pub(crate) const HAVE_PATHS: bool = true;

/// A client whose connections all go to the socket of this path.
pub(crate) fn through(builder: ClientBuilder, path: &Path) -> ClientBuilder {
    builder.unix_socket(path)
}

/// Connects to the socket of this path.
pub(crate) async fn connect_path(path: &Path) -> io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::connect(path).await
}

/// Where the logger of this machine may listen.
pub(crate) const LOGGERS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

/// A socket for datagrams.
pub(crate) use tokio::net::UnixDatagram as PathDatagram;

/// Connects a socket for datagrams to the one of this path.
pub(crate) fn datagrams_to(path: &Path) -> io::Result<PathDatagram> {
    let socket = PathDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

/// A second handle on the socket.
pub(crate) fn second_handle(socket: &impl AsFd) -> io::Result<TcpStream> {
    Ok(TcpStream::from(socket.as_fd().try_clone_to_owned()?))
}

/// The name of a host of PostgreSQL, or else the directory of its Unix socket.
#[cfg(feature = "postgres")]
pub(crate) fn host_or_directory(host: &tokio_postgres::config::Host) -> Result<&str, &std::path::Path> {
    match host {
        tokio_postgres::config::Host::Tcp(name) => Ok(name),
        tokio_postgres::config::Host::Unix(directory) => Err(directory),
    }
}
