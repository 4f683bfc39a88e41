//! A forward proxy as companies have it: absolute requests for `http://`, tunnels for `https://`, a password where it wants
//! one. It alone knows where the names lead, so that what arrives went through it.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// A running proxy. Dropping it cuts all connections.
#[derive(Debug)]
pub struct ForwardProxy {
    address: SocketAddr,
    served: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

struct Rules {
    /// Where each `host:port` leads.
    names: HashMap<String, String>,
    /// The `Proxy-Authorization` it wants.
    wanted: Option<String>,
    served: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// A proxy for these names, such as `("sink.example:80", "127.0.0.1:4000")`, which wants `user:password` where it is
    /// given one.
    pub async fn start(names: &[(&str, &str)], credentials: Option<&str>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let served = Arc::default();
        let rules = Arc::new(Rules {
            names: names.iter().map(|(name, to)| ((*name).to_owned(), (*to).to_owned())).collect(),
            wanted: credentials.map(|credentials| format!("Basic {}", BASE64.encode(credentials))),
            served: Arc::clone(&served),
        });
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let rules = Arc::clone(&rules);
                connections.spawn(async move { rules.serve(BufReader::new(client)).await });
            }
        });
        ForwardProxy { address, served, _task: AbortOnDropHandle::new(task) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first line of each request that it let through, such as `CONNECT sink.example:443 HTTP/1.1`.
    pub fn served(&self) -> Vec<String> {
        self.served.lock().expect("no panic").clone()
    }
}

impl Rules {
    /// Serves one request or tunnel; then the connection ends, as HTTP allows.
    async fn serve(&self, mut client: BufReader<TcpStream>) -> Option<()> {
        let (line, headers) = head(&mut client).await?;
        let header = |name: &str| headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str());
        if self.wanted.is_some() && header("proxy-authorization") != self.wanted.as_deref() {
            return refuse(client, "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"office\"")
                .await;
        }
        let mut words = line.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let is_tunnel = method == "CONNECT";
        let authority = if is_tunnel { target } else { target.strip_prefix("http://")?.split('/').next()? };
        let key = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:80") };
        let Some(place) = self.names.get(&key) else { return refuse(client, "502 Bad Gateway").await };
        self.served.lock().expect("no panic").push(line.clone());
        let mut server = TcpStream::connect(place).await.ok()?;
        if is_tunnel {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
        } else {
            let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            let path = target.strip_prefix("http://")?.strip_prefix(authority)?;
            let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
            for (name, value) in headers.iter().filter(|(name, _)| !name.starts_with("proxy-") && name != "connection")
            {
                request.push_str(&format!("{name}: {value}\r\n"));
            }
            server.write_all(format!("{request}\r\n").as_bytes()).await.ok()?;
            let mut body = vec![0; length];
            client.read_exact(&mut body).await.ok()?;
            server.write_all(&body).await.ok()?;
        }
        // Either side may end it.
        tokio::io::copy_bidirectional(&mut client, &mut server).await.ok();
        Some(())
    }
}

async fn refuse(mut client: BufReader<TcpStream>, status: &str) -> Option<()> {
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    client.write_all(answer.as_bytes()).await.ok()
}

/// The first line and the headers, their names in lower case.
async fn head(client: &mut BufReader<TcpStream>) -> Option<(String, Vec<(String, String)>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if client.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let first = lines.next()?;
    let split =
        |line: String| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Some((first, lines.filter_map(split).collect()))
}
