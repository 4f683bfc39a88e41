//! Calls to services of AWS that take records by tens, against bare clients of AWS's SDK that send calls of the same size, as many at a
//! time, to the same server: ElasticMQ for SQS, and the stand-in of the tests for SNS and EventBridge.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use futures_util::future::BoxFuture;
use nomad_sim::{GeneratorOptions, Sim};

use crate::{
    common::{
        Setup,
        aws::{ACCOUNT, Aws, REGION, arn},
        elasticmq::ElasticMq,
    },
    program::Program,
    table::{Table, median},
};

const ROUNDS: usize = 3;
/// How long each measures, behind a start that is not counted.
const SPAN: Duration = Duration::from_secs(10);
/// Calls that are under way at a time: those of two batches.
const CALLS: usize = 32;
const RECORDS: u64 = 10;

/// Sends one call with ten records, whose numbers begin with this one and whose bodies have this size.
type Send = Arc<dyn Fn(u64, usize) -> BoxFuture<'static, ()> + std::marker::Send + Sync>;

#[cfg(feature = "sqs")]
pub(crate) async fn measure_sqs(table: &mut Table) {
    let sim = cluster().await;
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        // Another server each: what the round before has sent would cost the next one.
        let server = ElasticMq::start().await;
        let url = format!("http://{}", server.address());
        // A FIFO queue of ElasticMQ becomes slower with each message.
        for queue in ["ours", "theirs"] {
            server.create_queue(queue).await;
        }
        let setup = setup(&sim, "sqs")
            .env("SINK_SQS_QUEUE_NAME", format!("{url}/{ACCOUNT}/ours"))
            .env("AWS_ENDPOINT_URL_SQS", &url);
        let theirs = format!("{url}/{ACCOUNT}/theirs");
        let (ratio, seen) = ratio(setup, sqs(&sdk(&url), theirs)).await;
        ratios.push(ratio);
        last = seen;
    }
    table.at_least("SQS, a standard queue of ElasticMQ, of bare clients", median(ratios), 0.9, last);
}

#[cfg(feature = "sns")]
pub(crate) async fn measure_sns(table: &mut Table) {
    let sim = cluster().await;
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        let server = Aws::start().await;
        for topic in ["ours.fifo", "theirs.fifo"] {
            server.create_topic(topic).await;
        }
        let setup = setup(&sim, "sns")
            .env("SINK_SNS_TOPIC_ARN", arn("sns", "ours.fifo"))
            .env("AWS_ENDPOINT_URL_SNS", server.url());
        let (ratio, seen) = ratio(setup, sns(&sdk(&server.url()), arn("sns", "theirs.fifo"))).await;
        ratios.push(ratio);
        last = seen;
    }
    table.at_least("SNS, a FIFO topic of the stand-in, of bare clients", median(ratios), 0.9, last);
}

#[cfg(feature = "eventbridge")]
pub(crate) async fn measure_eventbridge(table: &mut Table) {
    let sim = cluster().await;
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        let server = Aws::start().await;
        for bus in ["ours", "theirs"] {
            server.create_bus(bus).await;
        }
        let setup = setup(&sim, "eventbridge")
            .env("SINK_EVENT_BUS_NAME", "ours")
            .env("AWS_ENDPOINT_URL_EVENTBRIDGE", server.url());
        let (ratio, seen) = ratio(setup, eventbridge(&sdk(&server.url()), "theirs")).await;
        ratios.push(ratio);
        last = seen;
    }
    table.at_least("EventBridge, the stand-in, of bare clients", median(ratios), 0.9, last);
}

async fn cluster() -> Sim {
    let options = GeneratorOptions { allocations: 200_000, churn: 0.01, seed: 1 };
    Sim::builder().generated(options).start().await.expect("the simulator starts")
}

fn setup(sim: &Sim, sink: &str) -> Setup {
    Setup::new(&["allocations"], &sim.url(0))
        .env("SINK_TYPE", sink)
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "AKIDTEST")
        .env("AWS_SECRET_ACCESS_KEY", "key")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent")
}

/// Our records a second, of theirs, and what was seen.
async fn ratio(setup: Setup, send: Send) -> (f64, String) {
    let started = Instant::now();
    let program = Program::start(setup).await;
    program.until(1_000).await;
    let (begun, (before, _), cpu) = (Instant::now(), program.delivered().await, program.cost(started).cpu);
    tokio::time::sleep(SPAN).await;
    let (records, bytes) = program.delivered().await;
    let ours = (records - before) as f64 / begun.elapsed().as_secs_f64();
    let cost = program.cost(started);
    drop(program);
    let each = (cost.cpu - cpu) * 1e6 / (records - before) as f64;
    let size = bytes / records;
    let theirs = rate(send, usize::try_from(size).expect("a size")).await;
    let peak = cost.peak >> 20;
    let seen = format!(
        "ours {ours:.0}/s, bare clients {theirs:.0}/s, {size} bytes, {each:.1} µs of CPU a record, {peak} MiB at the peak"
    );
    (ours / theirs, seen)
}

