//! A gate on the way to a server: open, it lets bytes through; shut, nothing passes in either direction, and nobody is
//! told. New connections are accepted and stay silent, as with a network that drops packets.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// A running gate. Dropping it cuts all that goes through it.
#[derive(Debug)]
pub struct Gate {
    addr: SocketAddr,
    open: watch::Sender<bool>,
    sent: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Gate {
    /// An open gate in front of `server`, such as `127.0.0.1:8500`.
    pub async fn start(server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (open, state) = watch::channel(true);
        let (sent, server) = (Arc::new(AtomicU64::new(0)), server.to_owned());
        let counter = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass(client, server.clone(), state.clone(), Arc::clone(&counter)));
                while connections.try_join_next().is_some() {}
            }
        });
        Gate { addr, open, sent, _task: AbortOnDropHandle::new(task) }
    }

    /// Its address for `CONSUL_HTTP_ADDR`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Nothing passes any more.
    pub fn shut(&self) {
        self.open.send_replace(false);
    }

    /// Everything passes again; what was held is not lost.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// How many bytes went to the server.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, server: String, open: watch::Receiver<bool>, sent: Arc<AtomicU64>) {
    wait_open(open.clone()).await;
    let Ok(server) = TcpStream::connect(server).await else { return };
    client.set_nodelay(true).and(server.set_nodelay(true)).expect("sockets");
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = forward(from_client, to_server, open.clone(), Some(sent)) => {}
        () = forward(from_server, to_client, open, None) => {}
    }
}

async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    open: watch::Receiver<bool>,
    count: Option<Arc<AtomicU64>>,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        wait_open(open.clone()).await;
        if let Some(count) = &count {
            count.fetch_add(length as u64, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // An end does not pass a shut gate either.
    wait_open(open).await;
}

async fn wait_open(mut open: watch::Receiver<bool>) {
    open.wait_for(|open| *open).await.ok();
}
