//! Sinks over a network that takes 50 ms for an answer, with several batches under way against one at a time.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::sleep_until,
};

use crate::{
    common::Setup,
    http::{content_length, serve},
    program::Program,
    stream,
    table::{Table, median},
};

/// In each direction.
const DELAY: Duration = Duration::from_millis(25);
const ROUNDS: usize = 3;
/// How long each measures, behind a start that is not counted.
const SPAN: Duration = Duration::from_secs(3);
const WORKERS: &str = "8";

pub(crate) async fn measure(table: &mut Table) {
    let (sim, events) = stream::cluster().await;
    let http = relay(serve("").await.trim_start_matches("http://").trim_end_matches('/').to_owned()).await;
    let kinesis = relay(serve_kinesis().await).await;
    let to_http = |workers: &str| {
        Setup::new(&["events"], &sim.url(0))
            .env("SINK_TYPE", "http")
            .env("SINK_HTTP_ADDRESS", format!("http://{http}/"))
            .env("SINK_HTTP_FORMAT", "array")
            .env("SINK_BATCH_COUNT", "500")
            .env("SINK_BATCH_BYTES", "8MiB")
            .env("SINK_WORKER_COUNT", workers)
    };
    compare(table, "batches of 500 over HTTP and 50 ms, of one at a time", events, to_http).await;
    let to_kinesis = |workers: &str| {
        Setup::new(&["events"], &sim.url(0))
            .env("SINK_TYPE", "kinesis")
            .env("SINK_KINESIS_STREAM_NAME", "nomad")
            .env("SINK_KINESIS_WORKERS", workers)
            .env("AWS_ENDPOINT_URL", format!("http://{kinesis}"))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
    };
    compare(table, "Kinesis over 50 ms, of one call at a time", events, to_kinesis).await;
}

async fn compare(table: &mut Table, what: &str, events: u64, setup: impl Fn(&str) -> Setup) {
    let (mut ratios, mut last) = (Vec::new(), (0.0, 0.0));
    for _ in 0..ROUNDS {
        last = (rate(setup(WORKERS), events).await, rate(setup("1"), events).await);
        ratios.push(last.0 / last.1);
    }
    let seen = format!("{WORKERS} at a time {:.0}/s, one {:.0}/s", last.0, last.1);
    table.at_least(what, median(ratios), 4.0, seen);
}

/// Records a second, of a stream with this many.
async fn rate(setup: Setup, events: u64) -> f64 {
    let program = Program::start(setup).await;
    program.until(2_000).await;
    let (begun, (before, _)) = (Instant::now(), program.delivered().await);
    let mut seen = (before, begun);
    // Until nothing is left: the end of the stream is no part of the rate.
    while begun.elapsed() < SPAN && seen.0 < events {
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen = (program.delivered().await.0, Instant::now());
    }
    (seen.0 - before) as f64 / (seen.1 - begun).as_secs_f64()
}

/// An address behind which a server is, far away.
async fn relay(server: String) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = server.clone();
            tokio::spawn(async move {
                let server = TcpStream::connect(server).await.expect("the server listens");
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("a socket");
                }
                let ((client_reads, client_writes), (server_reads, server_writes)) =
                    (client.into_split(), server.into_split());
                tokio::join!(carry(client_reads, server_writes), carry(server_reads, client_writes));
            });
        }
    });
    address.to_string()
}

/// Carries bytes, each so much later than it came, however many are on the way.
async fn carry(mut from: impl tokio::io::AsyncRead + Unpin, mut to: impl AsyncWriteExt + Unpin) {
    let (sender, mut receiver) = mpsc::channel::<(Vec<u8>, tokio::time::Instant)>(1 << 12);
    let reads = async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let piece = (buffer[..length].to_vec(), tokio::time::Instant::now() + DELAY);
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    };
    let writes = async move {
        while let Some((piece, due)) = receiver.recv().await {
            sleep_until(due).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        // The other side may be gone already.
        to.shutdown().await.ok();
    };
    tokio::join!(reads, writes);
}

/// A Kinesis that takes every record and keeps none.
async fn serve_kinesis() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut stream = BufReader::with_capacity(1 << 16, stream);
                while let Some(length) = content_length(&mut stream).await {
                    let mut body = vec![0; usize::try_from(length).expect("it fits into memory")];
                    if stream.read_exact(&mut body).await.is_err() || stream.write_all(&taken(&body)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address.to_string()
}

/// The answer to a call with these records.
fn taken(body: &[u8]) -> Vec<u8> {
    let records = memchr::memmem::find_iter(body, b"\"PartitionKey\"").count();
    let each = vec![r#"{"SequenceNumber":"1","ShardId":"shardId-000000000000"}"#; records].join(",");
    let text = format!(r#"{{"FailedRecordCount":0,"Records":[{each}]}}"#);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: ";
    format!("{head}{}\r\n\r\n{text}", text.len()).into_bytes()
}
