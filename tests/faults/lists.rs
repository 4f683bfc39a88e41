//! Lists that are slow, fail, or break in their middle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use nomad_sim::{GeneratorOptions, Hanging, Sim};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::common::{
    PATIENCE, Setup, Signal,
    truth::{all_seen, assert_exactly},
};
use crate::support::*;

/// Evaluations enough for several pages.
const MANY: u64 = 1_700;

/// A cluster whose evaluations are all out of its buffer.
async fn many_evaluations() -> Sim {
    let sim = Sim::builder().buffer(10).start().await.expect("starts");
    append_evaluations(&sim, 10..=9 + MANY).await;
    sim
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_refused_is_asked_for_again() {
    let sim = many_evaluations().await;
    sim.server(0).fail_lists(2);
    let process = Setup::new(&["evaluations"], &sim.url(0)).verbose().spawn();
    process.until_printed(600).await;
    sim.server(0).fail_lists(2);
    process.until_printed(MANY as usize).await;
    process.until_logged("backfill finished").await;
    assert!(process.logged("cannot read the list") >= 2);
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}

/// Passes everything on to `to`, but for the first `cuts` pages of a list, of which only so many bytes arrive.
async fn cutting_proxy(to: std::net::SocketAddr, cuts: &'static [usize]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let cuts = Arc::new(std::sync::Mutex::new(cuts.iter()));
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let cuts = Arc::clone(&cuts);
            tokio::spawn(async move {
                let far = TcpStream::connect(to).await.expect("the simulator listens");
                let (mut near_read, mut near_write) = near.into_split();
                let (mut far_read, mut far_write) = far.into_split();
                let is_list = Arc::new(AtomicBool::new(false));
                let asked = Arc::clone(&is_list);
                tokio::spawn(async move {
                    let mut buffer = vec![0; 64 << 10];
                    while let Ok(read @ 1..) = near_read.read(&mut buffer).await {
                        let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
                        asked.store(request.contains("per_page=500"), Ordering::SeqCst);
                        if far_write.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
                let mut left = None;
                let mut buffer = vec![0; 4 << 10];
                while let Ok(read @ 1..) = far_read.read(&mut buffer).await {
                    if is_list.load(Ordering::SeqCst) && left.is_none() {
                        left = cuts.lock().expect("no panic while locked").next().copied();
                    }
                    let passed = left.map_or(read, |left| read.min(left));
                    if near_write.write_all(&buffer[..passed]).await.is_err() || left == Some(passed) {
                        return;
                    }
                    left = left.map(|left| left - passed);
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_breaks_off_repeats_nothing_of_what_it_brought() {
    let sim = many_evaluations().await;
    let url = cutting_proxy(sim.addr(0), &[20_000, 50_000, 3_000]).await;
    let process = Setup::new(&["evaluations"], &url).verbose().spawn();
    process.until_printed(MANY as usize).await;
    process.until_logged("backfill finished").await;
    assert_eq!(process.logged("cannot read the list"), 3, "{}", process.log());
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}

/// The buffer turns over several times within one page, and the window is too small to read ahead.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_slower_than_the_buffer_turns_over_comes_to_its_end() {
    let options = GeneratorOptions { allocations: 2_000, churn: 500.0, seed: 7 };
    let sim = Sim::builder().generated(options).keep_truth(true).buffer(50).send_buffer(16 << 10).start().await;
    let sim = sim.expect("starts");
    sim.step(3).await;
    sim.server(0).slow_lists(Duration::from_millis(400));
    sim.resume(1.0);
    let setup = Setup::new(&["allocations"], &sim.url(0)).verbose().env("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "64KiB");
    let process = setup.spawn();
    for times in 1..=3 {
        process.until("it has a stream", || subscriptions(&sim) >= times).await;
        process.until("it has a stream", || sim.server(0).open_streams() > 0).await;
        sim.server(0).drop_connections();
    }
    process.until("it is cut off", || subscriptions(&sim) > 3).await;
    process.until("a list is read while it goes on", || process.logged("backfill finished") > 0).await;
    sim.pause();
    sim.server(0).slow_lists(Duration::ZERO);
    let tasks = |object: &Value| -> Vec<(String, Value)> {
        let states = object["TaskStates"].as_object().into_iter().flatten();
        let last = states.filter_map(|(task, state)| Some((task, state["Events"].as_array()?.last()?.clone())));
        last.map(|(task, event)| (format!("{} {task}", object["ID"]), event["Time"].clone())).collect()
    };
    let last: Vec<_> = list(&sim, "allocations").await.iter().flat_map(tasks).collect();
    assert!(last.len() > 500, "too few: {}", last.len());
    let printed_last = |printed: &[String]| -> std::collections::HashMap<String, Value> {
        let records = printed.iter().map(|record| serde_json::from_str::<Value>(record).expect("JSON"));
        let entry = |it: Value| {
            let task = it["TaskName"].as_str().unwrap_or_default();
            (format!("{} {task}", it["AllocationID"]), it["TaskEvent"]["Time"].clone())
        };
        records.map(entry).collect()
    };
    let missing = || -> Vec<&(String, Value)> {
        let printed = printed_last(&process.printed());
        last.iter().filter(|(task, time)| printed.get(task).and_then(Value::as_u64) < time.as_u64()).collect()
    };
    let deadline = Instant::now() + PATIENCE;
    while !missing().is_empty() {
        assert!(Instant::now() < deadline, "missing {:?}; the log:\n{}", missing(), process.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let printed = process.stop().await;
    assert_no_repeats(&all_seen(&printed));
    // The generator's times of one task go up: each task's events are printed in their order.
    let mut newest: std::collections::HashMap<String, u64> = Default::default();
    for record in &printed {
        let record: Value = serde_json::from_str(record).expect("JSON");
        let time = record["TaskEvent"]["Time"].as_u64().expect("a time");
        let task = format!("{} {}", record["AllocationID"], record["TaskName"]);
        let before = newest.insert(task, time);
        assert!(before <= Some(time), "{before:?} before {time}");
    }
}

/// Killed in the midst of a long list, it goes on with the page that its checkpoint names, and asks for none before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_was_killed_goes_on_with_its_page() {
    const ALLOCATIONS: u64 = 10_000;
    const PAGES: usize = 20;
    let options = GeneratorOptions { allocations: ALLOCATIONS, churn: 0.01, seed: 3 };
    let sim = Sim::builder().generated(options).start().await.expect("starts");
    // Half of the pages come, and the one that follows is asked for until the kill.
    sim.server(0).hang_after(PAGES as u32 / 2);
    let data_dir = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["allocations"], &sim.url(0))
        .verbose()
        .data_dir(data_dir.path())
        .env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "100ms");
    // The token of each page that was asked for, from a request on.
    let pages = |from: usize| -> Vec<Option<String>> {
        let requests = sim.requests();
        let targets = requests[from..].iter().map(|request| request.target.clone());
        let pages = targets.filter(|target| target.starts_with("/v1/allocations?") && target.contains("per_page=500"));
        pages.map(|target| target.split_once("next_token=").map(|(_, token)| token.to_owned())).collect()
    };
    let stored_page = || -> Option<String> {
        let text = std::fs::read_to_string(data_dir.path().join("allocations.json")).ok()?;
        let checkpoint: Value = serde_json::from_str(&text).expect("a checkpoint is whole at any moment");
        Some(checkpoint["lanes"]["*"]["backfill"][0]["page"].as_str()?.to_owned())
    };
    let process = setup.spawn();
    let is_stored = || stored_page().is_some_and(|page| pages(0).last() == Some(&Some(page)));
    process.until("the pages are stored", || pages(0).len() > PAGES / 2 && is_stored()).await;
    let first_run = process.end_by(Signal::KILL).await;
    sim.server(0).hang(Hanging::default());
    let (before, page) = (sim.requests().len(), stored_page().expect("it was there"));
    let process = setup.spawn();
    process.until_logged("backfill finished").await;
    let second_run = process.stop().await;

    let second_pages = pages(before);
    // Tokens are of digits, letters, dots and dashes, which nothing needs to encode.
    assert_eq!(second_pages.first(), Some(&Some(page)), "{second_pages:?}");
    assert!(second_pages.len() < PAGES / 2 + 3, "{} pages of {PAGES} were asked for again", second_pages.len());
    // The kill can have cut the last line.
    let whole = first_run.printed.iter().filter(|record| record.ends_with("}}"));
    let records: std::collections::HashSet<&String> = whole.chain(&second_run).collect();
    let expected: u64 = list(&sim, "allocations")
        .await
        .iter()
        .flat_map(|object| object["TaskStates"].as_object().into_iter().flatten())
        .map(|(_, state)| state["Events"].as_array().map_or(0, |events| events.len() as u64))
        .sum();
    assert_eq!(records.len() as u64, expected);
    assert!(first_run.printed.len() + second_run.len() < expected as usize + 5_000, "far too much came again");
}
