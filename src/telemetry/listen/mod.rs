//! The status listener: a page for people, `/metrics` for Prometheus, `/status` for programs, `/health/…` for orchestrators.
//!
//! It has a thread and a runtime of its own, takes at most a part of a processor's time, and holds a bounded number of connections:
//! anybody can connect, and none of that may slow the pipelines, nor may a busy pipeline keep an orchestrator from its answer.
//!
//! `serve` is the listener, `routes` its paths. `report` gathers what is shown, `verdict` makes one sentence of it.

mod budget;
mod events;
mod exposition;
mod lasting;
mod negotiate;
mod page;
mod parts;
mod patient;
mod rates;
mod records;
mod report;
mod routes;
mod serve;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::SystemTime,
};

use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use self::rates::Rates;
use super::{Board, Journal};

/// What the pages show.
#[derive(Clone, Debug)]
pub struct View {
    about: Arc<About>,
    board: Board,
    journal: Journal,
    rates: Arc<Rates>,
}

/// This process.
#[derive(Clone, Debug)]
pub struct About {
    /// The label of the cluster.
    pub cluster: Option<String>,
    /// Who this replica is, for people.
    pub holder: String,
    /// When it started.
    pub started: SystemTime,
}

impl View {
    /// What is seen of `board`, and of `journal`.
    pub fn new(board: Board, journal: Journal, about: About) -> Self {
        View { about: Arc::new(about), board, journal, rates: Arc::default() }
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

/// A listener that runs. Dropping it ends it.
#[derive(Debug, Default)]
pub struct Listening {
    stop: CancellationToken,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves the pages at `address` on a thread of its own. Without an address it does nothing.
///
/// # Errors
/// See [`bind`], or there is no thread for it.
pub fn start(address: Option<SocketAddr>, view: View) -> Result<Listening, BindError> {
    let listening = Listening::default();
    let Some(address) = address else { return Ok(listening) };
    let listener = bind(address)?;
    let stop = listening.stop.clone();
    let failed = |source| BindError { address, source };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(failed)?
    };
    let serve = move || runtime.block_on(serve::serve(listener, view, stop));
    thread::Builder::new().name("status".to_owned()).spawn(serve).map_err(failed)?;
    Ok(listening)
}

/// Binds the address at the start, so that a port in use fails the start and not a thread later.
///
/// # Errors
/// The address is in use, is none of this machine, or is not permitted.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bound = TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|source| BindError { address, source })
}
