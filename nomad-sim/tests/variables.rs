//! Variables beyond the recordings: blocking queries, faults, elections, and their place in the log.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nomad_sim::{Lag, Lost, Policy, Sim};
use serde_json::{Value, json};
use support::{Answer, Stream, get, get_with, job_line, put, until};

/// Long enough to see something that should not come, short enough to wait for.
const MOMENT: Duration = Duration::from_millis(150);

async fn write(addr: SocketAddr, query: &str, items: Value) -> Answer {
    put(addr, &format!("/v1/var/lead{query}"), &json!({ "Items": items }).to_string()).await
}

async fn acquire(addr: SocketAddr, id: &str) -> Answer {
    let body = json!({"Items": {"k": "v"}, "Lock": {"ID": id, "TTL": "10s", "LockDelay": "1s"}});
    put(addr, "/v1/var/lead?lock-acquire", &body.to_string()).await
}

async fn renew(addr: SocketAddr, id: &str) -> u16 {
    put(addr, "/v1/var/lead?lock-renew", &json!({"Lock": {"ID": id}}).to_string()).await.status
}

async fn is_locked(addr: SocketAddr) -> bool {
    get(addr, "/v1/var/lead").await.json()["Lock"].is_object()
}

/// A blocking query for what this target names, begun; it is still waiting after a moment.
async fn waiting(addr: SocketAddr, target: &str, index: u64) -> tokio::task::JoinHandle<Answer> {
    let separator = if target.contains('?') { '&' } else { '?' };
    let target = format!("{target}{separator}index={index}&wait=60s");
    let waiting = tokio::spawn(async move { get(addr, &target).await });
    tokio::time::sleep(MOMENT).await;
    assert!(!waiting.is_finished());
    waiting
}

