//! One connection to the broker.

use std::{
    fmt, io,
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_rs::{TokioRuntime, traits::Reactor};
use futures_util::{FutureExt as _, StreamExt as _, stream::BoxStream};
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Event,
    options::ConfirmSelectOptions,
    tcp::RustlsConnector,
    uri::{AMQPAuthority, AMQPUri},
};
use tokio::{
    net::lookup_host,
    time::{error::Elapsed, timeout},
};

use super::{Settings, fault::Fault};
use crate::sys;

/// How long the broker may take to open a connection, from the first packet on. The same for a channel.
const DEADLINE: Duration = Duration::from_secs(10);

/// An open connection.
///
/// A drop closes it properly, unless a published message is neither confirmed nor given up. Then the drop shuts the
/// socket down and discards the buffers.
pub(super) struct Wire {
    connection: Connection,
    events: BoxStream<'static, Event>,
    blocked: Option<String>,
    socket: Socket,
    /// A buffer may hold a message that must not be sent later.
    pub(super) is_dirty: bool,
}

/// The connection's socket, once there is one.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Option<TcpStream>>>);

impl Socket {
    fn tear_off(&self) {
        if let Some(socket) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may be closed already.
            socket.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Wire {
    pub(super) async fn connect(settings: &Settings) -> Result<Self, Fault> {
        let runtime = TokioRuntime::tokio_current();
        let properties = ConnectionProperties::default().with_connection_name("nomad-firehose".into());
        let socket = Socket::default();
        let (tls, place) = (settings.tls.clone(), socket.clone());
        let connecting = Connection::connector(
            settings.uri.clone(),
            runtime,
            move |uri: AMQPUri, runtime: TokioRuntime| {
                let (tls, place) = (tls.clone(), place.clone());
                async move {
                    let opened = timeout(DEADLINE, async {
                        let AMQPAuthority { host, port, .. } = &uri.authority;
                        let found = lookup_host((host.as_str(), *port)).await?;
                        let stream = AsyncTcpStream::Plain(first_of(found.collect(), &runtime).await?);
                        if let AsyncTcpStream::Plain(tcp) = &stream {
                            let tcp = tcp.get_ref();
                            // A close discards the bytes that are not sent yet.
                            tcp.set_zero_linger()?;
                            let second = sys::sockets::second_handle(tcp)?;
                            *place.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(second);
                        }
                        match tls {
                            None => Ok(stream),
                            Some(tls) => stream.into_rustls(&RustlsConnector::from(tls), &uri.authority.host).await,
                        }
                    });
                    Ok(opened.await.map_err(late).flatten()?)
                }
            },
            properties,
        );
        match timeout(DEADLINE, connecting).await {
            Ok(Ok(connection)) => {
                let events = connection.events_listener().boxed();
                Ok(Wire { connection, events, blocked: None, socket, is_dirty: false })
            }
            Ok(Err(error)) => Err(Fault::of(&error, settings)),
            Err(_) => {
                socket.tear_off();
                Err(Fault::Silent(format!("{} did not open a connection within {DEADLINE:?}", settings.shown)))
            }
        }
    }

    /// A new channel with publisher confirms.
    pub(super) async fn open_channel(&mut self, settings: &Settings) -> Result<Channel, Fault> {
        let opening = async {
            let channel = self.connection.create_channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok::<_, lapin::Error>(channel)
        };
        match timeout(DEADLINE, opening).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(Fault::of(&error, settings)),
            Err(_) => Err(Fault::Silent(format!("{} did not open a channel within {DEADLINE:?}", settings.shown))),
        }
    }

    /// A new channel without confirms.
    pub(super) async fn plain_channel(&mut self, settings: &Settings) -> Result<Channel, Fault> {
        match timeout(DEADLINE, self.connection.create_channel()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(Fault::of(&error, settings)),
            Err(_) => Err(Fault::Silent(format!("{} did not open a channel within {DEADLINE:?}", settings.shown))),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.connection.status().connected()
    }

    /// Why the broker takes no messages, if it has said so by now.
    pub(super) fn blocked(&mut self) -> Option<Fault> {
        while let Some(Some(event)) = self.events.next().now_or_never() {
            self.heed(event);
        }
        self.why_blocked()
    }

    /// Waits until the broker takes no more messages, and returns its reason.
    pub(super) async fn until_blocked(&mut self) -> Fault {
        loop {
            if let Some(fault) = self.why_blocked() {
                return fault;
            }
            match self.events.next().await {
                Some(event) => self.heed(event),
                // The events have ended. The confirms report why.
                None => std::future::pending().await,
            }
        }
    }

    fn heed(&mut self, event: Event) {
        match event {
            Event::ConnectionBlocked(reason) => self.blocked = Some(reason),
            Event::ConnectionUnblocked => self.blocked = None,
            _ => {}
        }
    }

    fn why_blocked(&self) -> Option<Fault> {
        let reason = self.blocked.as_ref()?;
        Some(Fault::Blocked(format!("the broker takes no messages for now: {reason}")))
    }
}

/// Connects to the first of these addresses that accepts. A silent address gets only its share of the time: a name can stand for
/// several brokers, and one of them may be gone.
async fn first_of(
    addresses: Vec<SocketAddr>,
    runtime: &TokioRuntime,
) -> io::Result<<TokioRuntime as Reactor>::TcpStream> {
    // The last share is for TLS and for opening the AMQP connection.
    let shares = u32::try_from(addresses.len()).unwrap_or(u32::MAX).saturating_add(1);
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        match timeout(DEADLINE / shares, runtime.tcp_connect_addr(address)).await.map_err(late).flatten() {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn late(_: Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no connection in time")
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.is_dirty {
            self.socket.tear_off();
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("is_up", &self.is_up()).field("blocked", &self.blocked).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[tokio::test]
    async fn a_silent_address_does_not_keep_from_the_next_one() {
        // The backlog is full: the server answers no more than a dead host.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let full = socket.listen(1).expect("it listens");
        let silent = full.local_addr().expect("bound");
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(silent)).await {
            waiting.push(stream);
        }
        let there = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = there.local_addr().expect("bound");
        let connected = timeout(DEADLINE, first_of(vec![silent, address], &TokioRuntime::tokio_current())).await;
        let stream = connected.expect("in time").expect("one is there");
        assert_eq!(stream.get_ref().peer_addr().expect("connected"), address);
        drop(waiting);
    }
}
