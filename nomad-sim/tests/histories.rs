//! Repeated and generated histories.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use nomad_sim::{Generator, GeneratorOptions, History, Kind, Recording, Repeat, Sim};
use serde_json::Value;
use support::{get, recording};

const ROUNDS: u64 = 3;

fn repeated() -> Vec<Value> {
    let mut history = Repeat::new(Recording::open(recording()).unwrap(), ROUNDS);
    let mut lines = Vec::new();
    while let Some(entry) = history.next() {
        lines.extend(entry.lines.iter().map(|line| serde_json::from_slice::<Value>(&line.raw).unwrap()));
    }
    lines
}

#[test]
fn a_repetition_has_growing_indexes_and_fresh_ids() {
    let lines = repeated();
    let recorded = support::recorded_lines("stream-complete.ndjson");
    assert_eq!(lines.len(), recorded.len() * ROUNDS as usize);
    assert_eq!(lines[..recorded.len()], recorded, "the first round is the recording");
    let indexes: Vec<_> = lines.iter().map(|line| line["Index"].as_u64().unwrap()).collect();
    assert!(indexes.is_sorted());
    let mut ids: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (n, line) in lines.iter().enumerate() {
        for event in line["Events"].as_array().unwrap().iter().filter(|event| event["Topic"] != "Job") {
            assert_eq!(event["Index"], line["Index"]);
            ids.entry(event["Key"].as_str().unwrap()).or_default().insert(n / recorded.len());
        }
    }
    let shared: Vec<_> = ids.iter().filter(|(_, rounds)| rounds.len() > 1).map(|(id, _)| *id).collect();
    // A variable's path is no id.
    assert_eq!(shared, ["app/config"]);
}

#[test]
fn a_repetition_keeps_the_rule_of_new_versions() {
    for line in repeated() {
        for event in line["Events"].as_array().unwrap() {
            if let Some(object) = event["Payload"].get("Allocation") {
                assert_eq!(object["ModifyIndex"], line["Index"]);
                assert_eq!(object["ID"], event["Key"]);
            }
        }
    }
}

#[test]
fn a_recording_lasts_as_long_as_it_took() {
    let mut recording = Recording::open(recording()).unwrap();
    let seconds = recording.duration().as_secs();
    assert!((60..120).contains(&seconds), "{seconds}");
    let mut longest = std::time::Duration::ZERO;
    while let Some(entry) = recording.next() {
        longest = longest.max(entry.gap);
    }
    assert!(longest.as_secs() < 30, "{longest:?}");
}

#[tokio::test(start_paused = true)]
async fn the_pace_is_that_of_the_recording() {
    let lasts = Recording::open(recording()).unwrap().duration();
    for speed in [1.0, 10.0] {
        let start = tokio::time::Instant::now();
        let sim = Sim::builder().recording(recording()).speed(speed).start().await.unwrap();
        sim.finished().await;
        let took = start.elapsed().as_secs_f64() * speed;
        assert!((lasts.as_secs_f64() - 0.1..lasts.as_secs_f64() + 0.1).contains(&took), "{took} {lasts:?}");
        assert_eq!(sim.last_index().await, 223);
        sim.stop().await;
    }
}

#[tokio::test]
async fn many_rounds_leave_only_the_latest_objects() {
    let sim = Sim::builder().recording(recording()).rounds(15).keep_truth(false).start().await.unwrap();
    sim.play_all().await;
    assert!(sim.last_index().await > 3000);
    let state = get(sim.addr(0), "/sim/state").await.json();
    let evaluations = state["servers"][0]["tables"]["Evaluation"]["objects"].as_u64().unwrap();
    assert!(evaluations < 100, "{evaluations}");
    sim.stop().await;
}

fn options(allocations: u64) -> GeneratorOptions {
    GeneratorOptions { allocations, churn: 100.0, seed: 7 }
}

