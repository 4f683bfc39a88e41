//! SIGHUP: only the pipelines whose tables have changed notice it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::common::{Signal, probe};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_table_restarts_that_pipeline_alone() {
    let (sim, place, ports) = (cluster(2).await, Place::new(), Ports::reserve());
    let [one, two, three, elsewhere] = [taker().await, taker().await, taker().await, taker().await];
    place.write(&[table("one", &one), table("two", &two)].concat());
    let process = place.run(&sim, &ports).spawn();
    until_taken(&one, 2).await;
    until_taken(&two, 2).await;

    // One goes elsewhere, and a third begins.
    place.write(&[table("one", &elsewhere), table("two", &two), table("three", &three)].concat());
    process.signal(Signal::HUP);
    process.until_logged("configuration reloaded  added=three changed=one removed=").await;
    until_taken(&three, 2).await;
    sim.append_line(made::job(3, 3, 1)).await.expect("a line of a stream");
    until_taken(&elsewhere, 1).await;
    until_taken(&two, 3).await;
    until_taken(&three, 3).await;
    assert_eq!(ids(&elsewhere), ["job-3"], "it resumes from its checkpoint");
    let begun = |name: &str| {
        let line = format!("pipeline={name}");
        process.log().lines().filter(|logged| logged.contains("became leader") && logged.contains(&line)).count()
    };
    assert_eq!((begun("one"), begun("two"), begun("three")), (2, 1, 1));

    // A mistake changes nothing.
    place.write(&format!("{}retry-max = 'never'\n", table("one", &one)));
    process.signal(Signal::HUP);
    process.until_logged("configuration not reloaded").await;
    sim.append_line(made::job(4, 4, 1)).await.expect("a line of a stream");
    until_taken(&elsewhere, 2).await;

    // What is gone from the file stops.
    place.write(&table("two", &two));
    process.signal(Signal::HUP);
    process.until_logged("removed=one,three").await;
    probe::until_ready(ports.base, true, "two/jobs: leader\n").await;
    common::until("only one is left", || begun("one") == 2).await;
    sim.append_line(made::job(5, 5, 1)).await.expect("a line of a stream");
    until_taken(&two, 5).await;
    process.stop().await;
    assert_eq!((ids(&elsewhere).len(), ids(&three).len()), (2, 4));
    assert_eq!(ids(&two).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_back_before_its_pipeline_has_stopped_runs_again() {
    let (sim, place, ports) = (cluster(2).await, Place::new(), Ports::reserve());
    let opened = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&opened);
    let reply = move |_: &str| if is_open.load(Ordering::SeqCst) { Reply::Take } else { Reply::Status(503) };
    let server = Server::start(reply).await;
    let table = table("one", &server);
    place.write(&table);
    let process = place.run(&sim, &ports).spawn();
    process.until_logged("delivery failed").await;
    // The stop waits for the sink.
    place.write(&format!("{table}retry-max = '1s'\n"));
    process.signal(Signal::HUP);
    process.until_logged("changed=one").await;
    place.write(&table);
    process.signal(Signal::HUP);
    process.until("it is read again", || process.logged("configuration reloaded") == 2).await;
    opened.store(true, Ordering::SeqCst);
    until_taken(&server, 2).await;
    sim.append_line(made::job(3, 3, 1)).await.expect("a line of a stream");
    until_taken(&server, 3).await;
    process.stop().await;
    assert_eq!(ids(&server).last().map(String::as_str), Some("job-3"));
}
