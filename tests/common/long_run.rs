//! Long runs: many records, while the server goes away or takes nothing, and the connection breaks, slows down or goes silent.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use nomad_sim::Sim;

use super::{Process, Setup, flood, gate::Gate, ports::Ports};

/// A program under way, which delivers the records of a cluster.
struct Run {
    process: Process,
    records: u64,
    sim: Sim,
    ports: Ports,
    begun: Instant,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    pub took: Duration,
    /// The most memory that the program had, bytes.
    pub peak: u64,
}

impl Run {
    async fn start(records: u64, setup: impl FnOnce(&Sim) -> Setup) -> Self {
        let sim = flood::cluster(records).await;
        let ports = Ports::reserve();
        let begun = Instant::now();
        let process = setup(&sim).env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
        process.until_logged("subscribed to the event stream").await;
        Run { process, records, sim, ports, begun }
    }

    /// Waits until so many eighths of the records are delivered.
    async fn until_eighth(&self, eighth: u64) {
        let delivered = async || flood::delivered(self.ports.base).await;
        flood::until_count(&self.process, self.records * eighth / 8, delivered).await;
        println!("{eighth} eighths after {:?}", self.begun.elapsed());
    }

    async fn end(self) -> Passed {
        let Run { process, sim, begun, .. } = self;
        let passed = Passed { took: begun.elapsed(), peak: process.peak_memory() };
        process.stop().await;
        drop(sim);
        passed
    }
}

/// Restarts the server, cuts the connection and slows it down.
pub async fn through_restarts(
    records: u64,
    gate: &Gate,
    setup: impl FnOnce(&Sim) -> Setup,
    mut restart: impl AsyncFnMut(),
) -> Passed {
    let run = Run::start(records, setup).await;
    for eighth in 1..=8 {
        match eighth {
            2 | 6 => restart().await,
            3 | 7 => gate.cut_once(),
            4 => {
                gate.cut();
                run.process.until_logged("delivery failed").await;
                gate.open();
            }
            5 => gate.slow_down(8 << 20),
            _ => {}
        }
        run.until_eighth(eighth).await;
        gate.open();
    }
    run.end().await
}

/// What a server is told in [`through_silence`].
#[derive(Clone, Copy, Debug)]
pub enum Silence {
    Restart,
    /// It does nothing, with its connections open.
    Freeze,
    Thaw,
}

/// Restarts the server and freezes it, cuts the connection, slows it down, and loses answers. Each lasts longer than the program waits
/// for an answer, which has to be 3 s.
pub async fn through_silence(
    records: u64,
    gate: &Gate,
    setup: impl FnOnce(&Sim) -> Setup,
    mut server: impl AsyncFnMut(Silence),
) -> Passed {
    let run = Run::start(records, setup).await;
    for eighth in 1..=8 {
        run.until_eighth(eighth).await;
        match eighth {
            1 | 5 => server(Silence::Restart).await,
            2 | 6 => gate.cut_once(),
            3 => {
                gate.slow_down(256 << 10);
                tokio::time::sleep(Duration::from_secs(3)).await;
                gate.open();
            }
            4 => {
                gate.shut_outwards();
                tokio::time::sleep(Duration::from_secs(4)).await;
                gate.cut();
                gate.open();
            }
            7 => {
                server(Silence::Freeze).await;
                tokio::time::sleep(Duration::from_secs(5)).await;
                server(Silence::Thaw).await;
            }
            _ => {}
        }
    }
    run.end().await
}

/// What a server is told in [`through_overload`].
#[derive(Clone, Copy, Debug)]
pub enum Overload {
    /// It takes only some records, or none.
    Busy,
    /// It takes all.
    Well,
    /// It is away.
    Stop,
    GoOn,
}

/// The server is busy, away and cut off, and loses answers, each for seconds. `came` counts what it has taken.
pub async fn through_overload(
    came: &Mutex<flood::Came>,
    records: u64,
    gate: &Gate,
    setup: impl FnOnce(&Sim) -> Setup,
    mut server: impl AsyncFnMut(Overload),
) -> Passed {
    let run = Run::start(records, setup).await;
    for part in 1..=6 {
        let taken = async || came.lock().expect("no panic").distinct;
        flood::until_count(&run.process, records * part / 6, taken).await;
        println!("{part} sixths after {:?}", run.begun.elapsed());
        match part {
            1 => server(Overload::Busy).await,
            2 | 5 => server(Overload::Stop).await,
            3 => gate.shut_outwards(),
            4 => gate.cut(),
            _ => continue,
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        match part {
            2 | 5 => server(Overload::GoOn).await,
            // What went through is not answered.
            3 => gate.cut_once(),
            _ => {}
        }
        server(Overload::Well).await;
        gate.open();
    }
    run.end().await
}
