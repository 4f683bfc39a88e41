//! One connection to the broker.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_compat::Compat;
use async_rs::TokioRuntime;
use futures_util::{FutureExt as _, StreamExt as _, stream::BoxStream};
use lapin::{
    AsyncTcpStream, Channel, Connection, ConnectionProperties, Event,
    options::ConfirmSelectOptions,
    tcp::RustlsConnector,
    uri::{AMQPAuthority, AMQPUri},
};
use tokio::time::timeout;

use super::{Settings, fault::Fault};
use crate::sink::dial::{self, AtDrop, Socket};

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
    /// Empty until there is one.
    socket: Arc<OnceLock<Socket>>,
    /// A buffer may hold a message that must not be sent later.
    pub(super) is_dirty: bool,
}

impl Wire {
    pub(super) async fn connect(settings: &Settings) -> Result<Self, Fault> {
        let runtime = TokioRuntime::tokio_current();
        let properties = ConnectionProperties::default().with_connection_name("nomad-firehose".into());
        let socket = Arc::<OnceLock<Socket>>::default();
        let (tls, place) = (settings.tls.clone(), Arc::clone(&socket));
        let connecting = Connection::connector(
            settings.uri.clone(),
            runtime,
            move |uri: AMQPUri, _: TokioRuntime| {
                let (tls, place) = (tls.clone(), Arc::clone(&place));
                async move {
                    // lapin goes on with this when nobody waits for it any more.
                    let opened = timeout(DEADLINE, async {
                        let AMQPAuthority { host, port, .. } = &uri.authority;
                        let stream = dial::tcp(host, *port, AtDrop::Discard, DEADLINE).await?;
                        if place.set(Socket::of(&stream)?).is_err() {
                            return Err(io::Error::other("it was opened before"));
                        }
                        let stream = AsyncTcpStream::Plain(Compat::new(stream));
                        match tls {
                            None => Ok(stream),
                            Some(tls) => stream.into_rustls(&RustlsConnector::from(tls), host).await,
                        }
                    });
                    Ok(opened.await.unwrap_or_else(|_| Err(dial::late()))?)
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
                tear_off(&socket);
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

fn tear_off(socket: &OnceLock<Socket>) {
    if let Some(socket) = socket.get() {
        socket.tear_off();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.is_dirty {
            tear_off(&self.socket);
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("is_up", &self.is_up()).field("blocked", &self.blocked).finish_non_exhaustive()
    }
}
