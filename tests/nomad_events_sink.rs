//! nomad-events-sink's own configuration and index file: the same events in the same batches, each once, and back again.

#[path = "nomad_events_sink/collector.rs"]
mod collector;
mod common;

use std::{collections::BTreeMap, fs, path::Path};

use collector::Collector;
use common::{Process, Setup, Signal, made::*};
use nomad_sim::Sim;
use serde_json::{Value, json};

/// Its sample, with places for what differs from user to user.
const CONFIG: &str = r#"
[app]
log = "debug" # `debug` for verbose logs. `info` otherwise.
data_dir = "DATA_DIR" # Directory to store `index.json` file.
commit_index_interval = "INTERVAL"

[stream]
topics = ["Deployment", "Allocation", "Evaluation", "Job", "Node"]
max_reconnect_attempts = 5

[sinks]
[sinks.batch]
workers = 10
queue_size = 100
idle_timeout = "2s"
events_count = 5

[sinks.http]
root_url = "http://user:word@HOST/in?token=a"
timeout = "7s"
max_idle_conns = 100

[sinks.http.healthcheck]
enabled = true
url = "http://HOST/health"
status = 405
"#;

const TOPICS: [&str; 5] = ["Deployment", "Allocation", "Evaluation", "Job", "Node"];

/// The line at an index; the topics take turns.
fn line(index: u64) -> String {
    let n = index % 3;
    match index % 5 {
        0 => deployment(index, n),
        1 => allocation(index, n, index..=index),
        2 => evaluation(index, n),
        3 => job(index, n, 4),
        _ => node(index, n),
    }
}

fn topic(index: u64) -> &'static str {
    TOPICS[usize::try_from(index % 5).expect("small")]
}

async fn append(sim: &Sim, indexes: std::ops::RangeInclusive<u64>) {
    sim.append_lines(indexes.map(line)).await.expect("lines of events");
}

/// The one event of the line at an index.
fn event(index: u64) -> Value {
    serde_json::from_str::<Value>(&line(index)).expect("JSON")["Events"][0].clone()
}

fn indexes(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["Index"].as_u64().expect("an index")).collect()
}

/// A user's machine: the configuration, the directory with the index file, the cluster and the server.
struct Scene {
    sim: Sim,
    collector: Collector,
    directory: tempfile::TempDir,
}

impl Scene {
    async fn new(interval: &str, buffer: usize) -> Self {
        let sim = Sim::builder().buffer(buffer).start().await.expect("starts");
        let (collector, directory) = (Collector::start(405).await, tempfile::tempdir().expect("a directory"));
        let data_dir = directory.path().join("events");
        fs::create_dir(&data_dir).expect("a new directory");
        let config = CONFIG.replace("DATA_DIR", data_dir.to_str().expect("UTF-8"));
        let config = config.replace("INTERVAL", interval).replace("HOST", &collector.host());
        fs::write(directory.path().join("config.toml"), config).expect("writable");
        Scene { sim, collector, directory }
    }

    fn index_file(&self) -> std::path::PathBuf {
        self.directory.path().join("events/index.json")
    }

    fn stored(&self) -> BTreeMap<String, u64> {
        serde_json::from_slice(&fs::read(self.index_file()).expect("it exists")).expect("topics and indexes")
    }

    /// Writes the file as nomad-events-sink does.
    fn store(&self, indexes: &Value) {
        fs::write(self.index_file(), indexes.to_string()).expect("writable");
    }

