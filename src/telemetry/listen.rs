//! The status listener: `/` for people, `/metrics` for Prometheus, `/healthz` and `/readyz` for orchestrators.

use std::{collections::VecDeque, fmt::Write as _, io, net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Board, board::Row};
use crate::throttle::Throttle;

/// How long open requests may take to end after the listener was told to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);
/// The most connections that are open at once.
const CONNECTIONS: usize = 64;
/// How long a client may take to send its request.
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may last, from the request to the end of the answer.
const WITHIN: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the pages show.
#[derive(Clone, Debug)]
pub struct View {
    board: Board,
    cluster: Option<String>,
    started: Instant,
}

impl View {
    /// A view of a process that starts now.
    pub fn new(board: Board, cluster: Option<String>) -> Self {
        View { board, cluster, started: Instant::now() }
    }
}

/// The program cannot listen on the address.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on NOMAD_FIREHOSE_LISTEN={address}: {source}; set it to a free address of this machine")]
pub struct BindError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// Serves the pages at `address` in a task of its own, which the caller may abort. Without an address the task ends at once.
///
/// # Errors
/// See [`bind`].
pub async fn start(
    address: Option<SocketAddr>,
    board: &Board,
    cluster: Option<String>,
) -> Result<JoinHandle<()>, BindError> {
    let Some(address) = address else { return Ok(tokio::spawn(async {})) };
    let listener = bind(address).await?;
    let view = View::new(board.clone(), cluster);
    Ok(tokio::spawn(serve(listener, view, CancellationToken::new())))
}

/// Binds the address at the start, so that a port in use fails the start and not a task later.
///
/// # Errors
/// The address is in use, is none of this machine, or is not permitted.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address, source })
}

/// Serves the pages until `stop`, and then at most a second longer.
///
/// Connections are bounded in number and time: anybody can open them, and each takes a file descriptor that the pipeline needs.
pub async fn serve(listener: TcpListener, view: View, stop: CancellationToken) {
    let service = TowerToHyperService::new(router(view));
    let (mut connections, mut log) = (JoinSet::new(), Throttle::default());
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {
                open.retain(|connection| !connection.is_finished());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Close the oldest connection, which had its time, rather than refuse the new one: idle clients must not keep
                // out those that ask.
                if open.len() >= CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                open.push_back(connections.spawn(answer(stream, service.clone())));
            }
            Err(error) => {
                if let Some(times) = log.due(&error) {
                    warn!(%error, times, "cannot accept status connection");
                }
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_WITHIN, ended).await.is_err() {
        debug!("status requests cut off by shutdown");
    }
}

/// Answers one request, within its deadlines for sending it and for reading the answer.
async fn answer(stream: TcpStream, service: TowerToHyperService<Router>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN).keep_alive(false);
    match timeout(WITHIN, http.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "status request failed"),
        Err(_) => debug!("status request timed out"),
    }
}

const LEGEND: &str = "
position  raft index up to which the event stream is delivered
lag       raft indexes that Nomad has reached and that are not delivered yet
oldest    age of the oldest event that is not delivered yet
gaps      ranges of raft indexes in which events may be missing; the log names them

/readyz   readiness of each kind
/healthz  health of the process
/metrics  all metrics, for Prometheus
";

fn router(view: View) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(view)
}

async fn metrics(State(view): State<View>) -> Response {
    match view.board.metrics() {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(view): State<View>) -> (StatusCode, String) {
    let rows = view.board.rows();
    let is_ready = rows.iter().all(|row| row.phase.is_ready());
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, rows.iter().map(|Row { name, phase, .. }| format!("{name}: {phase}\n")).collect())
}

