//! `check`: the real binary against clusters, coordinators and sinks that work, and that do not. Whatever is wrong, it names the cause and
//! the fix, and ends in time.

#[path = "../common/mod.rs"]
mod common;

mod around;
mod consul;
mod nomad;
mod sinks;

use std::time::{Duration, Instant};

use common::Setup;
use serde_json::Value;

/// What a person waits at most.
const LONGEST: Duration = Duration::from_secs(5);
/// What a busy machine may need more to start and end a process. The time that the program itself reports has to be below five seconds.
const BUSY: Duration = Duration::from_secs(10);

/// An address where nobody is: a check that looks for Nomad there is over soon, because it has no transactions to count.
const NOWHERE: &str = "http://127.0.0.1:9";

/// What a check said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    report: Value,
    text: String,
}

impl Said {
    /// The finding about `what`, which has to be there once.
    fn about(&self, what: &str) -> &Value {
        let found: Vec<_> = self.findings().filter(|found| found["what"] == what).collect();
        assert_eq!(found.len(), 1, "{what}: {}", self.text);
        found[0]
    }

    fn findings(&self) -> impl Iterator<Item = &Value> {
        self.report["findings"].as_array().expect("a list").iter()
    }

    /// Everything that failed, but for an address where nobody is.
    fn failed(&self) -> Vec<&str> {
        let nowhere = format!("nomad {NOWHERE}");
        let failed = self.findings().filter(|found| found["state"] == "failed" && found["what"] != nowhere);
        failed.map(|found| found["what"].as_str().expect("a name")).collect()
    }

    /// Only this has failed, with this in its text and in its fix.
    #[track_caller]
    fn fails(&self, what: &str, cause: &str, fix: &str) {
        assert_eq!(self.code, Some(1), "{}", self.text);
        let found = self.about(what);
        assert_eq!(found["state"], "failed", "{}", self.text);
        let part = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        assert!(part("text").contains(cause), "{cause}: {}", self.text);
        assert!(part("fix").contains(fix), "{fix}: {}", self.text);
    }

    #[track_caller]
    fn is_well(&self) {
        assert_eq!((self.code, self.failed()), (Some(0), vec![]), "{}", self.text);
        assert_eq!(self.report["ok"], true);
    }

    /// Nothing has failed but that nobody is at [`NOWHERE`].
    #[track_caller]
    fn is_well_without_nomad(&self) {
        assert_eq!((self.code, self.failed()), (Some(1), vec![]), "{}", self.text);
    }
}

/// Runs the check, and holds it to its time.
async fn check(setup: Setup) -> Said {
    let setup = setup.flag("--output").flag("json");
    let begun = Instant::now();
    let (code, text, log) = tokio::task::spawn_blocking(move || setup.output()).await.expect("it does not panic");
    let took = begun.elapsed();
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{log}"));
    let reported = report["took_ms"].as_u64().expect("a time");
    assert!(u128::from(reported) < LONGEST.as_millis() && took < BUSY, "{took:?}: {text}");
    assert!(!text.contains("hush") && !log.contains("hush"), "{text}{log}");
    Said { code, report, text: format!("{text}{log}") }
}
