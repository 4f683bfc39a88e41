//! Connections to the status listener that ask for nothing take no descriptor from the pipeline.

use nomad_sim::Sim;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use tokio::{net::TcpStream, time::timeout};

use crate::common::{PATIENCE, Setup};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_leave_descriptors_for_the_pipeline() {
    // This process needs as many.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit");
    let (sim, ports) = (Sim::builder().start().await.expect("starts"), Ports::reserve());
    let process = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn();
    process.until_logged("subscribed").await;
    let few = Rlimit { current: Some(1024), maximum: Some(1024) };
    prlimit(Pid::from_raw(i32::try_from(process.id()).expect("an id")), Resource::Nofile, few).expect("it is ours");
    let mut idle = Vec::new();
    while idle.len() < 1200 {
        // A backlog that is full for a moment drops the first packet, and the next one is sent a second later.
        match timeout(PATIENCE, TcpStream::connect(ports.address())).await {
            Ok(connection) => idle.push(connection.expect("it listens")),
            Err(_) => break,
        }
    }
    assert!(idle.len() > 1024, "{} connections do not take up all descriptors", idle.len());
    let ready = timeout(PATIENCE, get(&format!("http://{}/readyz", ports.address()))).await;
    assert_eq!(ready.expect("in time"), "evaluations: leader\n");
    let before = subscriptions(&sim);
    sim.server(0).drop_connections();
    process.until("it subscribes again", || subscriptions(&sim) > before).await;
    append_evaluations(&sim, 10..=19).await;
    process.until_printed(10).await;
    drop(idle);
    process.stop().await;
}
