//! Batches over HTTP into a server that only counts, against curl's drain of the same stream.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use crate::{
    common::Setup,
    program::{Cost, Program},
    stream,
    table::{Table, median},
};

const ROUNDS: usize = 3;

pub(crate) async fn measure(table: &mut Table) {
    let (sim, events) = stream::cluster().await;
    let url = sim.url(0);
    let sink = serve("").await;
    let (mut ratios, mut last) = (Vec::new(), None);
    for _ in 0..ROUNDS {
        let drained = url.clone();
        let (bytes, reference) = tokio::task::spawn_blocking(move || stream::drain(&drained)).await.expect("no panic");
        let setup = Setup::new(&["events"], &url)
            .env("SINK_TYPE", "http")
            .env("SINK_HTTP_ADDRESS", &sink)
            .env("SINK_HTTP_FORMAT", "array")
            .env("SINK_BATCH_COUNT", "500")
            .env("SINK_BATCH_BYTES", "8MiB");
        let begun = Instant::now();
        let program = Program::start(setup).await;
        program.until(events).await;
        let cost = program.cost(begun);
        ratios.push(reference.as_secs_f64() / cost.wall.as_secs_f64());
        last = Some((bytes, reference, cost));
    }
    let (bytes, reference, cost) = last.expect("there was a round");
    let seen = format!(
        "{events} events: curl {:.0} MB/s, http {:.0} MB/s, {:.1} µs of CPU a record, {} MiB at the peak",
        rate(bytes, reference),
        rate(bytes, cost.wall),
        micros_each(&cost, events),
        cost.peak >> 20,
    );
    table.at_least("batches of 500 over HTTP, of curl's drain", median(ratios), 0.25, seen);
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.as_secs_f64() / 1e6
}

fn micros_each(cost: &Cost, records: u64) -> f64 {
    cost.cpu * 1e6 / records as f64
}

/// A server that reads bodies and throws them away. Each answer has these headers.
pub(crate) async fn serve(headers: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::with_capacity(1 << 16, stream);
                while let Some(length) = content_length(&mut stream).await {
                    let mut body = (&mut stream).take(length);
                    if tokio::io::copy_buf(&mut body, &mut tokio::io::sink()).await.is_err() {
                        return;
                    }
                    let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    format!("http://{address}/")
}

/// Reads a head; `None` at the end of the connection.
pub(crate) async fn content_length(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<u64> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        match line.trim_end().to_ascii_lowercase() {
            line if line.is_empty() => return Some(length),
            line => {
                if let Some(given) = line.strip_prefix("content-length:") {
                    length = given.trim().parse().ok()?;
                }
            }
        }
    }
}
