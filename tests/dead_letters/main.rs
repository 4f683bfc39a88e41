//! What the sink refuses: for each cause, each policy does as it says, and `dead-letters replay` delivers it once the
//! cause is gone. The real binary, a real RabbitMQ, and a server that answers as it is told.

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "amqp")]
mod amqp;
mod http;
mod interrupted;

use std::path::{Path, PathBuf};

use common::{Setup, made};
use nomad_sim::Sim;
use serde_json::Value;

/// What must not be seen anywhere.
const SECRET: &str = "hush-hush";

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Place { path: directory.path().join("dead"), _directory: directory }
    }

    /// What `NOMAD_FIREHOSE_DEAD_LETTER` is for it.
    fn setting(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.path).unwrap_or_default()
    }

    fn letters(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a letter")).collect()
    }

    /// The ids of the letters, and their bodies, in order.
    fn records(&self) -> (Vec<String>, Vec<String>) {
        let text = |letter: &Value, name: &str| letter[name].as_str().expect("text").to_owned();
        self.letters().iter().map(|letter| (text(letter, "id"), text(letter, "body"))).unzip()
    }

    /// How often each was sent. Every one has this reason.
    fn attempts(&self, reason: &str) -> Vec<u64> {
        let attempts = self.letters().into_iter().map(|letter| {
            assert!(letter["reason"].as_str().is_some_and(|text| text.contains(reason)), "{letter}");
            letter["attempts"].as_u64().expect("a number")
        });
        attempts.collect()
    }
}

/// `dead-letters replay` with the sink of `sink`, and nothing of Nomad or Consul.
fn replay(path: &Path, sink: &[(&str, String)]) -> Setup {
    let setup = Setup::bare(&["dead-letters", "replay", path.to_str().expect("text")]);
    sink.iter().fold(setup, |setup, (name, value)| setup.env(name, value))
}

/// Runs it to its end, and holds it to an exit code and to the sum that it tells.
fn replayed(path: &Path, sink: &[(&str, String)], code: i32, sum: &str) {
    let (ended, printed, log) = replay(path, sink).output();
    assert_eq!(ended, Some(code), "{log}");
    let said = log.lines().last().unwrap_or_default();
    assert_eq!(said, format!("nomad-firehose: {sum} in {}", path.display()), "{log}");
    assert!(printed.is_empty() && !log.contains(SECRET), "{log}");
    let (_, listed, _) = Setup::bare(&["dead-letters", "list", path.to_str().expect("text")]).output();
    assert!(!listed.contains(SECRET) && !listed.contains("ModifyIndex"), "{listed}");
}

/// Each record of the file is refused again; then `mend` and it is delivered; then nothing is left.
async fn replayed_when_mended(place: &Place, sink: &[(&str, String)], reason: &str, mend: impl AsyncFnOnce()) {
    let count = place.letters().len();
    let before = place.records();
    let attempts = place.attempts(reason);
    replayed(&place.path, sink, 1, &format!("0 delivered, {count} refused again, {count} left"));
    assert_eq!(place.records(), before);
    assert!(
        place.attempts(reason).iter().zip(attempts).all(|(after, before)| *after > before),
        "{:?}",
        place.letters()
    );
    mend().await;
    replayed(&place.path, sink, 0, &format!("{count} delivered, 0 refused again, 0 left"));
    assert_eq!(place.text(), "");
    replayed(&place.path, sink, 0, "no dead letters");
}

async fn cluster() -> Sim {
    Sim::builder().namespace("other", 1).buffer(10_000).start().await.expect("the simulator starts")
}

fn with(setup: Setup, sink: &[(&str, String)]) -> Setup {
    sink.iter().fold(setup, |setup, (name, value)| setup.env(name, value))
}

/// Versions of evaluations, one at each of these indexes.
fn evaluations(indexes: std::ops::Range<u64>) -> Vec<String> {
    indexes.map(|index| made::evaluation(index, index)).collect()
}

#[test]
fn a_replay_that_cannot_be_says_why() {
    let place = Place::new();
    let missing = [("SINK_TYPE", "stdout".to_owned())];
    let (code, _, log) = replay(&place.path, &missing).output();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("No such file"), "{log}");
    let (code, _, log) = replay(&place.path, &[("SINK_TYPE", "http".to_owned())]).output();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("SINK_HTTP_ADDRESS"), "{log}");
    if !cfg!(feature = "amqp") {
        return;
    }
    let wrong = format!("amqp://u:{SECRET}@h:port/?key={SECRET}");
    let (code, _, log) = replay(&place.path, &[("SINK_TYPE", "amqp".into()), ("SINK_AMQP_CONNECTION", wrong)]).output();
    assert_eq!(code, Some(2), "{log}");
    assert!(log.contains("SINK_AMQP_CONNECTION") && !log.contains(SECRET), "{log}");
}
