//! Every fault does what a cluster in that trouble does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use nomad_sim::{Lag, Sim};
use support::{Said, Stream, get, job_line, post, recording, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Long enough to see something that should not come, short enough to wait for.
const MOMENT: Duration = Duration::from_millis(150);

async fn append(sim: &Sim, indexes: std::ops::RangeInclusive<u64>) {
    sim.append_lines(indexes.map(|index| job_line(index, "default", "job"))).await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_is_cut_off() {
    let sim = Sim::builder().buffer(5).send_buffer(4096).refusal(Duration::from_millis(20)).start().await.unwrap();
    let mut slow = tokio::net::TcpStream::connect(sim.addr(0)).await.unwrap();
    slow.write_all(b"GET /v1/event/stream HTTP/1.1\r\nHost: sim\r\n\r\n").await.unwrap();
    until("it has subscribed", async || sim.server(0).open_streams() == 1).await;
    let big = "x".repeat(1 << 19);
    for index in 1..=30 {
        sim.append_line(job_line(index, "default", &big)).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut text = Vec::new();
    tokio::time::timeout(support::LIMIT, slow.read_to_end(&mut text)).await.unwrap().unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("}\n"), "the last line is whole");
    assert!(text.lines().count() < 25, "it lacks what it was too slow for");
    sim.stop().await;
}

#[tokio::test]
async fn dropped_and_reset_connections_end_and_new_ones_work() {
    let sim = Sim::builder().start().await.unwrap();
    let mut stream = Stream::subscribe(sim.addr(0), "").await;
    sim.server(0).drop_connections();
    assert_eq!(stream.next().await, Said::End(Vec::new()));
    let mut stream = Stream::subscribe(sim.addr(0), "").await;
    sim.server(0).reset_connections();
    assert_eq!(stream.next().await, Said::Broken);
    append(&sim, 1..=1).await;
    assert_eq!(Stream::subscribe(sim.addr(0), "").await.next().await.index(), 1);
    sim.stop().await;
}

#[tokio::test]
async fn a_stalled_stream_is_open_and_silent() {
    let sim = Sim::builder().heartbeat(Duration::from_millis(20)).start().await.unwrap();
    let mut old = Stream::subscribe(sim.addr(0), "").await;
    sim.server(0).stall();
    let mut new = Stream::subscribe(sim.addr(0), "").await;
    append(&sim, 1..=1).await;
    assert_eq!(new.indexes(1).await, [1]);
    // What was on its way when the stall began still comes.
    while !old.is_silent(MOMENT).await {}
    sim.server(0).unstall();
    assert_eq!(old.indexes(1).await, [1]);
    sim.stop().await;
}

#[tokio::test]
async fn a_frozen_server_answers_nothing_but_its_control() {
    let sim = Sim::builder().start().await.unwrap();
    sim.server(0).freeze();
    assert!(tokio::time::timeout(MOMENT, get(sim.addr(0), "/v1/jobs")).await.is_err());
    assert_eq!(post(sim.addr(0), "/sim/unstall", "").await.status, 200);
    assert_eq!(get(sim.addr(0), "/v1/jobs").await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn a_restarted_server_has_its_state_and_an_empty_buffer() {
    let sim = Sim::builder().start().await.unwrap();
    append(&sim, 1..=3).await;
    let mut stream = Stream::subscribe(sim.addr(0), "index=3").await;
    assert_eq!(stream.indexes(1).await, [3]);
    sim.server(0).restart();
    assert_eq!(stream.next().await, Said::End(Vec::new()));
    let mut stream = Stream::subscribe(sim.addr(0), "index=3").await;
    assert!(stream.is_silent(MOMENT).await, "3 is not in the buffer any more");
    append(&sim, 4..=4).await;
    assert_eq!(stream.indexes(1).await, [4]);
    assert_eq!(get(sim.addr(0), "/v1/jobs").await.json()[0]["CreateIndex"], 4);
    sim.stop().await;
}

#[tokio::test]
async fn a_lagging_server_sends_something_older_and_then_the_rest() {
    let sim = Sim::builder().servers(2).start().await.unwrap();
    append(&sim, 1..=5).await;
    sim.server(1).lag(Lag::At(5));
    append(&sim, 6..=9).await;
    assert_eq!((sim.server(0).applied_index(), sim.server(1).applied_index()), (9, 5));
    let mut stream = Stream::subscribe(sim.addr(1), "index=9").await;
    assert_eq!(stream.indexes(1).await, [5], "its tail is older than what was asked for");
    let stale = get(sim.addr(1), "/v1/jobs?stale=true").await.index;
    let leader = get(sim.addr(1), "/v1/jobs").await.index;
    assert_eq!((stale, leader), (5, 9));
    sim.server(1).lag(Lag::By(1));
    assert_eq!(stream.indexes(3).await, [6, 7, 8]);
    sim.server(1).lag(Lag::None);
    assert_eq!(stream.indexes(1).await, [9]);
    sim.stop().await;
}

#[tokio::test]
async fn garbage_invalid_utf8_and_half_lines_reach_the_streams() {
    let sim = Sim::builder().start().await.unwrap();
    let mut stream = Stream::subscribe(sim.addr(0), "").await;
    assert_eq!(post(sim.addr(0), "/sim/garbage", "").await.status, 200);
    let Said::Line(garbage) = stream.next().await else { panic!("no line") };
    assert!(serde_json::from_slice::<serde_json::Value>(&garbage).is_err());
    assert_eq!(post(sim.addr(0), "/sim/garbage", "rpc error: no such thing").await.status, 200);
    assert_eq!(stream.next().await, Said::Line(b"rpc error: no such thing".to_vec()));
    assert_eq!(post(sim.addr(0), "/sim/invalid-utf8", "").await.status, 200);
    let Said::Line(line) = stream.next().await else { panic!("no line") };
    assert!(String::from_utf8(line).is_err());
    sim.server(0).cut_next_line(None);
    append(&sim, 1..=1).await;
    let Said::End(half) = stream.next().await else { panic!("a whole line") };
    let whole = job_line(1, "default", "job");
    assert_eq!(half, whole.as_bytes()[..whole.len() / 2]);
    assert_eq!(Stream::subscribe(sim.addr(0), "").await.indexes(1).await, [1], "the next stream has it whole");
    sim.stop().await;
}

#[tokio::test]
async fn slow_and_failing_lists() {
    let sim = Sim::builder().start().await.unwrap();
    sim.server(0).slow_lists(MOMENT);
    let start = std::time::Instant::now();
    assert_eq!(get(sim.addr(0), "/v1/jobs").await.status, 200);
    assert!(start.elapsed() >= MOMENT);
    sim.server(0).slow_lists(Duration::ZERO);
    sim.server(0).fail_lists(2);
    for expected in [500, 500, 200] {
        assert_eq!(get(sim.addr(0), "/v1/jobs").await.status, expected);
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_refusing_server_comes_back_on_its_address() {
    let sim = Sim::builder().start().await.unwrap();
    let mut stream = Stream::subscribe(sim.addr(0), "").await;
    sim.server(0).refuse(true);
    assert_eq!(stream.next().await, Said::Broken);
    let refused = async || tokio::net::TcpStream::connect(sim.addr(0)).await.is_err();
    until("connections are refused", refused).await;
    sim.server(0).refuse(false);
    until("connections are accepted", async || !refused().await).await;
    assert_eq!(get(sim.addr(0), "/v1/jobs").await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn a_rebuilt_cluster_has_lower_indexes_and_other_identities() {
    let sim = Sim::builder().recording(recording()).buffer(1000).preload(195).start().await.unwrap();
    let before = get(sim.addr(0), "/v1/allocations?namespace=*").await;
    let mut stream = Stream::subscribe(sim.addr(0), "namespace=*&index=195").await;
    assert_eq!(stream.indexes(1).await, [195]);
    sim.rebuild().await;
    assert_eq!(stream.next().await, Said::End(Vec::new()));
    assert_eq!(get(sim.addr(0), "/v1/allocations?namespace=*").await.index, 0);
    sim.play_to(60).await;
    let after = get(sim.addr(0), "/v1/allocations?namespace=*").await;
    assert!(after.index > 0 && after.index < before.index);
    let ids = |answer: &support::Answer| -> std::collections::BTreeSet<String> {
        answer.json().as_array().unwrap().iter().map(|o| o["ID"].as_str().unwrap().to_owned()).collect()
    };
    assert!(!ids(&after).is_empty());
    assert!(ids(&after).is_disjoint(&ids(&before)));
    let mut stream = Stream::subscribe(sim.addr(0), "namespace=*&index=195").await;
    assert_eq!(stream.indexes(1).await, [60]);
    sim.stop().await;
}

#[tokio::test]
async fn requests_are_logged_in_their_order() {
    let sim = Sim::builder().servers(2).start().await.unwrap();
    get(sim.addr(0), "/v1/jobs?per_page=1").await;
    get(sim.addr(1), "/v1/nodes").await;
    get(sim.addr(0), "/sim/state").await;
    let seen: Vec<_> = sim.requests().into_iter().map(|r| (r.number, r.server, r.target)).collect();
    assert_eq!(seen, [(0, 0, "/v1/jobs?per_page=1".to_owned()), (1, 1, "/v1/nodes".to_owned())]);
    let told = get(sim.addr(1), "/sim/requests?since=1").await.json();
    assert_eq!(told[0]["target"], "/v1/nodes");
    sim.stop().await;
}

#[tokio::test]
async fn the_control_endpoint_steps_the_history_and_tells_mistakes() {
    let sim = Sim::builder().recording(recording()).servers(2).start().await.unwrap();
    let addr = sim.addr(0);
    assert_eq!(post(addr, "/sim/step?n=3", "").await.json()["played"], 3);
    assert_eq!(post(addr, "/sim/play?to=20", "").await.status, 200);
    let state = get(addr, "/sim/state").await.json();
    assert_eq!((&state["index"], &state["servers"][1]["applied"]), (&20.into(), &20.into()));
    assert_eq!(post(addr, "/sim/append", &job_line(500, "default", "x")).await.status, 200);
    assert_eq!(get(addr, "/v1/jobs").await.index, 500);
    assert_eq!(post(addr, "/sim/namespace?name=n", "").await.json()["index"], 501);
    for wrong in ["/sim/nonsense", "/sim/drop?server=2", "/sim/lag", "/sim/append?x", "/sim/lists?delay=x"] {
        let body = if wrong.contains("append") { "no line" } else { "" };
        assert_eq!(post(addr, wrong, body).await.status, 400, "{wrong}");
    }
    let mut stream = Stream::subscribe(addr, "index=500").await;
    assert_eq!(post(addr, "/sim/drop?server=0&reset", "").await.status, 200, "the order itself is answered");
    while !matches!(stream.next().await, Said::Broken) {}
    sim.stop().await;
}
