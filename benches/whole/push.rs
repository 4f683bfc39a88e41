//! Batches to the HTTP API of a log store, against a bare client that compresses and posts the same bodies, as many at a time, to the
//! same server. The server takes everything and counts it, so that all of the cost is the client's. The bare client has nothing to read
//! and nothing to encode, so the ratio is the share of the whole way that sending has.

use std::{
    io::{Read as _, Write as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::response::Response;
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{
    common::stand_in::{Request, StandIn, say},
    sink::{self, ROUNDS},
    table::{Table, median},
};

/// How many requests are under way at a time: `SINK_…_REQUESTS`.
const REQUESTS: usize = 4;
/// How many bodies the reference goes through.
const BODIES: usize = 200;
/// How long the reference is measured.
const SPAN: Duration = Duration::from_secs(5);

/// One API.
pub(crate) struct Api {
    name: &'static str,
    rows: &'static [Row],
    address: &'static str,
    answer: fn(&Request) -> Response,
}

/// What is measured.
struct Row {
    what: &'static str,
    /// Further variables.
    variables: &'static [(&'static str, &'static str)],
    compression: Compression,
}

/// How bodies are compressed, with the libraries of the program.
#[derive(Clone, Copy)]
enum Compression {
    None,
    #[allow(dead_code, reason = "only OTLP is compressed so")]
    Gzip,
    #[cfg(feature = "loki")]
    Snappy,
}

#[cfg(feature = "loki")]
pub(crate) const LOKI: Api = Api {
    name: "loki",
    rows: &[Row { what: "Loki, of a bare client", variables: &[], compression: Compression::Snappy }],
    address: "SINK_LOKI_ADDRESS",
    answer: |_| say(204, ""),
};

#[cfg(feature = "otlp")]
pub(crate) const OTLP: Api = Api {
    name: "otlp",
    rows: &[
        Row { what: "OTLP over HTTP with gzip, of a bare client", variables: &[], compression: Compression::Gzip },
        Row {
            what: "the same without compression",
            variables: &[("SINK_OTLP_COMPRESSION", "none")],
            compression: Compression::None,
        },
    ],
    address: "SINK_OTLP_ADDRESS",
    answer: |_| say(200, ""),
};

pub(crate) const ELASTICSEARCH: Api = Api {
    name: "elasticsearch",
    rows: &[Row { what: "Elasticsearch, of a bare client", variables: &[], compression: Compression::None }],
    address: "SINK_ELASTICSEARCH_ADDRESS",
    answer: bulk,
};

impl Compression {
    fn compress(self, body: Bytes) -> Bytes {
        match self {
            Compression::None => body,
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&body).and_then(|()| encoder.finish()).expect("memory").into()
            }
            #[cfg(feature = "loki")]
            Compression::Snappy => snap::raw::Encoder::new().compress_vec(&body).expect("Snappy").into(),
        }
    }

    fn decompress(self, body: &[u8]) -> Bytes {
        match self {
            Compression::None => body.to_vec().into(),
            Compression::Gzip => {
                let mut plain = Vec::new();
                flate2::read::GzDecoder::new(body).read_to_end(&mut plain).expect("gzip");
                plain.into()
            }
            #[cfg(feature = "loki")]
            Compression::Snappy => snap::raw::Decoder::new().decompress_vec(body).expect("Snappy").into(),
        }
    }
}

/// The status of each document, as `filter_path` leaves it.
fn bulk(request: &Request) -> Response {
    let documents = memchr::memchr_iter(b'\n', &request.body).count() / 2;
    let items = vec![r#"{"create":{"status":201}}"#; documents].join(",");
    say(200, format!(r#"{{"items":[{items}]}}"#))
}

/// What came to the server.
#[derive(Default)]
struct Came {
    bytes: AtomicU64,
    bodies: Mutex<Vec<Request>>,
}

pub(crate) async fn measure(table: &mut Table, api: &Api) {
    let sim = sink::cluster().await;
    for Row { what, variables: further, compression } in api.rows {
        let (mut ratios, mut last) = (Vec::new(), String::new());
        for _ in 0..ROUNDS {
            let came = Arc::new(Came::default());
            let (shared, answer) = (Arc::clone(&came), api.answer);
            let server = StandIn::start(move |request| {
                shared.bytes.fetch_add(request.body.len() as u64, Ordering::Relaxed);
                let response = answer(&request);
                let mut bodies = shared.bodies.lock().expect("no panic");
                if bodies.len() < BODIES {
                    bodies.push(request);
                }
                response
            })
            .await;
            let url = server.url();
            let variables = [&[("SINK_TYPE", api.name), (api.address, url.as_str())], *further].concat();
            let ours = sink::ours(&sim, &variables).await;
            let bodies = std::mem::take(&mut *came.bodies.lock().expect("no panic"));
            let each = came.bytes.load(Ordering::Relaxed) as f64 / ours.records as f64;
            let theirs = theirs(&url, bodies, *compression).await / each;
            ratios.push(ours.rate / theirs);
            let sink::Ours { rate, size, cost, .. } = ours;
            last = format!("ours {rate:.0}/s, bare {theirs:.0}/s, {size} bytes ({each:.0} sent), {cost}");
        }
        table.at_least(what, median(ratios), 0.25, last);
    }
}

/// Bytes of bodies a second of a bare client.
async fn theirs(url: &str, mut bodies: Vec<Request>, compression: Compression) -> f64 {
    for request in &mut bodies {
        request.body = compression.decompress(&request.body);
    }
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let client = reqwest::Client::builder().no_proxy().http1_only().build().expect("a client");
    let (bodies, is_over) = (Arc::new(bodies), Arc::new(AtomicBool::new(false)));
    let (mut posts, begun) = (JoinSet::new(), Instant::now());
    for number in 0..REQUESTS {
        let (client, url, bodies, is_over) =
            (client.clone(), url.to_owned(), Arc::clone(&bodies), Arc::clone(&is_over));
        posts.spawn(async move {
            let mut bytes = 0;
            for request in bodies.iter().cycle().skip(number) {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let body = compression.compress(request.body.clone());
                bytes += body.len() as u64;
                let mut post = client.post(format!("{url}{}", request.path)).body(body);
                for name in ["content-type", "content-encoding"] {
                    if let Some(value) = request.headers.get(name) {
                        post = post.header(name, value);
                    }
                }
                let answer = post.send().await.expect("it answers");
                assert!(answer.status().is_success());
                answer.bytes().await.expect("a body");
            }
            bytes
        });
    }
    tokio::time::sleep(SPAN).await;
    is_over.store(true, Ordering::Relaxed);
    let bytes: u64 = posts.join_all().await.into_iter().sum();
    bytes as f64 / begun.elapsed().as_secs_f64()
}
