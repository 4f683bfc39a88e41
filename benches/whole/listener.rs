//! What the status listener costs the pipeline: the look at records that go by, and 2,200 connections of others.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    common::{Setup, ports::Ports},
    stream,
    table::{Table, median},
};

const ROUNDS: usize = 5;
/// Connections that ask nothing. Each is opened again when it is closed.
const IDLE: usize = 2_000;
/// Connections that ask again as soon as they are answered.
const BUSY: usize = 200;
/// What those ask for.
const PATHS: [&str; 3] = ["/metrics", "/status", "/"];

pub(crate) async fn measure(table: &mut Table) {
    let (sim, events) = stream::cluster().await;
    let url = sim.url(0);
    let (mut looks, mut loads, mut answered) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        let without = seconds(&url, None).await;
        let ports = Ports::reserve();
        let listening = seconds(&url, Some(ports.address().parse().expect("an address"))).await;
        let ports = Ports::reserve();
        let address = ports.address().parse().expect("an address");
        let answers = Arc::new(AtomicU64::new(0));
        let crowd = crowd(address, &answers);
        let crowded = seconds(&url, Some(address)).await;
        drop(crowd);
        looks.push(without / listening);
        loads.push(listening / crowded);
        answered = answers.load(Ordering::Relaxed);
    }
    table.at_least(
        "`events` with the listener, of the rate without it",
        median(looks),
        0.95,
        format!("{events} events"),
    );
    let seen = format!("{IDLE} idle and {BUSY} busy connections, {answered} answers in the last round");
    table.at_least("`events` with a crowd at the listener, of the rate without the crowd", median(loads), 0.9, seen);
}

/// How long the stream takes from the start to the last byte.
async fn seconds(url: &str, listen: Option<SocketAddr>) -> f64 {
    let mut setup = Setup::new(&["events"], url).env("LOG_LEVEL", "error");
    if let Some(address) = listen {
        setup = setup.env("NOMAD_FIREHOSE_LISTEN", address.to_string());
    }
    let begun = Instant::now();
    let mut child = setup.command().stdout(Stdio::piped()).spawn().expect("the program starts");
    let pipe = child.stdout.take().expect("it is piped");
    let drained = tokio::task::spawn_blocking(move || stream::until_quiet(pipe)).await.expect("no panic");
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    (drained.last - begun).as_secs_f64()
}

/// Many who connect, until they are dropped.
fn crowd(address: SocketAddr, answers: &Arc<AtomicU64>) -> JoinSet<()> {
    let mut all = JoinSet::new();
    for _ in 0..IDLE {
        all.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(address).await {
                    stream.read_u8().await.ok();
                }
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        });
    }
    for number in 0..BUSY {
        let answers = Arc::clone(answers);
        all.spawn(async move {
            let path = PATHS[number % PATHS.len()];
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            loop {
                let answer = ask(address, &request).await;
                match answer {
                    Some(1..) => drop(answers.fetch_add(1, Ordering::Relaxed)),
                    // It does not listen yet, or has closed the connection.
                    _ => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                }
            }
        });
    }
    all
}

async fn ask(address: SocketAddr, request: &str) -> Option<usize> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()
}
