//! What Kinesis, the network and the credentials can do.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Call, Kinesis, Leaps, Proxy, Reply, SECRETS, STREAM, assert_order, bodies,
    common::{made, seed},
    records, setup, take,
};
use nomad_sim::Sim;

/// Some keys are hot, so that several of their records are in a call.
fn evaluation(n: u64) -> String {
    made::evaluation(n, if n.is_multiple_of(10) { n / 10 % 20 + 1 } else { n % 6_000 + 100 })
}

/// Every sort of fault at random, over `many` records, with an outage of that length in the middle.
///
/// The stand-in needs the longer for a call the more its shards hold: many records want many shards.
async fn go_through(many: u64, shards: usize, outage: Duration) {
    const STEPS: u64 = 20;
    let kinesis = Kinesis::start().await;
    kinesis.create_stream(STREAM, shards).await;
    let random = Mutex::new(fastrand::Rng::with_seed(seed()));
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let proxy = Proxy::start(kinesis.url(), move |call| {
        let mut random = random.lock().expect("no panic");
        let error = |status, code: &'static str| Reply::Error(status, code, "as it is told to".to_owned());
        match (is_down.load(Ordering::SeqCst), call.number) {
            (true, _) => return Reply::Reset,
            (_, 10) => return error(400, "ExpiredTokenException"),
            _ => {}
        }
        match random.u32(..100) {
            0..2 => error(400, "ProvisionedThroughputExceededException"),
            2..4 => error(400, "LimitExceededException"),
            4..6 => error(500, "InternalFailure"),
            6..8 => Reply::Reset,
            8..10 => Reply::PassAndReset,
            10..18 => {
                let share = random.usize(1..=20);
                let failed = (0..call.records).filter(|_| random.usize(..100) < share).collect();
                Reply::Fail(failed, "ProvisionedThroughputExceededException")
            }
            _ => Reply::Pass,
        }
    })
    .await;
    let sim = Sim::builder().buffer(1_000_000).start().await.expect("the simulator starts");
    let process = setup(&sim, &proxy.url(), "evaluations").spawn();
    process.until_logged("subscribed to the event stream").await;
    let begun = Instant::now();
    let step = many / STEPS;
    for n in 0..STEPS {
        let lines: Vec<_> = (10 + n * step..10 + (n + 1) * step).map(evaluation).collect();
        sim.append_lines(lines).await.expect("lines of a stream");
        if n == STEPS / 2 {
            down.store(true, Ordering::SeqCst);
            tokio::time::sleep(outage).await;
            down.store(false, Ordering::SeqCst);
            // The same without a word: connections stay open, and nothing is answered.
            kinesis.pause();
            tokio::time::sleep(outage / 2).await;
            kinesis.resume();
        }
    }
    let lines: Vec<_> = (10..10 + STEPS * step).map(evaluation).collect();
    proxy.until_stored(lines.len(), &process).await;
    let took = begun.elapsed();
    let peak = process.peak_memory();
    process.stop().await;
    let all = kinesis.consumer(STREAM).await.read().await;
    let repeats = assert_order(bodies(&all), &lines, Leaps::SentAgain);
    let calls = proxy.calls();
    let faults = calls.iter().filter(|(_, reply)| !matches!(reply, Reply::Pass)).count();
    println!(
        "{} records, {repeats} repeats, {} calls, {faults} of them with a fault, {} MiB, {:?}",
        lines.len(),
        calls.len(),
        peak >> 20,
        took
    );
    assert!(faults > 0);
    assert!(peak < 96 << 20, "{peak} bytes");
    assert!(!SECRETS.iter().any(|secret| all.iter().any(|stored| stored.body.contains(secret))));
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_partial_failures_resets_and_an_outage_lose_nothing() {
    go_through(5_000, 40, Duration::from_millis(400)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn throttling_partial_failures_resets_and_an_outage_lose_nothing_of_many() {
    go_through(records(), 900, Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_stream_it_waits_with_one_message_and_no_secret() {
    let kinesis = Kinesis::start().await;
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..510).map(evaluation).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, &kinesis.url(), "evaluations").env("LOG_LEVEL", "trace").spawn();
    process.until_logged("the stream nomad does not exist in us-east-1; create it").await;
    process.until_logged("delivery failed").await;
    kinesis.create_stream(STREAM, 2).await;
    let all = take(&kinesis, &process, lines.len()).await;
    assert_eq!(assert_order(bodies(&all), &lines, Leaps::Never), 0);
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("stream refuses every record"), 1);
    let log = process.log();
    assert!(SECRETS.iter().all(|secret| !log.contains(secret)), "a secret is shown");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_credentials_are_read_anew_and_what_a_refusal_echoes_is_not_shown() {
    let kinesis = Kinesis::start().await;
    kinesis.create_stream(STREAM, 2).await;
    let proxy = Proxy::start(kinesis.url(), |call: &Call| match call.token.as_deref() {
        Some("hush-old") if call.number == 0 => {
            // As AWS explains a signature that it does not like.
            let said = "The request signature does not match.\n\nThe Canonical String:\nx-amz-security-token:hush-old";
            Reply::Error(403, "InvalidSignatureException", said.to_owned())
        }
        Some("hush-old") => Reply::Error(400, "ExpiredTokenException", "The security token is expired".to_owned()),
        _ => Reply::Pass,
    })
    .await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("credentials");
    let write = |token: &str| {
        let text = "[default]\naws_access_key_id = AKIDTEST\naws_secret_access_key = hush-key\naws_session_token = ";
        std::fs::write(&file, format!("{text}{token}\n")).expect("a file");
    };
    write("hush-old");
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let lines: Vec<_> = (10..60).map(evaluation).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let process = setup(&sim, &proxy.url(), "evaluations")
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY")
        .without("AWS_SESSION_TOKEN")
        .env("AWS_SHARED_CREDENTIALS_FILE", &file)
        .env("LOG_LEVEL", "trace")
        .spawn();
    process.until_logged("access to the stream nomad in us-east-1 is refused").await;
    process.until("it tries again", || proxy.calls().len() > 2).await;
    write("hush-new");
    let all = take(&kinesis, &process, lines.len()).await;
    assert_eq!(assert_order(bodies(&all), &lines, Leaps::Never), 0);
    process.until_logged("delivery recovered").await;
    assert!(!process.log().contains("hush"), "a secret is shown");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_region_or_credentials_it_says_so_and_waits() {
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    sim.append_lines(vec![evaluation(10)]).await.expect("lines of a stream");
    for (variable, said) in
        [("AWS_REGION", "no region; set AWS_REGION"), ("AWS_ACCESS_KEY_ID", "no credentials; set AWS")]
    {
        // Nobody is there; it does not come so far.
        let process = setup(&sim, "http://127.0.0.1:1", "evaluations").without(variable).spawn();
        process.until_logged(said).await;
        assert_eq!(process.logged("stream refuses every record"), 1, "{}", process.log());
        assert!(!process.log().contains("hush"), "a secret is shown");
        process.end_by(super::common::Signal::KILL).await;
    }
}