#[tokio::test]
async fn a_blocking_read_wakes_on_every_change_of_its_variable_and_on_no_other() {
    let sim = Sim::builder().start().await.unwrap();
    let addr = sim.addr(0);
    let mut index = write(addr, "", json!({"k": "v"})).await.index;
    for round in 0..5 {
        let read = waiting(addr, "/v1/var/lead", index).await;
        assert_eq!(put(addr, "/v1/var/other", r#"{"Items":{"k":"v"}}"#).await.status, 200);
        if round == 3 {
            assert_eq!(renew(addr, "held").await, 200);
        }
        tokio::time::sleep(MOMENT).await;
        assert!(!read.is_finished(), "neither another variable nor a renewal");
        let release = json!({"Lock": {"ID": "held"}}).to_string();
        let changed = match round {
            0 => write(addr, "", json!({"k": "w"})).await,
            1 => acquire(addr, "held").await,
            2 => put(addr, "/v1/var/lead", r#"{"Items":{"k":"x"},"Lock":{"ID":"held"}}"#).await,
            3 => put(addr, "/v1/var/lead?lock-release", &release).await,
            _ => support::delete(addr, "/v1/var/lead").await,
        };
        let answer = read.await.unwrap();
        assert_eq!((answer.status, answer.index), (if round == 4 { 404 } else { 200 }, changed.index), "{round}");
        index = changed.index;
    }
    // Of what does not exist, the table's index counts.
    let read = waiting(addr, "/v1/var/lead", index).await;
    put(addr, "/v1/var/other", r#"{"Items":{"k":"w"}}"#).await;
    assert_eq!(read.await.unwrap().status, 404);
    sim.stop().await;
}

#[tokio::test]
async fn a_blocking_list_wakes_on_its_prefix_alone() {
    let sim = Sim::builder().start().await.unwrap();
    let addr = sim.addr(0);
    write(addr, "/a", json!({"k": "v"})).await;
    let index = get(addr, "/v1/vars?prefix=lead/").await.index;
    let list = waiting(addr, "/v1/vars?prefix=lead/", index).await;
    put(addr, "/v1/var/other", r#"{"Items":{"k":"v"}}"#).await;
    tokio::time::sleep(MOMENT).await;
    assert!(!list.is_finished());
    let written = write(addr, "/b", json!({"k": "v"})).await;
    let list = list.await.unwrap();
    assert_eq!((list.index, list.json().as_array().unwrap().len()), (written.index, 2));
    sim.stop().await;
}

#[tokio::test]
async fn locks_expire_faster_where_they_are_told_to() {
    let sim = Sim::builder().lock_speed(100.0).start().await.unwrap();
    let (addr, start) = (sim.addr(0), Instant::now());
    assert_eq!(acquire(addr, "held").await.json()["Lock"]["TTL"], "10s");
    until("the lock is gone", async || !is_locked(addr).await).await;
    assert!(start.elapsed() >= Duration::from_millis(210), "twice the TTL and the delay, a hundredth of each");
    assert_eq!(renew(addr, "held").await, 409);
    sim.stop().await;
}

/// As seen on three servers: an election gives every lock a new timer, also those that had none.
#[tokio::test]
async fn an_election_starts_the_timers_anew() {
    let sim = Sim::builder().lock_speed(100.0).start().await.unwrap();
    let addr = sim.addr(0);
    put(addr, "/v1/var/lead", r#"{"Items":{"k":"v"},"Lock":{"ID":"held"}}"#).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!((renew(addr, "held").await, is_locked(addr).await), (409, true), "no timer, no end");
    sim.elect();
    assert_eq!(renew(addr, "held").await, 200);
    until("the lock is gone", async || !is_locked(addr).await).await;
    sim.stop().await;
}

#[tokio::test]
async fn answers_get_lost_after_the_write_and_errors_come_before_it() {
    let sim = Sim::builder().start().await.unwrap();
    let (addr, server) = (sim.addr(0), sim.server(0));
    server.fail_variables(1);
    let refused = write(addr, "?cas=0", json!({"k": "none"})).await;
    assert_eq!((refused.status, refused.body.as_str()), (500, "No cluster leader"));
    assert_eq!(get(addr, "/v1/var/lead").await.status, 404);
    server.lose_variable_answers(1, Lost::Failed);
    let lost = write(addr, "?cas=0", json!({"k": "one"})).await;
    assert_eq!((lost.status, lost.body.as_str()), (500, "rpc error: EOF"));
    let index = get(addr, "/v1/var/lead").await.index;
    server.lose_variable_answers(1, Lost::Closed);
    assert!(support::try_put(addr, &format!("/v1/var/lead?cas={index}"), r#"{"Items":{"k":"two"}}"#).await.is_err());
    assert_eq!(get(addr, "/v1/var/lead").await.json()["Items"]["k"], "two");
    sim.stop().await;
}

#[tokio::test]
async fn a_hanging_write_takes_effect_though_its_client_has_gone() {
    let sim = Sim::builder().start().await.unwrap();
    let (addr, server) = (sim.addr(0), sim.server(0));
    let first = write(addr, "", json!({"k": "first"})).await.index;
    server.hang_variables(true);
    let late = format!("/v1/var/lead?cas={first}");
    assert!(tokio::time::timeout(MOMENT, put(addr, &late, r#"{"Items":{"k":"late"}}"#)).await.is_err());
    server.hang_variables(false);
    until("the write has come through", async || get(addr, "/v1/var/lead").await.index > first).await;
    server.slow_variables(Duration::ZERO, MOMENT);
    let start = Instant::now();
    assert_eq!(write(addr, &format!("?cas={first}"), json!({"k": "later"})).await.status, 409);
    assert!(start.elapsed() >= MOMENT);
    sim.stop().await;
}

/// As seen on three servers, of which two were stopped: the refused write stood in the variable when they went on.
#[tokio::test]
async fn a_refused_write_is_committed_later() {
    let sim = Sim::builder().start().await.unwrap();
    let (addr, server) = (sim.addr(0), sim.server(0));
    write(addr, "", json!({"k": "first"})).await;
    for (item, successor) in [("late", false), ("too late", true)] {
        let index = get(addr, "/v1/var/lead").await.index;
        server.late_variables(1);
        let refused = write(addr, &format!("?cas={index}"), json!({ "k": item })).await;
        assert_eq!((refused.status, get(addr, "/v1/var/lead").await.index), (500, index));
        if successor {
            assert_eq!(write(addr, &format!("?cas={index}"), json!({"k": "taken over"})).await.status, 200);
        }
        let other = async || put(addr, "/v1/var/other", r#"{"Items":{"k":"v"}}"#).await.index;
        let mut last = other().await;
        server.commit_late_variables();
        // Refused or not, the late write takes an index.
        until("the late write", async || {
            let now = other().await;
            std::mem::replace(&mut last, now) + 1 < now
        })
        .await;
    }
    assert_eq!(get(addr, "/v1/var/lead").await.json()["Items"]["k"], "taken over", "a late write compares too");
    sim.stop().await;
}

/// As seen on three servers, of which the leader was stopped: when it went on, default reads were old as stale ones are.
#[tokio::test]
async fn a_deposed_leader_reads_old_state_and_writes_none() {
    let sim = Sim::builder().servers(3).start().await.unwrap();
    let (leader, old) = (sim.addr(0), sim.addr(2));
    let first = write(leader, "", json!({"k": "first"})).await.index;
    sim.server(2).lag(Lag::At(first));
    sim.server(2).deposed(true);
    let second = write(leader, &format!("?cas={first}"), json!({"k": "second"})).await.index;
    assert_eq!(get(old, "/v1/var/lead").await.index, first, "its own state");
    assert_eq!(get(old, "/v1/vars?prefix=lead").await.index, first);
    let refused = write(old, &format!("?cas={first}"), json!({"k": "late"})).await;
    assert_eq!((refused.status, refused.index), (409, second), "the log knows better");
    sim.server(2).deposed(false);
    assert_eq!(get(old, "/v1/var/lead").await.index, second);
    sim.server(2).cut_off(true);
    assert_eq!(get(old, "/v1/var/lead").await.status, 500);
    assert_eq!(write(old, "", json!({"k": "v"})).await.status, 500);
    assert_eq!(get(old, "/v1/var/lead?stale").await.index, first);
    sim.stop().await;
}

#[tokio::test]
async fn writes_are_entries_of_the_log_where_they_are_told_to_be() {
    let sim = Sim::builder().variable_events().buffer(3).start().await.unwrap();
    let addr = sim.addr(0);
    sim.append_line(job_line(5, "default", "job")).await.unwrap();
    let mut stream = Stream::subscribe(addr, "topic=Variable&index=0").await;
    let index = acquire(addr, "held").await.index;
    assert_eq!(index, 6);
    let event = stream.take(1).await.remove(0);
    let metadata = &event["Events"][0]["Payload"]["Metadata"];
    assert_eq!(
        (&event["Index"], &metadata["Lock"]["ID"], &metadata["Items"]),
        (&json!(6), &json!("held"), &Value::Null)
    );
    // A refusal takes an index and no place in the buffer, a renewal neither.
    assert_eq!((write(addr, "", json!({"k": "w"})).await.status, renew(addr, "held").await), (409, 200));
    assert_eq!(put(addr, "/v1/var/other", r#"{"Items":{"k":"v"}}"#).await.index, 8);
    assert_eq!(sim.server(0).buffer_bounds(), (5, 8));
    for _ in 0..3 {
        support::delete(addr, "/v1/var/other").await;
        put(addr, "/v1/var/other", r#"{"Items":{"k":"v"}}"#).await;
    }
    let (first, last) = sim.server(0).buffer_bounds();
    assert!(first > 5 && last == 14, "the job's event had to make place: {first} to {last}");
    sim.stop().await;
}

#[tokio::test]
async fn writes_leave_the_indexes_of_a_history_alone() {
    let sim = Sim::builder().recording(support::recording()).start().await.unwrap();
    sim.play_to(50).await;
    let (truth, last) = (sim.truth().len(), sim.last_index().await);
    let first = write(sim.addr(0), "", json!({"k": "v"})).await.index;
    assert!(write(sim.addr(0), &format!("?cas={first}"), json!({"k": "w"})).await.index > first);
    assert_eq!((sim.truth().len(), sim.last_index().await), (truth, last));
    sim.stop().await;
}

#[tokio::test]
async fn another_cluster_has_no_variables() {
    let sim = Sim::builder().lock_speed(100.0).start().await.unwrap();
    acquire(sim.addr(0), "held").await;
    sim.rebuild().await;
    assert_eq!(get(sim.addr(0), "/v1/var/lead").await.status, 404);
    assert_eq!(write(sim.addr(0), "?cas=0", json!({"k": "v"})).await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn faults_can_be_ordered_from_outside() {
    let sim = Sim::builder().start().await.unwrap();
    let addr = sim.addr(0);
    for (order, status, cleared) in [
        ("errors=1", 500, "errors=0"),
        ("lost=1", 500, "lost=0"),
        ("cut-off=true", 500, "cut-off=false"),
        ("deposed=true", 200, "deposed=false&delay=0"),
    ] {
        assert_eq!(support::post(addr, &format!("/sim/variables?{order}"), "").await.status, 200);
        assert_eq!(write(addr, "", json!({"k": "v"})).await.status, status, "{order}");
        assert_eq!(support::post(addr, &format!("/sim/variables?{cleared}"), "").await.status, 200);
        assert_eq!(write(addr, "", json!({"k": "v"})).await.status, 200, "{cleared}");
    }
    put(addr, "/v1/var/lead", r#"{"Items":{"k":"v"},"Lock":{"ID":"held"}}"#).await;
    assert_eq!(renew(addr, "held").await, 409);
    assert_eq!(support::post(addr, "/sim/elect", "").await.status, 200);
    assert_eq!(renew(addr, "held").await, 200);
    sim.stop().await;
}

#[tokio::test]
async fn only_management_sees_the_lock() {
    let reader = Policy::default().and_variables("default", "lead", &[nomad_sim::Capability::Read]);
    let sim = Sim::builder().token("m", Policy::management()).token("r", reader).start().await.unwrap();
    let body = json!({"Items": {"k": "v"}, "Lock": {"ID": "held"}}).to_string();
    assert_eq!(support::put_with(sim.addr(0), "/v1/var/lead?lock-acquire", &body, "m").await.status, 200);
    let read = async |token| get_with(sim.addr(0), "/v1/var/lead", token).await.json();
    assert_eq!((&read("m").await["Lock"]["ID"], &read("r").await["Lock"]), (&json!("held"), &Value::Null));
    sim.stop().await;
}