    fn setup(&self) -> Setup {
        let config = self.directory.path().join("config.toml");
        Setup::bare(&["events", "--nomad-events-sink-config"])
            .flag(config.to_str().expect("UTF-8"))
            .env("NOMAD_ADDR", self.sim.url(0))
            .env("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "2m")
    }

    async fn until_arrived(&self, process: &Process, count: usize) {
        process.until(&format!("{count} events arrive"), || self.collector.events().len() >= count).await;
    }
}

/// A topic for each index in its own place, as [`TOPICS`] has them.
fn up_to(indexes: [u64; 5]) -> Value {
    TOPICS.iter().zip(indexes).map(|(topic, index)| ((*topic).to_owned(), json!(index))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_users_go_over_and_back_and_get_each_event_once_in_the_same_batches() {
    let scene = Scene::new("100ms", 10_000).await;
    append(&scene.sim, 1..=30).await;
    let had = [15, 11, 22, 3, 14];
    scene.store(&up_to(had));
    let process = scene.setup().spawn();
    let expected: Vec<u64> =
        (1..=30).filter(|index| *index > had[usize::try_from(index % 5).expect("small")]).collect();
    assert_eq!(expected.len(), 15);
    scene.until_arrived(&process, 15).await;
    // A batch that is not full leaves after `idle_timeout`.
    append(&scene.sim, 31..=37).await;
    scene.until_arrived(&process, 22).await;
    process.stop().await;
    let requests = scene.collector.requests("POST");
    assert_eq!(requests.iter().map(|request| request.body.len()).collect::<Vec<_>>(), [5, 5, 5, 5, 2]);
    for request in &requests {
        assert_eq!(request.line, "POST /in?token=a HTTP/1.1");
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("authorization"), Some("Basic dXNlcjp3b3Jk"));
    }
    let events = scene.collector.events();
    assert_eq!(indexes(&events), expected.iter().copied().chain(31..=37).collect::<Vec<_>>());
    assert!(events.iter().all(|arrived| *arrived == event(arrived["Index"].as_u64().expect("an index"))));

    // nomad-events-sink could go on from the file, and so could this program from what that leaves.
    let mut stored = scene.stored();
    assert!(TOPICS.iter().all(|topic| stored.get(*topic) == Some(&37)), "{stored:?}");
    append(&scene.sim, 38..=60).await;
    stored.extend((38..=55).map(|index| (topic(index).to_owned(), index)));
    scene.store(&json!(stored));
    let process = scene.setup().spawn();
    scene.until_arrived(&process, 27).await;
    process.stop().await;
    assert_eq!(indexes(&scene.collector.events())[22..], [56, 57, 58, 59, 60]);

    // And its own file changes nothing.
    let process = scene.setup().spawn();
    append(&scene.sim, 61..=65).await;
    scene.until_arrived(&process, 32).await;
    let log = process.end_by(Signal::TERM).await.log;
    assert_eq!(indexes(&scene.collector.events())[27..], [61, 62, 63, 64, 65]);
    assert!(!log.contains("resuming from the index file") && !log.contains("gap detected"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_before_the_health_check_passes() {
    let scene = Scene::new("100ms", 10_000).await;
    scene.collector.answer_health(200);
    append(&scene.sim, 1..=5).await;
    let process = scene.setup().spawn();
    process.until("the check fails twice", || scene.collector.requests("GET").len() >= 2).await;
    assert_eq!(scene.collector.events(), Vec::<Value>::new());
    scene.collector.answer_health(405);
    scene.until_arrived(&process, 5).await;
    process.stop().await;
    assert_eq!(scene.collector.requests("GET")[0].line, "GET /health HTTP/1.1");
    assert_eq!(indexes(&scene.collector.events()), [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_loses_nothing_and_its_file_never_runs_ahead() {
    let scene = Scene::new("100ms", 100_000).await;
    scene.store(&up_to([0; 5]));
    let mut last = 0;
    for round in 1..=5 {
        let process = scene.setup().spawn();
        for _ in 0..20 {
            append(&scene.sim, last + 1..=last + 10).await;
            last += 10;
        }
        let half = usize::try_from(last - 100).expect("small");
        scene.until_arrived(&process, half).await;
        process.end_by(Signal::KILL).await;
        let stored = scene.stored().values().copied().max().unwrap_or_default();
        let events = indexes(&scene.collector.events());
        assert!((1..=stored).all(|index| events.contains(&index)), "round {round}: the file says {stored}");
    }
    let process = scene.setup().spawn();
    process.until("all arrive", || indexes(&scene.collector.events()).contains(&last)).await;
    process.stop().await;
    let events = indexes(&scene.collector.events());
    assert!((1..=last).all(|index| events.contains(&index)), "{events:?}");
    // Each step back leads to what had arrived, and on from there one by one.
    let mut newest = 0;
    for pair in events.windows(2) {
        newest = newest.max(pair[0]);
        assert!(pair[1] == pair[0] + 1 || pair[1] <= newest, "{} after {}", pair[1], pair[0]);
    }
    assert!(TOPICS.iter().all(|topic| scene.stored()[*topic] == last), "{:?}", scene.stored());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_buffer_no_longer_has_is_reported() {
    let scene = Scene::new("100ms", 10).await;
    append(&scene.sim, 1..=30).await;
    scene.store(&up_to([5, 6, 7, 8, 9]));
    let process = scene.setup().spawn();
    process.until("the rest arrives", || indexes(&scene.collector.events()).contains(&30)).await;
    let log = process.end_by(Signal::TERM).await.log;
    let events = scene.collector.events();
    assert_eq!((&events[0]["Topic"], &events[0]["Payload"]["Gap"]["FromIndex"]), (&json!("Firehose"), &json!(6)));
    let first = events[1]["Index"].as_u64().expect("an index");
    assert_eq!(indexes(&events[1..]), (first..=30).collect::<Vec<_>>());
    // The first line in the buffer need not be the first of its index.
    assert_eq!(events[0]["Payload"]["Gap"]["UntilIndex"], json!(first + 1));
    assert!(log.contains("gap detected"), "{log}");
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_fix() {
    let directory = tempfile::tempdir().expect("a directory");
    let (config, data_dir) = (directory.path().join("config.toml"), directory.path().join("events"));
    fs::create_dir(&data_dir).expect("a new directory");
    let text = CONFIG.replace("DATA_DIR", data_dir.to_str().expect("UTF-8"));
    fs::write(&config, text.replace("INTERVAL", "30s").replace("HOST", "127.0.0.1:1")).expect("writable");
    let run = |path: &Path| {
        Setup::bare(&["events", "--nomad-events-sink-config"]).flag(path.to_str().expect("UTF-8")).output()
    };
    for (text, reason) in [("", "it is empty"), ("{\"Job\":", "it is no JSON object of topics and raft indexes")] {
        fs::write(data_dir.join("index.json"), text).expect("writable");
        let (code, _, log) = run(&config);
        assert_eq!(code, Some(2), "{log}");
        assert!(
            log.contains("NOMAD_FIREHOSE_INDEX_FILE") && log.contains(reason) && log.contains("restore it"),
            "{log}"
        );
    }
    let (code, _, message) = run(Path::new("/nowhere/config.toml"));
    assert_eq!(code, Some(2));
    assert!(message.contains("--nomad-events-sink-config") && message.contains("/nowhere/config.toml"), "{message}");
}
