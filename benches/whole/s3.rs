//! Objects to a server that speaks S3 and only counts, against a plain client that puts as many bytes in objects of the same size.

use std::time::{Duration, Instant};

use crate::{
    common::Setup,
    http,
    program::Program,
    stream,
    table::{Table, median},
};

const ROUNDS: usize = 3;

/// The size of an object.
const SIZE: usize = 8 << 20;

pub(crate) async fn measure(table: &mut Table) {
    let (sim, events) = stream::cluster().await;
    let server = http::serve("ETag: \"0\"\r\n").await;
    let (mut ratios, mut seen) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        let setup = Setup::new(&["events"], &sim.url(0))
            .env("SINK_TYPE", "s3")
            .env("SINK_S3_URL", "s3://nomad")
            .env("SINK_S3_ENDPOINT", &server)
            .env("SINK_S3_COMPRESSION", "none")
            .env("SINK_S3_BATCH_SIZE", SIZE.to_string())
            .env("SINK_S3_BATCH_INTERVAL", "1s")
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        let begun = Instant::now();
        let program = Program::start(setup).await;
        program.until(events).await;
        let (cost, (_, bytes)) = (program.cost(begun), program.delivered().await);
        drop(program);
        let reference = put(&server, usize::try_from(bytes).expect("it fits")).await;
        ratios.push(reference.as_secs_f64() / cost.wall.as_secs_f64());
        let rate = |took: Duration| bytes as f64 / took.as_secs_f64() / 1e6;
        seen = format!(
            "{events} events: plain client {:.0} MB/s, s3 {:.0} MB/s, {:.1} µs of CPU a record, {} MiB at the peak",
            rate(reference),
            rate(cost.wall),
            cost.cpu * 1e6 / events as f64,
            cost.peak >> 20,
        );
    }
    table.at_least("objects of 8 MiB to S3, of a plain client", median(ratios), 0.1, seen);
}

/// How long a client takes for so many bytes, one object after the other. It signs nothing.
async fn put(server: &str, bytes: usize) -> Duration {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let object = vec![b'x'; SIZE];
    let begun = Instant::now();
    for number in 0..bytes.div_ceil(SIZE) {
        let answer = client.put(format!("{server}nomad/{number}")).body(object.clone()).send().await;
        assert!(answer.expect("it answers").status().is_success());
    }
    begun.elapsed()
}
