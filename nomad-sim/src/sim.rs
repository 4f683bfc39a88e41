//! The handle that tests hold: build, look, play, break, stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::acl::Policy;
use crate::address::Listener;
use crate::cluster::{Broker, Cluster, Evidence, Pace, Request};
use crate::http::{self, Context};
use crate::line::{self, Line};
use crate::locks;
use crate::orders;
use crate::server::{Server, lock};
use crate::table::Kind;

/// A running cluster. Dropping it stops it without waiting; [`Sim::stop`] waits.
#[derive(Debug)]
pub struct Sim {
    cluster: Arc<Cluster>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sim {
    pub(crate) fn run(cluster: Arc<Cluster>, listeners: Vec<Listener>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for (number, listener) in listeners.into_iter().enumerate() {
            let context = Context { cluster: cluster.clone(), number, stop: stop.clone(), tasks: tasks.clone() };
            tasks.spawn(http::serve(context, listener));
        }
        let (player, stopped) = (cluster.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = player.run() => {}
            }
        });
        Self { cluster, stop, tasks }
    }

    /// The address of a server.
    ///
    /// # Panics
    /// When there is no such server.
    #[must_use]
    pub fn addr(&self, server: usize) -> SocketAddr {
        self.server(server).addr()
    }

    /// A server's address as `NOMAD_ADDR` wants it.
    ///
    /// # Panics
    /// When there is no such server.
    #[must_use]
    pub fn url(&self, server: usize) -> String {
        self.server(server).url()
    }

    /// One server, to look at or to break.
    ///
    /// # Panics
    /// When there is no such server.
    #[must_use]
    pub fn server(&self, number: usize) -> &Server {
        &self.cluster.servers[number]
    }

    /// All servers.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.cluster.servers
    }

    /// Appends one hand-made publish to the log, as an entry of its own.
    ///
    /// # Errors
    /// When it is no event publish.
    pub async fn append_line(&self, line: impl Into<Bytes>) -> Result<(), line::Error> {
        orders::append(&self.cluster, [line.into()]).await
    }

    /// Appends publishes to the log; neighbours with the same index are one entry.
    ///
    /// # Errors
    /// When one of them is no event publish; then none is appended.
    pub async fn append_lines<B: Into<Bytes>>(&self, lines: impl IntoIterator<Item = B>) -> Result<(), line::Error> {
        orders::append(&self.cluster, lines.into_iter().map(Into::into)).await
    }

    /// Commits the next entries of the history; returns how many there were.
    pub async fn step(&self, entries: u64) -> u64 {
        orders::step(&self.cluster, entries).await
    }

    /// Commits the history up to and with an index; returns how many entries these were.
    pub async fn play_to(&self, index: u64) -> u64 {
        orders::play_to(&self.cluster, index).await
    }

    /// Commits the rest of the history.
    pub async fn play_all(&self) -> u64 {
        orders::play_to(&self.cluster, u64::MAX).await
    }

    /// Stops the history where it is.
    pub fn pause(&self) {
        self.cluster.pace.send_modify(|pace| pace.paused = true);
    }

    /// Lets the history play by itself.
    pub fn resume(&self, speed: f64) {
        self.cluster.pace.send_modify(|pace| *pace = Pace { paused: false, speed });
    }

    /// Waits until the history is at its end.
    pub async fn finished(&self) {
        let mut finished = self.cluster.finished.subscribe();
        if finished.wait_for(|finished| *finished).await.is_err() {
            tracing::debug!("the cluster is gone");
        }
    }

    /// Replaces the cluster by another: empty state and buffers, streams closed, the history from its beginning
    /// with other identities. [`Self::play_to`] takes it on from there.
    pub async fn rebuild(&self) {
        self.cluster.rebuild().await;
    }

    /// Creates a namespace, at the given index or the log's next; returns the index.
    pub async fn add_namespace(&self, name: &str, index: Option<u64>) -> u64 {
        orders::add_namespace(&self.cluster, name, index).await
    }

    /// Lets an object vanish without an event: garbage collection, or the purge of a node.
    pub async fn remove(&self, kind: Kind, namespace: &str, id: &str) {
        orders::remove(&self.cluster, kind, namespace, id).await;
    }

    /// Creates or changes a token; open streams that it no longer allows are closed.
    pub fn set_token(&self, id: &str, policy: Policy) {
        self.cluster.change_acl(|acl| acl.set(id, policy));
    }

    /// Deletes a token: its streams fall silent, and end after a while.
    pub fn revoke_token(&self, id: &str) {
        self.cluster.change_acl(|acl| acl.revoke(id));
    }

    /// Lets a token expire: as [`Sim::revoke_token`], but Nomad still knows it.
    pub fn expire_token(&self, id: &str) {
        self.cluster.change_acl(|acl| acl.expire(id));
    }

    /// Elects a leader: the timers of all locks begin anew, with the TTLs that their variables have now.
    pub fn elect(&self) {
        locks::restart_timers(&self.cluster, &self.tasks, &self.stop);
    }

    /// Turns the event stream off or on.
    pub fn set_broker(&self, broker: Broker) {
        *lock(&self.cluster.broker) = broker;
    }

    /// Answers as the open-source Nomad before 1.0: no stream, no pages, no namespaces, and nothing in lists of `*`.
    pub fn set_old(&self, old: bool) {
        self.set_broker(if old { Broker::Missing } else { Broker::Enabled });
        self.cluster.old.store(old, Ordering::Relaxed);
    }

    /// Whether lists of evaluations and deployments know the namespace `*`, as they do since 1.2.4.
    pub fn set_wildcards(&self, known: bool) {
        self.cluster.no_wildcards.store(!known, Ordering::Relaxed);
    }

    /// Federates it with the cluster of another region: each forwards what is asked of the other one.
    pub fn federate(&self, other: &Sim) {
        lock(&self.cluster.peers).push(Arc::downgrade(&other.cluster));
        lock(&other.cluster.peers).push(Arc::downgrade(&self.cluster));
    }

    /// The ids of the keyring's public keys. A cluster has one of its own from the start.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        lock(&self.cluster.keys).0.clone()
    }

    /// Rotates the keyring to these keys, which answers may be relied on for `max_age`; `None` says nothing of it.
    pub fn set_keys(&self, keys: &[&str], max_age: Option<std::time::Duration>) {
        *lock(&self.cluster.keys) = (keys.iter().map(|key| (*key).to_owned()).collect(), max_age);
    }

    /// What those meet who ask which cluster this is.
    pub fn set_evidence(&self, evidence: Evidence) {
        *lock(&self.cluster.evidence) = evidence;
    }

    /// Sends the members of every JSON object in a random order.
    pub fn shuffle(&self, on: bool) {
        self.cluster.shuffle.store(on, Ordering::Relaxed);
    }

    /// Every line published so far, where it is kept.
    #[must_use]
    pub fn truth(&self) -> Vec<Arc<Line>> {
        self.cluster.truth()
    }

    /// The requests so far, but for those to the control endpoint, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.cluster.requests(0)
    }

    /// The highest index of the log.
    pub async fn last_index(&self) -> u64 {
        self.cluster.player.lock().await.last_index
    }

    /// Stops it and waits for its tasks.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
    }
}
