//! Lines that cannot be read: the connection is resumed, nothing is lost, and what never can be read stops nothing.

use std::time::Duration;

use nomad_sim::Sim;

use crate::common::{
    Process, Setup,
    truth::{all_seen, assert_exactly},
};
use crate::support::*;

/// A program that has read what there is, with its dead letters in a file.
async fn reading(kinds: &[&str], dir: &std::path::Path) -> (Sim, Process) {
    let sim = Sim::builder().refusal(Duration::from_millis(100)).start().await.expect("starts");
    append_evaluations(&sim, 10..=19).await;
    let letters = format!("file:{}", dir.join("letters").display());
    let process = Setup::new(kinds, &sim.url(0)).env("NOMAD_FIREHOSE_DEAD_LETTER", letters).spawn();
    process.until_printed(10).await;
    process.until("it has a stream", || sim.server(0).open_streams() == 1).await;
    (sim, process)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stands_in_the_place_of_a_line_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (sim, process) = reading(&["evaluations"], dir.path()).await;
    let garbage: [&[u8]; 9] = [
        b"rpc error: stream broken\n",
        b"{\"Events\":[{\"Topic\":\n",
        b"{\"Events\":7,\"Index\":20}\n",
        b"{\"Index\":\"x\"}\n",
        b"{\"Error\":\"no\"}\n",
        b"[]\n",
        b"null\n",
        b"{\"Events\":[\xff\xfe]}\n",
        b"\xff\xff\xff\n",
    ];
    for (index, line) in (20..).zip(garbage) {
        let before = subscriptions(&sim);
        sim.server(0).inject(line);
        process.until("it subscribes again", || subscriptions(&sim) > before).await;
        sim.append_line(evaluation(index, index)).await.expect("a line");
        process.until_printed(expected_of(&sim, &["evaluations"]).len()).await;
        process.until("it has a stream", || sim.server(0).open_streams() == 1).await;
    }
    assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_line_comes_whole_on_the_next_connection() {
    let dir = tempfile::tempdir().expect("a directory");
    let (sim, process) = reading(&["evaluations"], dir.path()).await;
    for (index, at) in (20..).zip([0, 1, 20, 100, 250, usize::MAX]) {
        sim.server(0).cut_next_line(Some(at));
        append_evaluations(&sim, index..=index).await;
        process.until_printed(expected_of(&sim, &["evaluations"]).len()).await;
        process.until("it has a stream", || sim.server(0).open_streams() == 1).await;
    }
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
}

/// A line with an index, which the simulator takes for a publish, and no event that could be one.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_none_goes_to_the_dead_letters_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let (sim, process) = reading(&["evaluations"], dir.path()).await;
    let wrong = evaluation(20, 20).replace("\"ModifyIndex\":20", "\"ModifyIndex\":\"no number\"");
    sim.append_line(wrong).await.expect("a line");
    append_evaluations(&sim, 21..=25).await;
    process.until_printed(15).await;
    let letters = std::fs::read_to_string(dir.path().join("letters")).expect("there are dead letters");
    assert_eq!(letters.lines().count(), 1, "{letters}");
    assert!(letters.contains("no number"), "the raw event is kept: {letters}");
    process.stop().await;
}

/// The same garbage at the same place each time: what a broken server or proxy sends.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_that_comes_each_time_is_passed_over() {
    let dir = tempfile::tempdir().expect("a directory");
    for garbage in ["{\"Events\":7,\"Index\":20}\n", "upstream says no\n"] {
        let letters = dir.path().join("letters");
        // What another part of the test left.
        if letters.exists() {
            std::fs::remove_file(&letters).expect("it is ours");
        }
        let (sim, process) = reading(&["evaluations"], dir.path()).await;
        let streams = subscriptions(&sim);
        for time in 1..=3 {
            process.until("it has a stream", || subscriptions(&sim) == streams + time - 1).await;
            process.until("it has a stream", || sim.server(0).open_streams() == 1).await;
            sim.server(0).inject(garbage);
        }
        process.until("it is passed over", || letters.exists()).await;
        assert_eq!(process.logged("cannot read an event stream line"), 1, "the same failure is logged once a minute");
        append_evaluations(&sim, 20..=22).await;
        process.until_printed(13).await;
        assert_eq!(subscriptions(&sim), streams + 2, "the third is passed over on its connection");
        let kept = std::fs::read_to_string(&letters).expect("dead letters");
        assert_eq!(kept.lines().count(), 1, "{kept}");
        assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
    }
}

/// A line can be cut anywhere: what of a job stands in it is for a file with mode 0600, and not for the log.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_line_is_logged_once_and_short_or_not_at_all_beside_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let letters = dir.path().join("letters");
    let garbage = format!("upstream\u{1b}[2J says \"hush-of-a-job\"{}\n", "x".repeat(64 << 10));
    for (place, event, times) in [
        (format!("file:{}", letters.display()), "input kept as a dead letter", 0),
        ("log".to_owned(), "input cannot be read", 1),
    ] {
        let sim = Sim::builder().refusal(Duration::from_millis(100)).start().await.expect("starts");
        append_evaluations(&sim, 10..=19).await;
        let setup = Setup::new(&["evaluations"], &sim.url(0)).env("NOMAD_FIREHOSE_DEAD_LETTER", place.as_str());
        let process = setup.spawn();
        process.until_printed(10).await;
        let streams = subscriptions(&sim);
        for time in 1..=3 {
            process.until("it subscribes", || subscriptions(&sim) == streams + time - 1).await;
            process.until("it has a stream", || sim.server(0).open_streams() == 1).await;
            sim.server(0).inject(garbage.clone());
        }
        process.until_logged(event).await;
        append_evaluations(&sim, 20..=22).await;
        process.until_printed(13).await;
        assert_eq!(process.logged("hush-of-a-job"), times, "{place}:\n{:.4000}", process.log());
        assert!(process.log().lines().all(|line| line.len() < 4 << 10 && !line.contains('\u{1b}')), "{place}");
        assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["evaluations"]));
    }
}
