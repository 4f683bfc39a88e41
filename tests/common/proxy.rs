//! A proxy between the program and the cluster that cuts event streams.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Decides where a stream is cut.
pub trait Cuts: Send + 'static {
    /// After how many bytes of its answer's body the stream with this request is cut; `None` lets it live.
    fn next(&mut self, request: &str) -> Option<usize>;
}

impl<F: FnMut(&str) -> Option<usize> + Send + 'static> Cuts for F {
    fn next(&mut self, request: &str) -> Option<usize> {
        self(request)
    }
}

/// A running proxy. It lives as long as the runtime.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    cut: Arc<AtomicUsize>,
}

impl Proxy {
    /// A proxy in front of `server`.
    pub async fn start(server: SocketAddr, cuts: impl Cuts) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (cut, cuts) = (Arc::default(), Arc::new(Mutex::new(cuts)));
        let counter = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server).await.expect("the simulator listens");
                client.set_nodelay(true).expect("a socket");
                let ((client_read, client_write), (server_read, server_write)) =
                    (client.into_split(), server.into_split());
                let limit = Arc::new(AtomicUsize::new(usize::MAX));
                let (cuts, counter) = (Arc::clone(&cuts), Arc::clone(&counter));
                tokio::spawn(forward_requests(client_read, server_write, Arc::clone(&limit), cuts));
                tokio::spawn(forward_answers(server_read, client_write, limit, counter));
            }
        });
        Proxy { addr, cut }
    }

    /// Its address for `NOMAD_ADDR`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How many streams it has cut.
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::SeqCst)
    }
}

async fn forward_requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    limit: Arc<AtomicUsize>,
    cuts: Arc<Mutex<impl Cuts>>,
) {
    let mut buffer = vec![0; 1 << 14];
    while let Ok(length @ 1..) = client.read(&mut buffer).await {
        // A request has no body and comes in one piece.
        let request = String::from_utf8_lossy(&buffer[..length]);
        let target = request.lines().next().unwrap_or_default();
        if target.starts_with("GET /v1/event/stream") {
            let cut = cuts.lock().expect("nobody panics with it").next(target);
            limit.store(cut.unwrap_or(usize::MAX), Ordering::SeqCst);
        }
        if server.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn forward_answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    limit: Arc<AtomicUsize>,
    cut: Arc<AtomicUsize>,
) {
    let mut buffer = vec![0; 1 << 16];
    let mut sent = None;
    while let Ok(length @ 1..) = server.read(&mut buffer).await {
        let limit = limit.load(Ordering::SeqCst);
        let mut part = &buffer[..length];
        if limit < usize::MAX {
            // The head is let through whole; it comes in one piece.
            let head = part.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
            let before = *sent.get_or_insert(0);
            let head = if before == 0 { head } else { 0 };
            part = &part[..part.len().min(head + limit - before)];
            sent = Some(before + part.len() - head);
        }
        if client.write_all(part).await.is_err() {
            return;
        }
        if sent == Some(limit) {
            cut.fetch_add(1, Ordering::SeqCst);
            return;
        }
    }
}
