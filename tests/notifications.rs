//! Notifications of the real program: a storm becomes a summary, and neither a crash nor a stop loses any of it.

mod common;

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use common::{
    Setup, Signal, made,
    ports::Ports,
    probe,
    server::{Reply, Server},
};
use nomad_sim::Sim;
use serde_json::Value;
use tempfile::TempDir;

const STORM: u64 = 500;

/// A message for each failed task; those of one job are equal.
const FAILED: &str = r#"
[pipeline.failed]
resources = "allocations"
jq = '''
select(.TaskEvent.Type == "Terminated" and .TaskEvent.ExitCode != 0)
| {text: "\(.JobID) failed", key: .JobID, severity: "error"}
'''
sink-type = "slack"
"#;

/// A cluster, a channel for notifications, and the directory of the program between them.
struct Place {
    sim: Sim,
    channel: Server,
    directory: TempDir,
    ports: Ports,
    setup: Setup,
}

impl Place {
    async fn new(settings: &str) -> Self {
        let sim = Sim::builder().buffer(10_000).start().await.expect("the simulator starts");
        let channel = Server::start(|_| Reply::Take).await;
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("firehose.toml");
        let ports = Ports::reserve();
        let url = format!("http://{}/hook", channel.addr());
        fs::write(&config, format!("{FAILED}{settings}\nsink-slack-url = \"{url}\"\n")).expect("there is room");
        let setup = Setup::new(&["run"], &sim.url(0))
            .env("NOMAD_FIREHOSE_CONFIG", config)
            .env("NOMAD_FIREHOSE_LISTEN", format!("127.0.0.1:{}", ports.base))
            .env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "100ms")
            // A stop tells what is still on its way through the program, however busy the machine is.
            .env("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "60s")
            .data_dir(&directory.path().join("data"));
        Place { sim, channel, directory, ports, setup }
    }

    /// Tasks number `first` to `last` fail.
    async fn fail(&self, first: u64, last: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
        let now = u64::try_from(now).expect("before 2262");
        let lines = (first..=last).map(|n| made::failed_allocation(n, n, now + n));
        self.sim.append_lines(lines).await.expect("lines of a stream");
    }

    /// How many failures each message stands for, in order.
    fn counts(&self) -> Vec<u64> {
        let count = |message: &Value| {
            let text = message["text"].as_str().expect("a text");
            let count = text.split_once(" failed (").and_then(|(_, rest)| rest.split_once(" times"));
            count.map_or(1, |(count, _)| count.parse().expect("a number"))
        };
        self.channel.taken().iter().map(count).collect()
    }

    async fn until_counted(&self, failures: u64) {
        common::until("the failures are told", || self.counts().iter().sum::<u64>() >= failures).await;
    }

    /// The raft index up to which everything is delivered and stored.
    fn stored(&self) -> u64 {
        fn index(value: &Value) -> Option<u64> {
            match value {
                Value::Object(members) => {
                    let here = members.get("position").and_then(|position| position["index"].as_u64());
                    here.or_else(|| members.values().find_map(index))
                }
                _ => None,
            }
        }
        let mut found = Vec::new();
        let mut left = vec![self.directory.path().join("data")];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(fs::read_dir(path).expect("readable").map(|entry| entry.expect("readable").path()));
            } else if let Ok(text) = fs::read_to_string(path)
                && let Ok(checkpoint) = serde_json::from_str(&text)
            {
                found.extend(index(&checkpoint));
            }
        }
        found.into_iter().max().unwrap_or_default()
    }

    /// Waits until the program has read all failures up to this one, and holds back all but the first ones.
    async fn until_held(&self, last: u64, delivered: u64) {
        self.until_counted(delivered).await;
        let lag = r#"nomad_firehose_lag_indexes{pipeline="failed",kind="allocations"}"#;
        probe::until_value(self.ports.base, lag, |lag| lag == (last - delivered) as f64).await;
        common::until("the first ones are stored", || self.stored() == delivered).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_is_one_message_at_once_and_one_summary() {
    let place = Place::new("notify-window = \"5s\"").await;
    let process = place.setup.spawn();
    place.fail(1, STORM).await;
    place.until_counted(STORM).await;
    let counts = place.counts();
    assert_eq!(counts[0], 1, "{counts:?}");
    // A busy machine can take longer than the window for all of them.
    assert!(counts.len() <= 6 && counts.iter().sum::<u64>() == STORM, "{counts:?}");
    common::until("the position is stored", || place.stored() == STORM).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_the_middle_of_a_window_it_starts_again_with_what_was_held_back() {
    let place = Place::new("notify-window = \"10m\"").await;
    let process = place.setup.spawn();
    // Only the first one can be in the list that a first start reads.
    place.fail(1, 1).await;
    place.until_held(1, 1).await;
    place.fail(2, STORM).await;
    place.until_held(STORM, 1).await;
    process.end_by(Signal::KILL).await;
    assert_eq!(place.counts(), [1]);
    let process = place.setup.spawn();
    place.until_held(STORM, 2).await;
    assert_eq!(place.counts(), [1, 1], "the new process has told nothing yet");
    process.stop().await;
    assert_eq!(place.counts(), [1, 1, STORM - 2]);
    assert_eq!(place.stored(), STORM);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_the_summary_at_once_and_nothing_comes_twice() {
    let place = Place::new("notify-window = \"10m\"").await;
    let process = place.setup.spawn();
    // Only the first one can be in the list that a first start reads.
    place.fail(1, 1).await;
    place.until_held(1, 1).await;
    place.fail(2, STORM).await;
    place.until_held(STORM, 1).await;
    process.stop().await;
    assert_eq!(place.counts(), [1, STORM - 1]);
    assert_eq!(place.stored(), STORM);
    let process = place.setup.spawn();
    place.fail(STORM + 1, STORM + 1).await;
    place.until_counted(STORM + 1).await;
    process.stop().await;
    assert_eq!(place.counts(), [1, STORM - 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counting_rule_tells_a_loop_once() {
    let place = Place::new("every = \"10m\"\nat-least = 5\nby = \".JobID\"").await;
    let process = place.setup.spawn();
    place.fail(1, 4).await;
    common::until("what does not pass is done", || place.stored() == 4).await;
    assert_eq!(place.counts(), Vec::<u64>::new());
    place.fail(5, STORM).await;
    common::until("all is done", || place.stored() == STORM).await;
    assert_eq!(place.counts(), [5]);
    assert_eq!(place.channel.taken()[0]["text"], "web failed (5 times in 10m)");
    process.stop().await;
}
