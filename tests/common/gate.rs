//! A gate on the way to a server: open, it lets bytes through; shut, nothing passes in either direction, and nobody is
//! told. New connections are accepted and stay silent, as with a network that drops packets.
//!
//! It can be half shut, too, let bytes through slowly, and cut what goes through it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passage {
    /// Everything.
    Open,
    /// Nothing.
    Shut,
    /// What the client sends; no answer.
    Inwards,
    /// So many bytes a second and connection of what the client sends; all answers.
    Slow(u32),
    /// Everything, and each piece of an answer so late.
    Late(Duration),
    /// There are no connections: those that were are cut, a new one is closed at once.
    Cut,
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug)]
struct State {
    passage: Passage,
    /// How often those that were have been cut.
    cuts: u64,
}

/// A running gate. Dropping it cuts all that goes through it.
#[derive(Debug)]
pub struct Gate {
    addr: SocketAddr,
    state: watch::Sender<State>,
    sent: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Gate {
    /// An open gate in front of `server`, such as `127.0.0.1:8500`.
    pub async fn start(server: &str) -> Self {
        Self::start_at(0, server).await
    }

    /// The same at a port that clients know already.
    pub async fn start_at(port: u16, server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (state, seen) = watch::channel(State { passage: Passage::Open, cuts: 0 });
        let (sent, server) = (Arc::new(AtomicU64::new(0)), server.to_owned());
        let counter = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(until_cut(client, server.clone(), seen.clone(), Arc::clone(&counter)));
                while connections.try_join_next().is_some() {}
            }
        });
        Gate { addr, state, sent, _task: AbortOnDropHandle::new(task) }
    }

    /// Its address for `CONSUL_HTTP_ADDR`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The same without a scheme.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Nothing passes any more.
    pub fn shut(&self) {
        self.let_pass(Passage::Shut);
    }

    /// What the client sends still passes, and no answer does.
    pub fn shut_outwards(&self) {
        self.let_pass(Passage::Inwards);
    }

    /// Of what clients send, so many bytes a second pass on each connection.
    pub fn slow_down(&self, bytes_per_second: u32) {
        self.let_pass(Passage::Slow(bytes_per_second.max(1)));
    }

    /// Each piece of what servers send passes so much later than it came.
    pub fn delay_answers(&self, by: Duration) {
        self.let_pass(Passage::Late(by));
    }

    /// Cuts all connections, and each new one, until it is opened. What was held is lost.
    pub fn cut(&self) {
        self.let_pass(Passage::Cut);
    }

    /// Cuts the connections that there are. What was held is lost.
    pub fn cut_once(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// Everything passes again; what was held is not lost.
    pub fn open(&self) {
        self.let_pass(Passage::Open);
    }

    /// How many bytes went to the server.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    fn let_pass(&self, passage: Passage) {
        self.state.send_modify(|state| state.passage = passage);
    }
}

type Seen = watch::Receiver<State>;

async fn until_cut(client: TcpStream, server: String, seen: Seen, sent: Arc<AtomicU64>) {
    let (cuts, mut until_cut) = (seen.borrow().cuts, seen.clone());
    tokio::select! {
        biased;
        _ = until_cut.wait_for(|state| state.passage == Passage::Cut || state.cuts > cuts) => {}
        () = pass(client, server, seen, sent) => {}
    }
}

async fn pass(client: TcpStream, server: String, seen: Seen, sent: Arc<AtomicU64>) {
    until(seen.clone(), |passage| passage != Passage::Shut).await;
    let Ok(server) = TcpStream::connect(server).await else { return };
    client.set_nodelay(true).and(server.set_nodelay(true)).expect("sockets");
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = forward(from_client, to_server, seen.clone(), Some(sent)) => {}
        () = forward(from_server, to_client, seen, None) => {}
    }
}

/// Passes bytes on, those of the client where there is a counter.
async fn forward(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    seen: Seen,
    count: Option<Arc<AtomicU64>>,
) {
    let is_clients = count.is_some();
    let may_pass = |passage| match passage {
        Passage::Open | Passage::Slow(_) | Passage::Late(_) => true,
        Passage::Inwards => is_clients,
        Passage::Shut | Passage::Cut => false,
    };
    let mut buffer = vec![0; 1 << 16];
    loop {
        let pace = seen.borrow().passage;
        let most = if matches!(pace, Passage::Slow(_)) && is_clients { 4096 } else { buffer.len() };
        let Ok(length @ 1..) = from.read(&mut buffer[..most]).await else { break };
        until(seen.clone(), may_pass).await;
        let pace = seen.borrow().passage;
        if let (Passage::Slow(bytes_per_second), true) = (pace, is_clients) {
            tokio::time::sleep(Duration::from_secs(length as u64) / bytes_per_second).await;
        }
        if let (Passage::Late(by), false) = (pace, is_clients) {
            tokio::time::sleep(by).await;
        }
        if let Some(count) = &count {
            count.fetch_add(length as u64, Ordering::SeqCst);
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    // An end does not pass a shut gate either.
    until(seen, may_pass).await;
}

async fn until(mut seen: Seen, holds: impl Fn(Passage) -> bool) {
    seen.wait_for(|state| holds(state.passage)).await.ok();
}
