//! The connection is cut at random bytes, again and again in the life of one process: each thing comes exactly once.

mod common;

use common::{
    Setup, fixture,
    proxy::{Cuts, Proxy},
    seed,
    truth::{OBJECTS, all_seen, assert_exactly, expected},
};
use nomad_sim::Sim;

/// Cuts each stream at a random byte not far away; further away when the last cut left it no way to go on.
struct Random {
    random: fastrand::Rng,
    last: String,
    reach: usize,
    left: usize,
}

impl Cuts for Random {
    fn next(&mut self, request: &str) -> Option<usize> {
        let is_stuck = self.last == request;
        self.reach = if is_stuck { self.reach * 8 } else { 4_000 };
        request.clone_into(&mut self.last);
        self.left = self.left.checked_sub(1)?;
        Some(self.random.usize(if is_stuck { self.reach / 4 } else { 1 }..self.reach))
    }
}

/// So many processes at a time, for each waits a little after each cut.
const PROCESSES: usize = 20;
/// Cuts of each.
const CUTS: usize = 25;

/// Some 500 cuts; says how many.
async fn cut_at_random_bytes() -> usize {
    let mut random = fastrand::Rng::with_seed(seed());
    let sim = Sim::builder().recording(fixture("stream-complete.ndjson")).rounds(2).buffer(100_000);
    let sim = sim.preload(u64::MAX).start().await.expect("the simulator starts");
    let lines: Vec<_> = sim.truth().iter().map(|line| String::from_utf8(line.raw.to_vec()).expect("UTF-8")).collect();
    let (all, events) = (OBJECTS.iter().flat_map(|kind| expected(kind, &lines)).collect(), expected("events", &lines));
    let mut running = Vec::new();
    for (resources, expected) in [(&*OBJECTS.join(","), &all), ("events", &events)].into_iter().cycle().take(PROCESSES)
    {
        let cuts = Random { random: random.fork(), last: String::new(), reach: 0, left: CUTS };
        let proxy = Proxy::start(sim.addr(0), cuts).await;
        let process = Setup::new(&["run", "--resources", resources], &proxy.url()).spawn();
        running.push((proxy, process, expected));
    }
    let mut cut = 0;
    for (proxy, process, expected) in running {
        process.until_printed(expected.len()).await;
        assert_exactly(&all_seen(&process.stop().await), expected);
        cut += proxy.cut();
    }
    cut
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_at_hundreds_of_random_bytes_everything_comes_once() {
    let cut = cut_at_random_bytes().await;
    assert!(cut > 400, "{cut}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; ten thousand cuts"]
async fn cut_at_ten_thousand_random_bytes_everything_comes_once() {
    let mut cut = 0;
    while cut < 10_000 {
        cut += cut_at_random_bytes().await;
    }
    println!("cut {cut} times");
}