#[test]
fn a_seed_makes_the_same_cluster_again_and_another_one_another() {
    let run = |seed| {
        let mut history = Generator::new(GeneratorOptions { seed, ..options(50) });
        let entries = (0..200).filter_map(|_| history.next());
        entries
            .flat_map(|entry| entry.lines.iter().map(|line| line.raw.clone()).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert!(run(1) != run(2));
}

/// Task events only ever follow those sent before, ten are kept, and every allocation ends before its slot is used again.
#[test]
fn generated_allocations_grow_as_real_ones() {
    let mut history = Generator::new(options(40));
    let mut seen: BTreeMap<String, Vec<(String, i64)>> = BTreeMap::new();
    let mut kinds = BTreeSet::new();
    let (mut versions, mut sizes) = (0, 0);
    for _ in 0..1500 {
        let entry = history.next().unwrap();
        for line in &entry.lines {
            assert_eq!(line.index, entry.index);
            for event in &line.events {
                kinds.insert((event.topic.to_string(), event.kind.to_string()));
                if &*event.topic != "Allocation" {
                    continue;
                }
                let object = event.object.as_ref().unwrap();
                let sent: Value = serde_json::from_slice(&event.raw).unwrap();
                let sent = &sent["Payload"]["Allocation"];
                let made: Value = serde_json::from_slice(&object.body.bytes()).unwrap();
                assert_eq!(*sent, made, "the recipe makes what was sent");
                assert_eq!(
                    (object.modify_index, object.create_index),
                    (line.index, made["CreateIndex"].as_u64().unwrap())
                );
                versions += 1;
                sizes += event.raw.len();
                let states = sent["TaskStates"]["main"]["Events"].as_array().cloned().unwrap_or_default();
                assert!(states.len() <= 10);
                let events: Vec<(String, i64)> = states
                    .iter()
                    .map(|e| (e["Type"].as_str().unwrap().to_owned(), e["Time"].as_i64().unwrap()))
                    .collect();
                assert!(events.is_sorted_by_key(|(_, time)| *time));
                let known = seen.entry(object.id.to_string()).or_default();
                if let Some(last) = known.last() {
                    assert!(events.contains(last), "the last event sent is still among the ten");
                }
                let new = events.iter().filter(|event| !known.contains(event)).cloned().collect::<Vec<_>>();
                known.extend(new);
            }
        }
    }
    assert!(seen.len() > 40 && versions > 1500, "{} {versions}", seen.len());
    assert!((3000..6000).contains(&(sizes / versions)), "{}", sizes / versions);
    assert!(seen.values().any(|events| events.len() > 15), "more events than are kept");
    for kind in
        [("Job", "JobRegistered"), ("Job", "PlanResult"), ("Node", "NodeStreamEvent"), ("Deployment", "PlanResult")]
    {
        assert!(kinds.contains(&(kind.0.to_owned(), kind.1.to_owned())), "{kind:?}");
    }
}

#[tokio::test]
async fn a_generated_cluster_keeps_its_size() {
    let sim = Sim::builder().generated(options(2500)).start().await.unwrap();
    let count = async || {
        let (mut count, mut token, mut created) = (0, String::new(), 0);
        loop {
            let page = get(sim.addr(0), &format!("/v1/allocations?per_page=1000&next_token={token}")).await;
            for stub in page.json().as_array().unwrap() {
                assert!(stub["CreateIndex"].as_u64().unwrap() >= created);
                assert_eq!(stub["JobType"], "service");
                created = stub["CreateIndex"].as_u64().unwrap();
                count += 1;
            }
            let Some(next) = page.next_token else { return count };
            token = next;
        }
    };
    assert_eq!(count().await, 2500);
    sim.step(3000).await;
    assert_eq!(count().await, 2500);
    let lines = sim.truth();
    assert!(lines.is_empty(), "a generated cluster remembers no lines");
    let summary = get(sim.addr(0), "/v1/job/service-3/summary").await.json();
    assert!(summary["Summary"]["group"]["Running"].as_u64().unwrap() > 50, "{summary}");
    assert_eq!(Kind::from_topic("Allocation"), Some(Kind::Allocation));
    sim.stop().await;
}
