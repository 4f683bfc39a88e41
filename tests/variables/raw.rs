//! The raw events of a cluster whose Variables keep the leases.

use std::time::Duration;

use nomad_sim::Sim;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{client, common::Setup, in_variables};

/// Writes a Variable, as any user of the cluster.
async fn write(client: &reqwest::Client, url: &str, path: &str) {
    let body = json!({"Namespace": "default", "Path": path, "Items": {"word": "hush"}}).to_string();
    let written = client.put(format!("{url}/v1/var/{path}")).body(body).send().await.expect("an answer");
    assert_eq!(written.status(), 200, "{path}");
}

/// The newest index of the Variables below the folder.
async fn newest(client: &reqwest::Client, url: &str) -> u64 {
    let list = client.get(format!("{url}/v1/vars?prefix=nomad-firehose/")).send().await.expect("an answer");
    let list: Vec<Value> = serde_json::from_slice(&list.bytes().await.expect("a body")).expect("a list");
    list.iter().filter_map(|variable| variable["ModifyIndex"].as_u64()).max().expect("it leads")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_its_own_variables_are_left_out_and_those_of_others_come() {
    let sim = Sim::builder().variable_events().start().await.expect("the simulator starts");
    let client = client();
    let process = in_variables(Setup::new(&["events"], &sim.url(0))).spawn();
    process.until_logged("subscribed to the event stream").await;
    let paths = ["app/first", "nomad-firehose/app/secret", "nomad-firehose-2/jobs"];
    for (n, path) in paths.into_iter().enumerate() {
        write(&client, &sim.url(0), path).await;
        process.until_printed(n + 1).await;
        // Some heartbeats, and the checkpoints that follow.
        let before = newest(&client, &sim.url(0)).await;
        while newest(&client, &sim.url(0)).await < before + 3 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    let printed = process.stop().await;
    let events = printed.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let keys: Vec<_> = events.map(|event| event["Key"].as_str().expect("a key").to_owned()).collect();
    assert_eq!(keys, paths);
}
