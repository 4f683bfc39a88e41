//! The whole program against a reference that is measured in the same run, on the same machine, with the same cluster.
//!
//! `make bench` runs it: a table with each figure, its bar, and whether it is met. `cargo bench --bench whole -- http` runs
//! the lines whose name has that text in it. What the figures mean stands in `docs/performance.md`.

#[cfg(feature = "amqp")]
mod amqp;
#[cfg(feature = "aws-tens")]
mod aws;
mod begin;
mod binary;
#[path = "../../tests/common/mod.rs"]
mod common;
#[cfg(feature = "kinesis")]
mod far;
mod file;
mod http;
mod huge;
mod jq;
#[cfg(feature = "kafka")]
mod kafka;
mod latency;
mod listener;
mod long;
mod nats;
mod nsq;
#[cfg(feature = "postgres")]
mod postgres;
mod program;
mod push;
mod quiet;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "s3")]
mod s3;
mod sink;
mod stdout;
mod stream;
mod syslog;
mod table;

use table::Table;

#[tokio::main]
async fn main() {
    // cargo gives options of its own.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let mut table = Table::default();
    if "stdout".contains(&wanted) {
        stdout::measure(&mut table).await;
    }
    if "latency".contains(&wanted) {
        latency::measure(&mut table).await;
    }
    if "long".contains(&wanted) {
        long::measure(&mut table).await;
    }
    if "http".contains(&wanted) {
        http::measure(&mut table).await;
    }
    if "file".contains(&wanted) {
        file::measure(&mut table).await;
    }
    #[cfg(feature = "s3")]
    if "s3".contains(&wanted) {
        s3::measure(&mut table).await;
    }
    #[cfg(feature = "kinesis")]
    if "far".contains(&wanted) {
        far::measure(&mut table).await;
    }
    #[cfg(feature = "amqp")]
    if "amqp".contains(&wanted) {
        amqp::measure(&mut table).await;
    }
    #[cfg(feature = "kafka")]
    if "kafka".contains(&wanted) {
        kafka::measure(&mut table).await;
    }
    #[cfg(feature = "sqs")]
    if "sqs".contains(&wanted) {
        aws::measure_sqs(&mut table).await;
    }
    #[cfg(feature = "sns")]
    if "sns".contains(&wanted) {
        aws::measure_sns(&mut table).await;
    }
    #[cfg(feature = "eventbridge")]
    if "eventbridge".contains(&wanted) {
        aws::measure_eventbridge(&mut table).await;
    }
    #[cfg(feature = "postgres")]
    if "postgres".contains(&wanted) {
        postgres::measure(&mut table).await;
    }
    if "nsq".contains(&wanted) {
        nsq::measure(&mut table).await;
    }
    if "nats".contains(&wanted) {
        nats::measure(&mut table).await;
    }
    #[cfg(feature = "redis")]
    if "redis".contains(&wanted) {
        redis::measure(&mut table).await;
    }
    if "syslog".contains(&wanted) {
        syslog::measure(&mut table).await;
    }
    #[cfg(feature = "loki")]
    if "loki".contains(&wanted) {
        push::measure(&mut table, &push::LOKI).await;
    }
    #[cfg(feature = "otlp")]
    if "otlp".contains(&wanted) {
        push::measure(&mut table, &push::OTLP).await;
    }
    if "elasticsearch".contains(&wanted) {
        push::measure(&mut table, &push::ELASTICSEARCH).await;
    }
    if "jq".contains(&wanted) {
        jq::measure(&mut table).await;
    }
    if "huge".contains(&wanted) {
        huge::measure(&mut table).await;
    }
    if "polled".contains(&wanted) {
        huge::measure_polled(&mut table).await;
    }
    if "quiet".contains(&wanted) {
        quiet::measure(&mut table).await;
    }
    if "begin".contains(&wanted) {
        begin::measure(&mut table).await;
    }
    if "listener".contains(&wanted) {
        listener::measure(&mut table).await;
    }
    if "binary".contains(&wanted) {
        binary::measure(&mut table);
    }
    table.print();
}
