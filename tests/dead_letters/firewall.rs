//! A web firewall that answers 403 to one record because of its body, and accepts the others.

use std::time::{Duration, Instant};

use super::*;
use crate::common::{ports::Ports, probe::get};

/// The index of the refused record.
const GUILTY: u64 = 13;

/// The settings of a run against a server that refuses one record.
async fn setup(format: &str, records: std::ops::Range<u64>) -> (Server, Arc<AtomicBool>, Sim, Setup) {
    let (server, strict) = strict_server(403, &[GUILTY]).await;
    let sim = cluster().await;
    sim.append_lines(evaluations(records)).await.expect("lines of a stream");
    let setup = with(Setup::new(&["evaluations"], &sim.url(0)), &sink(&server, format));
    (server, strict, sim, setup)
}

fn indexes(server: &Server) -> Vec<u64> {
    server.taken().iter().map(|record| record["ModifyIndex"].as_u64().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_other_keys_pass_and_the_status_names_the_refused_one() {
    for format in ["single", "ndjson", "array"] {
        let (server, strict, _sim, setup) = setup(format, 10..40).await;
        let ports = Ports::reserve();
        let process = setup.env("NOMAD_FIREHOSE_LISTEN", format!("127.0.0.1:{}", ports.base)).spawn();
        // Three are before it; what comes then are probes.
        process.until("probes pass", || server.taken().len() >= 6).await;
        process.until_logged("is refused while records of other keys are accepted").await;
        let status = get(&format!("http://127.0.0.1:{}/", ports.base)).await;
        assert!(status.contains(&made::id(GUILTY)) && status.contains("records of other keys"), "{status}");
        assert!(!status.contains("SINK_HTTP_AUTH"), "the credentials work: {status}");
        strict.store(false, Ordering::SeqCst);
        process.until("everything arrives", || server.taken().len() == 30).await;
        // No key has a second record here: the guilty one is late, and the others are in order.
        let late: Vec<u64> = indexes(&server).into_iter().filter(|index| *index != GUILTY).collect();
        assert!(late.is_sorted(), "{late:?}");
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn a_record_that_is_refused_for_minutes_is_a_dead_letter() {
    let (server, _, _sim, setup) = setup("single", 10..210).await;
    let (place, started) = (Place::new(), Instant::now());
    let process = setup.env("NOMAD_FIREHOSE_DEAD_LETTER", place.setting()).spawn();
    let limit = Duration::from_secs(600);
    while place.letters().is_empty() {
        assert!(started.elapsed() < limit, "no dead letter: {}", process.log());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(started.elapsed() >= Duration::from_secs(300), "{:?}", started.elapsed());
    process.until("the others arrive", || server.taken().len() == 199).await;
    let letters = place.letters();
    let reason = letters[0]["reason"].as_str().expect("text");
    assert!(letters.len() == 1 && reason.contains("403") && reason.contains("records of other keys"), "{letters:?}");
    println!("a dead letter after {:?}: {reason}", started.elapsed());
    process.stop().await;
}