async fn page(State(view): State<View>) -> String {
    let mut out = format!("nomad-firehose {}", env!("CARGO_PKG_VERSION"));
    if let Some(cluster) = &view.cluster {
        out += &format!(", cluster {cluster}");
    }
    let up = view.started.elapsed().as_secs();
    let rows = view.board.rows();
    let ready = if rows.iter().all(|row| row.phase.is_ready()) { "ready" } else { "not ready" };
    let kind = if rows.iter().any(|row| row.name.contains('/')) { "pipeline/kind" } else { "kind" };
    let width = rows.iter().map(|row| row.name.len()).chain([kind.len(), 12]).max().unwrap_or_default() + 1;
    out += &format!(", up {}h{:02}m{:02}s, {ready}\n\n", up / 3600, up / 60 % 60, up % 60);
    let mut row = |cells: [&str; 8]| {
        let [name, position, lag, oldest, delivered, dead, gaps, state] = cells;
        // Writing to a String cannot fail.
        writeln!(out, "{name:<width$}{position:>12}{lag:>8}{oldest:>9}{delivered:>12}{dead:>14}{gaps:>6}  {state}")
            .ok();
    };
    row([kind, "position", "lag", "oldest", "delivered", "dead letters", "gaps", "state"]);
    for Row { name, phase, summary: it } in &rows {
        let [position, lag] = [it.position, it.lag_indexes].map(|number| number.to_string());
        let oldest = format!("{:.1}s", it.lag_seconds);
        let [delivered, dead, gaps] = [it.delivered, it.dead_letters, it.gaps].map(|number| number.to_string());
        row([name, &position, &lag, &oldest, &delivered, &dead, &gaps, &phase.to_string()]);
    }
    out + LEGEND
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::{
        kind::Kind,
        telemetry::{Leadership, Metrics, SourceState, Status},
    };

    const PATIENCE: Duration = Duration::from_secs(120);

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("in time").expect("it answers");
        answer
    }

    async fn start(status: &Status) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let metrics = Metrics::new(&[Kind::Nodes]);
        metrics.delivered(Kind::Nodes, 42, 1);
        let listener = bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let board = Board::default();
        board.show(None, &metrics, status);
        let view = View::new(board, Some("blue".to_owned()));
        (address, stop.clone(), tokio::spawn(serve(listener, view, stop)))
    }

    #[tokio::test]
    async fn it_serves_its_four_pages() {
        let status = Status::new(&[Kind::Nodes]);
        let (address, stop, served) = start(&status).await;
        assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = ask(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("nodes: starting\n"), "{answer}");
        status.lease(Kind::Nodes, Leadership::Leading);
        status.source(Kind::Nodes, "*", SourceState::Streaming);
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let answer = ask(address, "/metrics").await;
        assert!(
            answer.contains("application/openmetrics-text") && answer.contains("{kind=\"nodes\"} 42\n"),
            "{answer}"
        );
        let answer = ask(address, "/").await;
        assert!(answer.contains("cluster blue") && answer.contains("leader") && answer.contains("42"), "{answer}");
        assert!(ask(address, "/nope").await.starts_with("HTTP/1.1 404"));
        stop.cancel();
        timeout(PATIENCE, served).await.expect("in time").expect("no panic");
    }

    #[tokio::test]
    async fn it_speaks_http_1_alone() {
        let (address, stop, served) = start(&Status::new(&[])).await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        // The preface of HTTP/2 with prior knowledge (RFC 9113, section 3.4), and an empty SETTINGS frame.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("it reads");
        let mut answer = Vec::new();
        // A connection that the server closes before it has read everything is reset.
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time").ok();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
        stop.cancel();
        timeout(PATIENCE, served).await.expect("in time").expect("no panic");
    }

    #[tokio::test]
    async fn a_client_that_never_asks_does_not_hold_up_the_stop() {
        let (address, stop, served) = start(&Status::new(&[])).await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(b"GET / HT").await.expect("it reads");
        // The answer proves that the first connection, which was opened before, was accepted too.
        ask(address, "/healthz").await;
        stop.cancel();
        timeout(PATIENCE, served).await.expect("in time").expect("no panic");
    }

    #[tokio::test]
    async fn a_port_in_use_is_told_by_its_variable() {
        let first = bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
        let error = bind(first.local_addr().expect("it is bound")).await.expect_err("it is taken");
        assert!(error.to_string().contains("NOMAD_FIREHOSE_LISTEN"), "{error}");
    }
}
