//! TLS in front of Kinesis, under a private authority: how every real endpoint is reached.

use nomad_sim::Sim;

use super::{
    Kinesis, Leaps, STREAM, assert_order, bodies,
    common::{
        Signal, made,
        tls::{Authority, Front},
    },
    setup, take,
};

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_only_who_is_trusted_is_written_to() {
    let kinesis = Kinesis::start().await;
    kinesis.create_stream(STREAM, 1).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (authority, file) = (Authority::new(), directory.path().join("ca.pem"));
    std::fs::write(&file, authority.pem()).expect("a file");
    let front = Front::start(authority.server("localhost", false), kinesis.url().trim_start_matches("http://")).await;
    let address = format!("https://localhost:{}", front.address.port());
    let sim = Sim::builder().buffer(1_000).start().await.expect("the simulator starts");
    let mut lines: Vec<_> = (10..60).map(|n| made::evaluation(n, n)).collect();
    sim.append_lines(lines.clone()).await.expect("lines of a stream");
    let setup = setup(&sim, &address, "evaluations");
    let process = setup.spawn();
    process.until_logged("signed by an unknown authority").await;
    process.end_by(Signal::KILL).await;
    let process = setup.env("AWS_CA_BUNDLE", &file).spawn();
    take(&kinesis, &process, lines.len()).await;
    // Another authority from now on, and the bundle with it.
    let second = Authority::new();
    std::fs::write(&file, second.pem()).expect("a file");
    front.exchange(second.server("localhost", false));
    let more: Vec<_> = (60..80).map(|n| made::evaluation(n, n)).collect();
    sim.append_lines(more.clone()).await.expect("lines of a stream");
    lines.extend(more);
    let all = take(&kinesis, &process, lines.len()).await;
    process.stop().await;
    assert_eq!(assert_order(bodies(&all), &lines, Leaps::Never), 0);
}
