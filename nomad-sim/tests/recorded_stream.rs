//! The simulator is asked what the real agent was asked, and must say what the real agent said.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use nomad_sim::Sim;
use serde_json::Value;
use support::{Said, Stream, recorded_lines, recording};

#[tokio::test]
async fn a_late_subscription_gets_the_complete_recording() {
    let sim = Sim::builder().recording(recording()).namespace("late", 13).buffer(1000).start().await.unwrap();
    sim.play_all().await;
    let expected = recorded_lines("stream-complete.ndjson");
    let mut stream = Stream::subscribe(sim.addr(0), "namespace=*&index=1").await;
    assert_eq!(stream.take(expected.len()).await, expected);
    sim.stop().await;
}

#[tokio::test]
async fn a_subscription_from_before_a_namespace_lacks_it() {
    let sim = Sim::builder().recording(recording()).namespace("late", 13).buffer(1000).start().await.unwrap();
    sim.play_to(12).await;
    let mut stream = Stream::subscribe(sim.addr(0), "namespace=*&index=1").await;
    sim.play_all().await;
    let mut expected = recorded_lines("stream-subscribed-first.ndjson");
    let mut lines = stream.take(expected.len()).await;
    // The agent's buffer shares its objects with the scheduler, which set `NextEval` in four of them after their
    // publish: the early subscription was sent them before that, the late one after.
    let mut late_fields = 0;
    for line in expected.iter_mut().chain(&mut lines) {
        for event in line["Events"].as_array_mut().unwrap() {
            if let Some(evaluation) = event["Payload"].get_mut("Evaluation").and_then(Value::as_object_mut)
                && evaluation.remove("NextEval").is_some()
            {
                late_fields += 1;
            }
        }
    }
    assert!(late_fields > 0);
    assert_eq!(lines, expected);
    sim.stop().await;
}

#[tokio::test]
async fn the_real_buffer_of_a_hundred_lines_begins_later_and_says_nothing_about_it() {
    let sim = Sim::builder().recording(recording()).preload(u64::MAX).start().await.unwrap();
    let all = recorded_lines("stream-complete.ndjson");
    let kept = &all[all.len() - 101..];
    let mut stream = Stream::subscribe(sim.addr(0), "namespace=*&index=1").await;
    assert_eq!(stream.take(kept.len()).await, kept);
    sim.stop().await;
}

#[tokio::test]
async fn a_resume_sends_the_index_again_from_its_first_line() {
    let sim = Sim::builder().recording(recording()).buffer(1000).preload(u64::MAX).start().await.unwrap();
    let from = async |index: u64, count: usize| {
        Stream::subscribe(sim.addr(0), &format!("namespace=*&index={index}")).await.indexes(count).await
    };
    assert_eq!(from(14, 3).await, [14, 14, 15]);
    assert_eq!(from(142, 1).await, [143], "142 carried no event");
    assert_eq!(from(10_000, 1).await, [223], "newer than the tail");
    assert_eq!(from(0, 2).await, [8, 9]);
    sim.stop().await;
}

#[tokio::test]
async fn a_filtered_stream_is_the_filtered_recording() {
    let sim = Sim::builder().recording(recording()).buffer(1000).preload(u64::MAX).start().await.unwrap();
    let mut expected = Vec::new();
    for mut line in recorded_lines("stream-complete.ndjson") {
        let events = line["Events"].as_array_mut().unwrap();
        events.retain(|event| {
            (event["Topic"] == "Allocation" && event["Namespace"] == "team-a") || event["Topic"] == "Node"
        });
        if !events.is_empty() {
            expected.push(line);
        }
    }
    let mut stream = Stream::subscribe(sim.addr(0), "namespace=team-a&index=1&topic=Allocation&topic=Node:*").await;
    assert_eq!(stream.take(expected.len()).await, expected);
    sim.stop().await;
}

#[tokio::test]
async fn heartbeats_come_between_the_lines() {
    let every = std::time::Duration::from_millis(20);
    let sim = Sim::builder().recording(recording()).preload(8).heartbeat(every).start().await.unwrap();
    let mut stream = Stream::subscribe(sim.addr(0), "namespace=*").await;
    assert_eq!(stream.next().await.index(), 8);
    for _ in 0..3 {
        assert_eq!(stream.next().await, Said::Line(b"{}".to_vec()));
    }
    sim.stop().await;
}

#[tokio::test]
async fn shuffled_members_are_the_same_objects_in_other_bytes() {
    let sim = Sim::builder().recording(recording()).buffer(1000).preload(u64::MAX).start().await.unwrap();
    sim.shuffle(true);
    let expected = recorded_lines("stream-complete.ndjson");
    let mut stream = Stream::subscribe(sim.addr(0), "namespace=*&index=1").await;
    let mut other_bytes = 0;
    for (expected, published) in expected.iter().zip(sim.truth()) {
        let Said::Line(line) = stream.next().await else { panic!("the stream ended") };
        other_bytes += usize::from(line != published.raw);
        assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), *expected);
    }
    assert!(other_bytes > 200);
    sim.stop().await;
}
