//! Connections that stay open and bring nothing. The waits are the program's own, so these tests are slow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nomad_sim::Sim;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

use crate::common::{
    PATIENCE, Process, Setup,
    truth::{all_seen, assert_exactly},
};
use crate::support::*;

/// Waits for longer than other tests do.
async fn until(process: &Process, patience: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "{} lines; the log:\n{}", process.count(), process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn a_connection_without_a_sign_of_life_is_left_after_forty_seconds() {
    let sim = Sim::builder().start().await.expect("starts");
    append_evaluations(&sim, 10..=19).await;
    let process = Setup::new(&["evaluations"], &sim.url(0)).spawn();
    process.until_printed(10).await;
    until_stream(&sim).await;
    sim.server(0).stall();
    append_evaluations(&sim, 20..=29).await;
    until(&process, Duration::from_secs(40) + PATIENCE, || process.count() == 20).await;
    assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}

/// Passes everything on, but for events of the streams that were there when it became mute: heartbeats still come.
async fn muting_proxy(to: std::net::SocketAddr) -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mute = Arc::new(AtomicBool::new(false));
    let is_mute = Arc::clone(&mute);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let is_mute = Arc::clone(&is_mute);
            tokio::spawn(async move {
                let far = TcpStream::connect(to).await.expect("the simulator listens");
                let (mut near_read, mut near_write) = near.into_split();
                let (mut far_read, mut far_write) = far.into_split();
                tokio::spawn(async move { copy(&mut near_read, &mut far_write).await });
                let mut streams = false;
                // The simulator writes a line at once.
                let mut chunk = vec![0; 64 << 10];
                while let Ok(read @ 1..) = far_read.read(&mut chunk).await {
                    let is_event = chunk[..read].windows(8).any(|window| window == b"\"Topic\":");
                    let is_mute = is_mute.load(Ordering::SeqCst);
                    streams |= is_event && !is_mute;
                    let muted = is_event && is_mute && streams;
                    if !muted && near_write.write_all(&chunk[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, mute)
}

async fn a_stream_with_heartbeats_and_no_events_is_left_within_two_watches() {
    let sim = Sim::builder().heartbeat(Duration::from_secs(5)).start().await.expect("starts");
    append_evaluations(&sim, 10..=19).await;
    let (url, mute) = muting_proxy(sim.addr(0)).await;
    let process = Setup::new(&["evaluations"], &url).spawn();
    process.until_printed(10).await;
    until_stream(&sim).await;
    mute.store(true, Ordering::SeqCst);
    append_evaluations(&sim, 20..=29).await;
    until(&process, Duration::from_secs(120) + PATIENCE, || process.count() == 20).await;
    assert_eq!(process.logged("event stream is behind its table"), 1);
    assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}

/// Both at once, for both are nothing but waits.
#[tokio::test(flavor = "multi_thread")]
async fn silent_and_mute_connections_are_left() {
    tokio::join!(
        a_connection_without_a_sign_of_life_is_left_after_forty_seconds(),
        a_stream_with_heartbeats_and_no_events_is_left_within_two_watches(),
    );
}
