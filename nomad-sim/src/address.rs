//! An address that stays reserved while nothing listens on it.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::AsFd;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// The address of a server that can be down: connections are refused then, and no other program gets the port.
///
/// A socket that is bound and does not listen reserves the port. Linux binds another socket to it that sets
/// `SO_REUSEADDR` too, and gives the port neither to a program that asks for any free port nor to an outgoing
/// connection.
#[derive(Debug)]
pub struct Address {
    /// Bound as long as this lives.
    _socket: TcpSocket,
    addr: SocketAddr,
}

impl Address {
    /// Reserves `addr`, or a free port where it has port 0.
    ///
    /// # Errors
    /// The address is not this machine's, or another program has it.
    pub fn reserve(addr: SocketAddr) -> io::Result<Self> {
        let socket = bound(addr)?;
        let addr = socket.local_addr()?;
        Ok(Self { _socket: socket, addr })
    }

    /// Reserves a free port of 127.0.0.1.
    ///
    /// # Errors
    /// There is none.
    pub fn free() -> io::Result<Self> {
        Self::reserve((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The reserved address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens until the listener is dropped. `send_buffer` is the size of each connection's send buffer, in bytes.
    ///
    /// # Errors
    /// Another listener has it already.
    pub fn listen(&self, send_buffer: Option<u32>) -> io::Result<Listener> {
        let socket = bound(self.addr)?;
        if let Some(size) = send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        let listener = socket.listen(1024)?;
        let handle = std::net::TcpStream::from(listener.as_fd().try_clone_to_owned()?);
        Ok(Listener { listener, handle })
    }
}

/// Listens at an [`Address`]. Dropping it refuses connections at once.
///
/// Closing the socket alone would not: a child process that is being started also has it open until it executes its
/// program, and listens on until then.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    /// The same socket.
    handle: std::net::TcpStream,
}

impl Listener {
    /// Waits for a connection.
    ///
    /// # Errors
    /// It could not be accepted; the next one can be.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.listener.accept().await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = self.handle.shutdown(Shutdown::Both) {
            tracing::debug!(%error, "it did not listen any more");
        }
    }
}

fn bound(addr: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::{Duration, Instant};

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn it_refuses_while_nobody_listens_and_is_listened_at_again_and_again() {
        let address = Address::free().expect("a free port");
        for _ in 0..20 {
            let begun = Instant::now();
            let refused = TcpStream::connect(address.addr()).await.expect_err("nobody listens");
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
            let listener = address.listen(None).expect("it is ours");
            let mut client = TcpStream::connect(address.addr()).await.expect("it listens");
            // The side that closes first keeps the port for a while.
            drop(listener.accept().await.expect("a connection"));
            drop(listener);
            assert_eq!(client.read(&mut [0]).await.expect("an end"), 0);
        }
    }

    /// As a child process does while it is being started.
    #[tokio::test]
    async fn whoever_has_the_listener_open_too_does_not_keep_it_listening() {
        let address = Address::free().expect("a free port");
        let listener = address.listen(None).expect("it is ours");
        let _open = listener.listener.as_fd().try_clone_to_owned().expect("a second handle");
        drop(listener);
        let refused = TcpStream::connect(address.addr()).await.expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let listener = address.listen(None).expect("it is ours");
        TcpStream::connect(address.addr()).await.expect("it listens");
        drop(listener);
    }

    #[tokio::test]
    async fn nobody_else_takes_it() {
        let address = Address::free().expect("a free port");
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("another port");
        assert_ne!(taken.local_addr().expect("bound").port(), address.addr().port());
        let listener = address.listen(None).expect("it is ours");
        assert_eq!(address.listen(None).expect_err("somebody listens").kind(), ErrorKind::AddrInUse);
        let again = Address::reserve(address.addr()).expect_err("somebody listens");
        assert_eq!(again.kind(), ErrorKind::AddrInUse);
        drop(listener);
        address.listen(None).expect("nobody listens");
    }
}
