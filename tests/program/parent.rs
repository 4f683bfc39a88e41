//! A parent that is killed leaves no worker, not even one that runs an endless program.

use std::{process::Command, time::Duration};

use nomad_firehose::settings::ByteSize;
use rustix::process::Signal;

use crate::support::{Bench, signal, until, workers};

const MEMORY: u64 = (256 << 20) + 20480;
const ROLE: &str = "PROGRAM_TEST_PARENT";

#[tokio::test]
async fn a_parent_that_is_killed_leaves_no_worker() {
    if std::env::var_os(ROLE).is_some() {
        let mut bench = Bench::with(|config| {
            config.jq = Some("def f: f; f".into());
            config.memory = ByteSize::new(MEMORY);
            config.patience.busy = Duration::from_secs(100);
        });
        bench.submit(["{}"]).await;
        return std::future::pending().await;
    }
    let mut parent = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "parent::a_parent_that_is_killed_leaves_no_worker"])
        .env(ROLE, "1")
        .spawn()
        .expect("it starts");
    until("a worker", || !workers(MEMORY).is_empty()).await;
    signal(parent.id().cast_signed(), Signal::KILL);
    parent.wait().expect("a child");
    until("the worker is gone", || workers(MEMORY).is_empty()).await;
}
