//! The whole program with a stand-in for S3: whatever becomes of calls, every record arrives.

#![cfg(feature = "s3")]

mod common;

use std::time::{Duration, Instant};

use common::{
    Setup, Signal,
    aws::{CREDENTIALS, SECRETS},
    cluster, fixture_lines, flood,
    gate::Gate,
    made,
    order::{self, Leaps},
    ports::Ports,
    s3::{BUCKET, S3},
    tls::{Authority, Front},
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use serde_json::json;

/// The program, which writes into the bucket at this endpoint. It sees no machine around it.
fn setup(sim: &Sim, endpoint: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "s3")
        .env("SINK_S3_URL", format!("s3://{BUCKET}"))
        .env("SINK_S3_ENDPOINT", endpoint)
        .env("SINK_S3_BATCH_INTERVAL", "100ms")
        .env("NOMAD_FIREHOSE_RETRY_MAX", "500ms")
        .envs(&CREDENTIALS)
}

fn url(s3: &S3) -> String {
    format!("http://{}", s3.address())
}

fn assert_once(came: &[String], lines: &[String]) {
    assert_eq!(order::assert_order(came.iter().map(String::as_str), lines, Leaps::Never), 0, "records came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_arrives_once_in_the_objects_of_its_key() {
    let stream = fixture_lines("stream-complete.ndjson");
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    for compression in ["none", "gzip", "zstd"] {
        let mut s3 = S3::start().await;
        let sim = cluster(&stream).await;
        let process = setup(&sim, &url(&s3), "all")
            .env("SINK_S3_URL", format!("s3://{BUCKET}/a/b"))
            .env("SINK_S3_KEY", "{Kind}/%Y-%m-%d/{Namespace}")
            .env("SINK_S3_COMPRESSION", compression)
            .spawn();
        let came = process.until_come(due.len(), async || s3.more().await).await;
        process.stop().await;
        assert_eq!(s3.more().await, Vec::<String>::new());
        assert_exactly(&came.iter().map(|body| seen(body)).collect::<Vec<_>>(), &due);
        for key in s3.keys().await.keys() {
            let parts: Vec<_> = key.split('/').collect();
            assert!(parts.len() == 6 && parts[..2] == ["a", "b"], "{key}");
            assert!(s3.text(key).await.lines().all(|line| seen(line).kind == parts[2]), "{key}");
            let end = parts[5].split_once(".ndjson").expect("a suffix").1;
            assert_eq!(
                end,
                if compression == "none" {
                    ""
                } else if compression == "gzip" {
                    ".gz"
                } else {
                    ".zst"
                }
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_answer_is_lost_replaces_itself() {
    let mut s3 = S3::start().await;
    let lines = made::evaluations(10..510, 20);
    let sim = cluster(&lines).await;
    s3.suffer(json!({"lost": true})).await;
    let process = setup(&sim, &url(&s3), "evaluations").spawn();
    process.until_logged("delivery failed").await;
    while s3.counts().await.1 < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(s3.keys().await.len(), 1, "each try has the same key");
    s3.suffer(json!({})).await;
    let came = process.until_come(lines.len(), async || s3.more().await).await;
    process.stop().await;
    assert_once(&came, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_bucket_or_the_right_to_write_it_waits_with_one_message_and_no_secret() {
    let mut s3 = S3::start().await;
    let lines = made::evaluations(10..60, 20);
    let sim = cluster(&lines).await;
    s3.suffer(json!({"error": [403, "AccessDenied"]})).await;
    let process = setup(&sim, &url(&s3), "evaluations").env("LOG_LEVEL", "trace").spawn();
    process.until_logged("access to the bucket nomad is refused; correct the credentials, or allow s3:PutObject").await;
    process.until_logged("delivery failed").await;
    s3.suffer(json!({})).await;
    let came = process.until_come(lines.len(), async || s3.more().await).await;
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("target refuses every record"), 1);
    assert!(SECRETS.iter().all(|secret| !process.log().contains(secret)), "a secret is shown");
    process.stop().await;
    assert_once(&came, &lines);
    let process = setup(&sim, &url(&s3), "evaluations").env("SINK_S3_URL", "s3://later").spawn();
    process.until_logged("the bucket later does not exist; create it, or correct SINK_S3_URL (NoSuchBucket").await;
    s3.create("later").await;
    process.until_logged("delivery recovered").await;
    process.stop().await;
    let process = setup(&sim, &url(&s3), "evaluations").without("AWS_ACCESS_KEY_ID").spawn();
    process.until_logged("no credentials; set AWS_ACCESS_KEY_ID").await;
    process.end_by(Signal::KILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_and_region_of_a_profile_are_enough() {
    let mut s3 = S3::start().await;
    let lines = made::evaluations(10..60, 20);
    let sim = cluster(&lines).await;
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join(".aws")).expect("writable");
    let write = |name: &str, text: &str| std::fs::write(home.path().join(".aws").join(name), text).expect("writable");
    write("config", "[profile archive]\nregion = eu-central-1\n");
    write("credentials", "[archive]\naws_access_key_id = AKIDTEST\naws_secret_access_key = hush-hush-profile\n");
    let process = setup(&sim, &url(&s3), "evaluations")
        .without("AWS_ACCESS_KEY_ID")
        .without("AWS_SECRET_ACCESS_KEY")
        .without("AWS_SESSION_TOKEN")
        .env("AWS_PROFILE", "archive")
        .env("HOME", home.path())
        .spawn();
    let came = process.until_come(lines.len(), async || s3.more().await).await;
    assert!(!process.log().contains("hush"), "a secret is shown");
    process.stop().await;
    assert_once(&came, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_who_is_trusted_is_sent_to() {
    let mut s3 = S3::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (authority, file) = (Authority::new(), directory.path().join("ca.pem"));
    std::fs::write(&file, authority.pem()).expect("a file");
    let front = Front::start(authority.server("localhost", false), &s3.address()).await;
    let lines = made::evaluations(10..60, 20);
    let sim = cluster(&lines).await;
    let setup = setup(&sim, &format!("https://localhost:{}", front.address.port()), "evaluations");
    let process = setup.spawn();
    process.until_logged("signed by an unknown authority").await;
    process.end_by(Signal::KILL).await;
    let process = setup.env("AWS_CA_BUNDLE", &file).spawn();
    let came = process.until_come(lines.len(), async || s3.more().await).await;
    process.stop().await;
    assert_once(&came, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_gathered_up_to_the_size_of_a_batch() {
    let mut s3 = S3::start().await;
    let lines = made::evaluations(10..1_010, 20);
    let sim = cluster(&lines).await;
    let process = setup(&sim, &url(&s3), "evaluations")
        .env("SINK_S3_BATCH_SIZE", "32KiB")
        .env("SINK_S3_BATCH_INTERVAL", "5s")
        .env("SINK_S3_COMPRESSION", "none")
        .spawn();
    let came = process.until_come(lines.len(), async || s3.more().await).await;
    process.stop().await;
    assert_once(&came, &lines);
    let mut sizes = Vec::new();
    for key in s3.keys().await.keys() {
        let text = s3.text(key).await;
        sizes.push(text.len() - text.lines().count());
    }
    assert!(sizes.iter().all(|size| *size <= 32 << 10), "{sizes:?}");
    assert!(sizes.iter().filter(|size| **size > 31 << 10).count() + 2 >= sizes.len(), "{sizes:?}");
}

/// Every sort of fault at random, outages of each sort, and kills.
async fn go_through(records: u64, outage: Duration) {
    let mut s3 = S3::start().await;
    s3.suffer(json!({"random": true})).await;
    let state = tempfile::tempdir().expect("a directory");
    let gate = Gate::start(&s3.address()).await;
    let sim = flood::cluster(records).await;
    let ports = Ports::reserve();
    let setup = setup(&sim, &gate.url(), "evaluations")
        .data_dir(state.path())
        .env("SINK_S3_BATCH_SIZE", "256KiB")
        .env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let (mut came, begun, mut peak) = (flood::Came::new(records), Instant::now(), 0);
    for quarter in 1..=4 {
        let process = setup.spawn();
        let until = records * quarter / 4;
        flood::until_count(&process, until, async || {
            s3.more().await.iter().for_each(|line| came.take(line));
            came.distinct
        })
        .await;
        println!("{quarter} quarters after {:?}", begun.elapsed());
        match quarter {
            1 => gate.cut(),
            // Connections stay open, and nothing is answered.
            2 => s3.pause(),
            3 => gate.slow_down(64 << 10),
            _ => {}
        }
        tokio::time::sleep(if quarter < 4 { outage } else { Duration::ZERO }).await;
        peak = peak.max(process.peak_memory());
        if quarter % 2 == 0 {
            s3.resume();
            process.stop().await;
        } else {
            process.end_by(Signal::KILL).await;
        }
        gate.cut_once();
        gate.open();
        s3.resume();
    }
    s3.more().await.iter().for_each(|line| came.take(line));
    came.assert_all();
    let (puts, failed) = s3.counts().await;
    let (objects, took) = (s3.keys().await.len(), begun.elapsed());
    println!(
        "{records} records, {} repeats, {objects} objects, {puts} calls, {failed} of them with a fault, {} MiB, {took:?}",
        came.repeats,
        peak >> 20
    );
    assert!(failed > 0);
    assert!(peak < 128 << 20, "{peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_lost_answers_outages_and_kills_lose_nothing() {
    go_through(5_000, Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn throttling_lost_answers_outages_and_kills_lose_nothing_of_many() {
    go_through(flood::records(50_000), Duration::from_secs(5)).await;
}
