//! The lists and objects of the simulator at the moments of the recorded ones.
//!
//! What Nomad publishes no event for cannot be known from a stream: the simulator collects garbage together with
//! the batch deregistration of jobs (218), the agent did it in the entries around it (217 to 221); and it learns of
//! a node's purge (224) only by order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use nomad_sim::{Kind, Sim};
use serde_json::Value;
use support::{fixture, get, recording};

const MOMENTS: [&str; 7] = ["0-empty", "1-deployed", "2-busy", "3-drained", "4-stopped", "5-gc", "6-purged"];

fn recorded(moment: &str, name: &str) -> Value {
    let text = std::fs::read_to_string(fixture(&format!("rest/{moment}/{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Where two values differ; a field that is absent equals one that is null.
fn differences(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                let (a, b) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
                differences(&format!("{path}.{name}"), a, b, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                differences(&format!("{path}[{n}]"), a, b, out);
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{path}: {ours} instead of {theirs}")),
    }
}

/// Every field of every object in every list, in the list's order, and the list's index.
async fn compare(name: &str, index_differs: &[&str]) {
    let sim = Sim::builder().recording(recording()).start().await.unwrap();
    let mut objects = 0;
    for moment in MOMENTS {
        let theirs = recorded(moment, name);
        let index: u64 = theirs["headers"]["X-Nomad-Index"].as_str().unwrap().parse().unwrap();
        sim.play_to(index).await;
        if (moment, name) == ("6-purged", "nodes") {
            sim.remove(Kind::Node, "", "b63b6b08-34a6-3963-0f11-318e403ae9d0").await;
        }
        let ours = get(sim.addr(0), theirs["path"].as_str().unwrap()).await;
        let mut found = Vec::new();
        differences(&format!("{moment} {name}"), &ours.json(), &theirs["body"], &mut found);
        assert!(found.is_empty(), "{found:#?}");
        assert_eq!(ours.index != index, index_differs.contains(&moment), "{moment}: {} not {index}", ours.index);
        objects += ours.json().as_array().unwrap().len();
    }
    assert!(objects > 0);
    sim.stop().await;
}

#[tokio::test]
async fn allocations_are_listed_as_recorded() {
    compare("allocations", &[]).await;
}

#[tokio::test]
async fn nodes_are_listed_as_recorded() {
    compare("nodes", &[]).await;
}

#[tokio::test]
async fn evaluations_are_listed_as_recorded() {
    compare("evaluations", &[]).await;
}

#[tokio::test]
async fn jobs_are_listed_as_recorded_with_their_summaries() {
    compare("jobs", &[]).await;
}

#[tokio::test]
async fn deployments_are_listed_as_recorded() {
    compare("deployments", &["5-gc", "6-purged"]).await;
}

/// The full objects were fetched right after the lists of their moment.
#[tokio::test]
async fn full_objects_are_those_recorded() {
    let sim = Sim::builder().recording(recording()).start().await.unwrap();
    let mut compared = BTreeMap::new();
    for moment in MOMENTS {
        let lists = ["allocations", "nodes", "evaluations", "jobs", "deployments"].map(|name| recorded(moment, name));
        let indexes = lists.iter().map(|list| list["headers"]["X-Nomad-Index"].as_str().unwrap().parse().unwrap());
        sim.play_to(indexes.max().unwrap()).await;
        for (kind, name) in [("job", "job-objects"), ("node", "node-objects")] {
            for theirs in recorded(moment, name).as_array().unwrap() {
                let id = theirs["ID"].as_str().unwrap().replace('/', "%2F");
                let namespace = theirs["Namespace"].as_str().unwrap_or("default");
                let ours = get(sim.addr(0), &format!("/v1/{kind}/{id}?namespace={namespace}")).await;
                let mut found = Vec::new();
                differences(&format!("{moment} {id}"), &ours.json(), theirs, &mut found);
                // The stream carries a dispatched job's payload compressed, the API does not.
                found.retain(|difference| !difference.starts_with(&format!("{moment} {id}.Payload:")));
                *compared.entry(kind).or_insert(0) += 1;
                assert!(found.is_empty(), "{found:#?}");
            }
        }
    }
    assert_eq!(compared, BTreeMap::from([("job", 47), ("node", 6)]));
    sim.stop().await;
}

#[tokio::test]
async fn other_objects_are_found_by_id() {
    let sim = Sim::builder().recording(recording()).start().await.unwrap();
    sim.play_to(140).await;
    for (list, kind) in [("allocations", "allocation"), ("evaluations", "evaluation"), ("deployments", "deployment")] {
        let listed = get(sim.addr(0), &format!("/v1/{list}?namespace=*")).await.json();
        for stub in listed.as_array().unwrap() {
            let id = stub["ID"].as_str().unwrap();
            let object = get(sim.addr(0), &format!("/v1/{kind}/{id}")).await;
            assert_eq!(object.index, stub["ModifyIndex"]);
            assert_eq!(object.json()["ID"], stub["ID"]);
            if kind == "allocation" {
                assert_eq!(object.json()["Job"]["ID"], stub["JobID"]);
            }
        }
    }
    let summary = get(sim.addr(0), "/v1/job/burst/summary?namespace=team-a").await.json();
    assert_eq!(summary["Summary"]["ok"]["Complete"], 5);
    sim.stop().await;
}
