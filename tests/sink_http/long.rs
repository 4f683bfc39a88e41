//! Everything that a server can do to many records, a stall and an outage among it. `RECORDS` says how many.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    common::{
        flood, seed,
        server::{Reply, Server},
    },
    setup,
};

/// The server takes requests, and answers none.
const STALL: Duration = Duration::from_secs(30);

/// Nobody listens.
const OUTAGE: Duration = Duration::from_secs(60);

/// What the server has taken, and what it does next.
struct Collector {
    came: Mutex<flood::Came>,
    random: Mutex<fastrand::Rng>,
    /// When the stall began.
    stall: Mutex<Option<Instant>>,
    faults: AtomicU64,
}

impl Collector {
    fn new(records: u64) -> Self {
        Collector {
            came: Mutex::new(flood::Came::new(records)),
            random: Mutex::new(fastrand::Rng::with_seed(seed())),
            stall: Mutex::default(),
            faults: AtomicU64::default(),
        }
    }

    fn distinct(&self) -> u64 {
        self.came.lock().expect("no panic").distinct
    }

    fn begin_stall(&self) {
        *self.stall.lock().expect("no panic") = Some(Instant::now());
    }

    /// Decides about a request, one in `faces` of which meets each fault.
    fn reply(&self, body: &str, faces: u32) -> Reply {
        let take = || self.came.lock().expect("no panic").take(body);
        let is_stalled = self.stall.lock().expect("no panic").is_some_and(|begun| begun.elapsed() < STALL);
        let thrown = if is_stalled { faces } else { self.random.lock().expect("no panic").u32(0..faces) };
        let reply = match thrown {
            // What is taken without an answer that says so comes again.
            _ if is_stalled => {
                take();
                Reply::Stall
            }
            0 => Reply::Status(500),
            1 => Reply::RetryAfter(429, "1"),
            2 => {
                take();
                Reply::ResetInHead
            }
            3 => {
                take();
                Reply::ResetInBody
            }
            4 => Reply::Reset,
            _ => {
                take();
                return Reply::Status(200);
            }
        };
        self.faults.fetch_add(1, Ordering::SeqCst);
        reply
    }
}

async fn go_through(format: &str, records: u64, faces: u32) {
    let sim = flood::cluster(records).await;
    let collector = Arc::new(Collector::new(records));
    let decider = Arc::clone(&collector);
    let decide = move |body: &str| decider.reply(body, faces);
    let server = Server::start(decide.clone()).await;
    let begun = Instant::now();
    let process = setup(&sim, &server).env("SINK_HTTP_FORMAT", format).env("SINK_WORKER_COUNT", "4").spawn();
    let until = |part: u64| flood::until_count(&process, part, async || collector.distinct());
    until(records / 3).await;
    collector.begin_stall();
    until(records * 2 / 3).await;
    let address = server.stop().await;
    tokio::time::sleep(OUTAGE).await;
    let _server = Server::start_at(address, decide).await;
    until(records).await;
    let (took, peak) = (begun.elapsed(), process.peak_memory());
    process.stop().await;
    let came = collector.came.lock().expect("no panic");
    came.assert_all();
    println!(
        "{format}: {records} records, {} repeats, {} faults, {} MiB, {took:?}",
        came.repeats,
        collector.faults.load(Ordering::SeqCst),
        peak >> 20
    );
    assert!(came.repeats > 0, "the server did nothing");
    assert!(peak < 96 << 20, "{peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn faults_a_stall_and_an_outage_lose_no_batch() {
    go_through("array", flood::records(400_000), 70).await;
}

/// A record a request meets a fault far more often.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn faults_a_stall_and_an_outage_lose_no_single_record() {
    go_through("single", flood::records(400_000) / 20, 1_000).await;
}
