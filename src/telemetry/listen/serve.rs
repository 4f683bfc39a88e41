//! The listener itself: connections in a bounded number, each for a bounded time.

use std::{collections::VecDeque, pin::pin, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{View, budget::Budget, events::Events, lasting::Lasting, patient::Patient, routes::router};
use crate::throttle::Throttle;

/// How long open requests may take to end after the listener was told to stop.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);
/// The most connections that are open at once, those of `/events` not counted: they have their own bound.
const CONNECTIONS: usize = 64;
/// How long a client may take to send its request.
const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may last, from the request to the end of the answer. Those of `/events` last longer.
const WITHIN: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what it asked for.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// How many bytes of requests and answers a connection keeps.
const BUFFER: usize = 16 << 10;

/// Serves the pages until `stop`, and then at most a second longer.
///
/// Connections are bounded in number and time: anybody can open them, and each takes a file descriptor that the pipeline needs.
pub(super) async fn serve(listener: TcpListener, view: View, stop: CancellationToken) {
    let events = Events::start(view.clone(), stop.clone());
    let router = router(view, events);
    let (mut connections, mut log, mut budget) = (JoinSet::new(), Throttle::default(), Budget::new());
    let mut open: VecDeque<(AbortHandle, Lasting)> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {
                while connections.try_join_next().is_some() {}
                continue;
            }
            accepted = async {
                budget.left().await;
                listener.accept().await
            } => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                open.retain(|(connection, lasting)| !connection.is_finished() && !lasting.is_set());
                // Close the oldest connection, which had its time, rather than refuse the new one: idle clients must not keep
                // out those that ask.
                if open.len() >= CONNECTIONS
                    && let Some((oldest, _)) = open.pop_front()
                {
                    oldest.abort();
                }
                let lasting = Lasting::default();
                open.push_back((connections.spawn(answer(stream, router.clone(), lasting.clone())), lasting));
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
async fn answer(stream: TcpStream, router: Router, lasting: Lasting) {
    let service = TowerToHyperService::new(router.layer(Extension(lasting.clone())));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN).keep_alive(false).max_buf_size(BUFFER);
    let stream = TokioIo::new(Patient::new(stream, WRITE_WITHIN));
    let mut answered = pin!(http.serve_connection(stream, service));
    let ended = match timeout(WITHIN, &mut answered).await {
        Err(_) if lasting.is_set() => Ok(answered.await),
        ended => ended,
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "status request failed"),
        Err(_) => debug!("status request timed out"),
    }
}
