//! Two replicas on a real Consul, a simulated cluster, a sink that can fail, and a Prometheus that watches.

use std::{
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nomad_sim::Sim;

use crate::{
    common::{
        Process, Setup,
        consul::{Consul, Options},
        made,
        ports::Ports,
        probe::until_ready,
        server::{Reply, Server},
    },
    prometheus::Prometheus,
};

/// Events that the cluster keeps.
pub const BUFFER: u64 = 60;

pub struct Scene {
    pub sim: Sim,
    pub server: Server,
    pub prometheus: Prometheus,
    /// In the order of their ports. A replica that is down is none.
    pub replicas: [Option<Process>; 2],
    consul: Consul,
    ports: Ports,
    takes: Arc<AtomicBool>,
}

impl Scene {
    /// Everything runs, the first replica leads, and Prometheus knows both.
    pub async fn start() -> Self {
        let sim = Sim::builder().buffer(usize::try_from(BUFFER).expect("small")).start().await.expect("starts");
        let takes = Arc::new(AtomicBool::new(true));
        let decide = Arc::clone(&takes);
        let reply = move |_: &str| if decide.load(Ordering::SeqCst) { Reply::Take } else { Reply::Status(503) };
        let (server, consul, ports) =
            (Server::start(reply).await, Consul::start(Options::default()).await, Ports::reserve());
        let prometheus = Prometheus::start(ports.base, &[ports.base + 1, ports.base + 2]).await;
        let mut scene = Scene { sim, server, prometheus, replicas: [None, None], consul, ports, takes };
        scene.append(10..=12).await;
        scene.start_replica(0).await;
        scene
            .prometheus
            .until("the first leads", async |it| {
                it.value("sum(nomad_firehose_leader{kind=\"evaluations\"})").await == Some(1.0)
            })
            .await;
        scene.start_replica(1).await;
        scene
    }

    /// Starts a replica, and waits until it is ready.
    pub async fn start_replica(&mut self, number: usize) {
        let setup = Setup::bare(&["run", "--resources", "evaluations,nodes"])
            .env("NOMAD_ADDR", self.sim.url(0))
            .env("NOMAD_FIREHOSE_COORDINATOR", "consul")
            .env("CONSUL_HTTP_ADDR", self.consul.url())
            .env("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "2m")
            .env("SINK_TYPE", "http")
            .env("SINK_HTTP_ADDRESS", self.server.url())
            .env("NOMAD_FIREHOSE_LISTEN", format!("127.0.0.1:{}", self.port(number)));
        self.replicas[number] = Some(setup.spawn());
        until_ready(self.port(number), true, "").await;
    }

    fn port(&self, number: usize) -> u16 {
        self.ports.base + 1 + u16::from(number > 0)
    }

    /// What Prometheus calls a replica.
    pub fn instance(&self, number: usize) -> String {
        format!("127.0.0.1:{}", self.port(number))
    }

    /// Whether the sink takes what it gets.
    pub fn sink_takes(&self, takes: bool) {
        self.takes.store(takes, Ordering::SeqCst);
    }

    /// A new evaluation at each of these indexes.
    pub async fn append(&self, indexes: RangeInclusive<u64>) {
        let lines: Vec<_> = indexes.map(|index| made::evaluation(index, index)).collect();
        self.sim.append_lines(lines).await.expect("lines of events");
    }

    /// Waits until the sink has this many records.
    pub async fn until_taken(&self, records: usize) {
        crate::common::until("the sink has the records", || self.server.taken().len() >= records).await;
    }
}