/// Records a second of bare clients.
async fn rate(send: Send, size: usize) -> f64 {
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let calls = (0..CALLS).map(|_| {
        let (send, next, done) = (Arc::clone(&send), Arc::clone(&next), Arc::clone(&done));
        tokio::spawn(async move {
            loop {
                send(next.fetch_add(RECORDS, Ordering::Relaxed), size).await;
                done.fetch_add(RECORDS, Ordering::Relaxed);
            }
        })
    });
    let calls: Vec<_> = calls.collect();
    crate::common::until("it has begun", || done.load(Ordering::Relaxed) >= 1_000).await;
    let (begun, before) = (Instant::now(), done.load(Ordering::Relaxed));
    tokio::time::sleep(SPAN).await;
    let rate = (done.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    for call in calls {
        call.abort();
        // It ends by that alone, unless a call has failed.
        assert!(call.await.is_err_and(|error| error.is_cancelled()), "a call has failed");
    }
    rate
}

/// What our messages carry beside their bodies.
fn attributes(number: u64) -> [(&'static str, String); 5] {
    let key = format!("3f0e1c52-7d0a-4a8e-9f5d-{number:012x}");
    [
        ("id", format!("allocations/{key}/server/6f1d0c2b9a8e7f53")),
        ("kind", "allocations".to_owned()),
        ("key", key),
        ("namespace", "default".to_owned()),
        ("job", "job-1".to_owned()),
    ]
}

#[cfg(feature = "sqs")]
fn sqs(sdk: &SdkConfig, queue: String) -> Send {
    use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry as Entry};
    let key = aws_sdk_sqs::config::Credentials::new("AKIDTEST", "key", None, None, "bench");
    let settings = aws_sdk_sqs::config::Builder::from(sdk).credentials_provider(key).build();
    let client = aws_sdk_sqs::Client::from_conf(settings);
    Arc::new(move |first, size| {
        let entry = |number: u64| {
            let mut entry = Entry::builder().id(number.to_string()).message_body("x".repeat(size));
            for (name, value) in attributes(number) {
                let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
                entry = entry.message_attributes(name, value.expect("the type is set"));
            }
            entry.build().expect("id and body are set")
        };
        let entries = (first..first + RECORDS).map(entry).collect();
        let request = client.send_message_batch().queue_url(&queue).set_entries(Some(entries));
        Box::pin(async move {
            let answer = request.send().await.expect("it is taken");
            assert!(answer.failed.is_empty(), "{:?}", answer.failed);
        })
    })
}

#[cfg(feature = "sns")]
fn sns(sdk: &SdkConfig, topic: String) -> Send {
    use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry as Entry};
    let key = aws_sdk_sns::config::Credentials::new("AKIDTEST", "key", None, None, "bench");
    let settings = aws_sdk_sns::config::Builder::from(sdk).credentials_provider(key).build();
    let client = aws_sdk_sns::Client::from_conf(settings);
    Arc::new(move |first, size| {
        let entry = |number: u64| {
            let attributes = attributes(number);
            let mut entry = Entry::builder().id(number.to_string()).message("x".repeat(size));
            entry = entry.message_group_id(&attributes[2].1).message_deduplication_id(&attributes[0].1);
            for (name, value) in attributes {
                let value = MessageAttributeValue::builder().data_type("String").string_value(value).build();
                entry = entry.message_attributes(name, value.expect("the type is set"));
            }
            entry.build().expect("id and message are set")
        };
        let entries = (first..first + RECORDS).map(entry).collect();
        let request = client.publish_batch().topic_arn(&topic).set_publish_batch_request_entries(Some(entries));
        Box::pin(async move {
            let answer = request.send().await.expect("it is taken");
            assert!(answer.failed().is_empty(), "{:?}", answer.failed());
        })
    })
}

#[cfg(feature = "eventbridge")]
fn eventbridge(sdk: &SdkConfig, bus: &'static str) -> Send {
    use aws_sdk_eventbridge::{primitives::DateTime, types::PutEventsRequestEntry as Entry};
    let key = aws_sdk_eventbridge::config::Credentials::new("AKIDTEST", "key", None, None, "bench");
    let settings = aws_sdk_eventbridge::config::Builder::from(sdk).credentials_provider(key).build();
    let client = aws_sdk_eventbridge::Client::from_conf(settings);
    Arc::new(move |first, size| {
        let entry = |_| {
            let detail = format!(r#"{{"x":"{}"}}"#, "x".repeat(size.saturating_sub(8)));
            let entry = Entry::builder().event_bus_name(bus).source("nomad-firehose").detail_type("allocations");
            entry.detail(detail).time(DateTime::from_secs(1_700_000_000)).build()
        };
        let entries = (first..first + RECORDS).map(entry).collect();
        let request = client.put_events().set_entries(Some(entries));
        Box::pin(async move {
            let answer = request.send().await.expect("it is taken");
            assert_eq!(answer.failed_entry_count, 0, "{answer:?}");
        })
    })
}

fn sdk(url: &str) -> SdkConfig {
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let connector = SharedHttpConnector::new(Wire(http));
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(url)
        .http_client(http_client_fn(move |_: &HttpConnectorSettings, _| connector.clone()))
        .retry_config(RetryConfig::disabled())
        .build()
}

/// Sends the SDK's requests as the program does.
#[derive(Clone, Debug)]
struct Wire(reqwest::Client);

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let body = request.body().bytes().expect("a body in memory").to_vec();
            let mut sent = client.post(request.uri()).body(body);
            for (name, value) in request.headers() {
                sent = sent.header(name, value);
            }
            let answer = sent.send().await.map_err(|error| ConnectorError::io(Box::new(error)))?;
            let status = answer.status().as_u16().try_into().expect("a status");
            let body = answer.bytes().await.map_err(|error| ConnectorError::io(Box::new(error)))?;
            Ok(HttpResponse::new(status, SdkBody::from(body)))
        })
    }
}
