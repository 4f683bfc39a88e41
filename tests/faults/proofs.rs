//! The buffer still holds our place: no list is read, and nothing comes twice.

use nomad_sim::{Lag, Sim};

use crate::common::{
    Process, Setup, fixture,
    truth::{ALL, all_seen, assert_exactly},
};
use crate::support::*;

async fn recording() -> Sim {
    let sim = Sim::builder().recording(fixture("stream-complete.ndjson")).buffer(1_000).preload(50);
    sim.start().await.expect("starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_disconnect_only_the_first_start_has_read_lists() {
    let sim = recording().await;
    let process = Setup::new(&["run", "--resources", "all"], &sim.url(0)).verbose().spawn();
    process.until_printed(expected_of(&sim, &ALL).len()).await;
    process.until("the lists are read", || process.logged("backfill finished") == LISTS).await;
    let lists = full_lists(&sim).len();
    for index in [51, 80, 81, 120, 121, 200] {
        reconnect(&sim, &process).await;
        sim.play_to(index).await;
        process.until_printed(expected_of(&sim, &ALL).len()).await;
    }
    sim.server(0).reset_connections();
    sim.play_all().await;
    process.until_printed(expected_of(&sim, &ALL).len()).await;
    assert_eq!(full_lists(&sim).len(), lists, "{:#?}", full_lists(&sim));
    assert_eq!(process.logged("gap detected"), 0);
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &ALL));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_only_the_first_start_has_read_lists() {
    let sim = recording().await;
    let dir = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["run", "--resources", "all"], &sim.url(0)).verbose().data_dir(dir.path());
    let process = setup.spawn();
    process.until_printed(expected_of(&sim, &ALL).len()).await;
    process.until("the lists are read", || process.logged("backfill finished") == LISTS).await;
    let mut printed = process.stop().await;
    let lists = full_lists(&sim).len();
    for index in [51, 90, 91, u64::MAX] {
        sim.play_to(index).await;
        let process = setup.spawn();
        process.until_printed(expected_of(&sim, &ALL).len() - printed.len()).await;
        assert_eq!(process.logged("gap detected"), 0, "{}", process.log());
        printed.extend(process.stop().await);
    }
    assert_eq!(full_lists(&sim).len(), lists, "{:#?}", full_lists(&sim));
    assert_exactly(&all_seen(&printed), &expected_of(&sim, &ALL));
}

/// A program that has read two nodes, whose lines have since left the buffer.
async fn quiet_nodes() -> (Sim, Process, tempfile::TempDir) {
    let sim = Sim::builder().buffer(10).start().await.expect("starts");
    sim.append_lines([node(10, 1), node(11, 2)]).await.expect("lines");
    let dir = tempfile::tempdir().expect("a directory");
    let setup = Setup::new(&["nodes"], &sim.url(0)).env("LOG_LEVEL", "debug").data_dir(dir.path());
    let process = setup.env("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "100ms").spawn();
    process.until_printed(2).await;
    process.until("backfill finished", || process.logged("backfill finished") == 1).await;
    // Until then another line of the last index could be on its way.
    let checkpoint = || std::fs::read_to_string(dir.path().join("nodes.json")).unwrap_or_default();
    process.until("the last index is known whole", || checkpoint().contains("\"whole\":true")).await;
    append_evaluations(&sim, 20..=60).await;
    (sim, process, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_kind_is_proven_by_its_table() {
    let (sim, process, _dir) = quiet_nodes().await;
    let lists = full_lists(&sim).len();
    reconnect(&sim, &process).await;
    process.until_logged("the table stands").await;
    sim.append_line(node(70, 1)).await.expect("a line");
    process.until_printed(3).await;
    assert_eq!(full_lists(&sim).len(), lists);
    assert_eq!(process.logged("gap detected"), 0);
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["nodes"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_streamed_while_the_table_is_asked_comes_once() {
    let (sim, process, _dir) = quiet_nodes().await;
    let looks = table_looks(&sim);
    sim.server(0).slow_lists(std::time::Duration::from_millis(500));
    reconnect(&sim, &process).await;
    process.until("it looks at the table", || table_looks(&sim) > looks).await;
    sim.append_lines([node(70, 1), node(71, 2)]).await.expect("lines");
    process.until_printed(4).await;
    sim.server(0).slow_lists(std::time::Duration::ZERO);
    sim.append_line(node(72, 1)).await.expect("a line");
    process.until_printed(5).await;
    assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, &["nodes"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lagging_server_is_waited_for() {
    for kinds in [&["evaluations"][..], &["run", "--resources", "evaluations,events"], &["events"]] {
        let sim = Sim::builder().servers(2).start().await.expect("starts");
        append_evaluations(&sim, 10..=40).await;
        let names: &[&str] = match kinds.len() {
            1 => kinds,
            _ => &["evaluations", "events"],
        };
        let process = Setup::new(kinds, &format!("{},{}", sim.url(0), sim.url(1))).verbose().spawn();
        process.until_printed(expected_of(&sim, names).len()).await;
        // That of the first start, which may come long after the stream has brought everything.
        let first = names.iter().filter(|kind| **kind != "events").count();
        process.until("the lists are read", || process.logged("backfill finished") == first).await;
        sim.server(1).lag(Lag::At(40));
        append_evaluations(&sim, 50..=60).await;
        process.until_printed(expected_of(&sim, names).len()).await;
        let lists = full_lists(&sim).len();
        sim.server(0).drop_connections();
        sim.server(0).refuse(true);
        process.until("it goes to the other server", || sim.server(1).open_streams() > 0).await;
        // Behind by more than the program has read; the tables, which the leader answers for, are ahead.
        append_evaluations(&sim, 70..=80).await;
        if kinds != ["events"] {
            let looks = table_looks(&sim);
            process.until("it looks at the table", || table_looks(&sim) > looks + 2).await;
        }
        sim.server(1).lag(Lag::At(65));
        sim.server(1).lag(Lag::None);
        process.until_printed(expected_of(&sim, names).len()).await;
        assert_eq!(full_lists(&sim).len(), lists, "{:#?}", full_lists(&sim));
        assert_eq!(process.logged("starting over") + process.logged("gap detected"), 0, "{}", process.log());
        assert_exactly(&all_seen(&process.stop().await), &expected_of(&sim, names));
    }
}
