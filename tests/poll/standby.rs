//! Replicas without a stream: who stands by has nothing to hold, says so once, and goes on from the checkpoint.

use std::time::Duration;

use nomad_sim::Broker;

use crate::common::{
    Signal,
    consul::{Consul, Options},
};
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_goes_on_with_lists() {
    let (sim, consul) = (recorded().await, Consul::start(Options::default()).await);
    sim.set_broker(Broker::Missing);
    let setup = setup(&sim).env("NOMAD_FIREHOSE_COORDINATOR", "consul").env("CONSUL_HTTP_ADDR", consul.url());
    let leader = setup.spawn();
    sim.play_to(60).await;
    until_shown(&sim, &leader, &[]).await;
    let standby = setup.spawn();
    standby.until_logged("standby needs no replay buffer").await;
    sim.play_to(90).await;
    until_shown(&sim, &leader, &[]).await;
    // Time enough to say it again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        (standby.logged("standby needs no replay buffer"), standby.logged("operation failing")),
        (1, 0),
        "{}",
        standby.log()
    );
    let printed = versions(&leader.end_by(Signal::KILL).await.printed);
    sim.play_to(110).await;
    until_shown(&sim, &standby, &printed).await;
    assert_eq!(standby.logged(POLLING), 1, "{}", standby.log());
    let taken_over = versions(&standby.stop().await);
    assert_true(&sim, &taken_over);
    // What the leader had told with its last heartbeat does not come again: all of it, for it was at rest.
    assert_no_repeats(&[printed, taken_over].concat());
}

/// By order of the settings a stream is not even looked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_to_poll_asks_for_no_stream() {
    let (sim, consul) = (recorded().await, Consul::start(Options::default()).await);
    sim.play_to(60).await;
    let setup = setup(&sim)
        .env("NOMAD_FIREHOSE_SOURCE", "poll")
        .env("NOMAD_FIREHOSE_COORDINATOR", "consul")
        .env("CONSUL_HTTP_ADDR", consul.url());
    let leader = setup.spawn();
    until_shown(&sim, &leader, &[]).await;
    let standby = setup.spawn();
    // Longer than it takes to begin to hold a stream.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let printed = versions(&leader.stop().await);
    sim.play_to(80).await;
    until_shown(&sim, &standby, &printed).await;
    standby.stop().await;
    assert!(sim.requests().iter().all(|request| !request.target.starts_with("/v1/event/stream")));
}
