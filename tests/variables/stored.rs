//! What is stored, as an operator sees and changes it.

use serde_json::Value;

use crate::{
    busy, client,
    common::{Setup, Signal},
    in_variables, leader,
};

/// Deletes every Variable below the folder.
pub async fn delete_all(url: &str) {
    let client = client();
    let list = client.get(format!("{url}/v1/vars?prefix=nomad-firehose/")).send().await.expect("an answer");
    let list: Vec<Value> = serde_json::from_slice(&list.bytes().await.expect("a body")).expect("a list");
    assert!(list.len() >= 7, "{list:?}");
    for variable in list {
        let path = variable["Path"].as_str().expect("a path");
        let deleted = client.delete(format!("{url}/v1/var/{path}")).send().await.expect("an answer");
        assert_eq!(deleted.status(), 204, "{path}");
    }
}

fn state(url: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let arguments = [&["state"], arguments].concat();
    in_variables(Setup::bare(&arguments).env("NOMAD_ADDR", url)).output()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_sets_and_removes_what_is_stored() {
    let mut scene = busy().await;
    let url = scene.sim.url(0);
    let mut first = leader(&mut scene).await;
    let (code, shown, log) = state(&url, &["show", "--json"]);
    assert_eq!(code, Some(0), "{log}");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let kinds = shown["kinds"].as_array().expect("rows");
    assert_eq!(kinds.len(), 7, "{shown}");
    assert!(kinds.iter().all(|kind| kind["leader"]["holder"].is_string()), "{shown}");
    let (code, said, _) = state(&url, &["reset", "jobs"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("nothing was removed") && said.contains("leads"), "{said}");
    let (code, said, _) = state(&url, &["set", "jobs", "--index", "5"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("nothing was changed"), "{said}");
    // With force, the leader loses it, and the position is stored.
    let (code, said, log) = state(&url, &["set", "jobs", "--index", "5", "--force"]);
    assert_eq!(code, Some(0), "{said}{log}");
    assert!(said.contains("→ *@5") && said.contains("the lease was taken from"), "{said}");
    first.until_logged("lease lost", 1).await;
    first.signal(Signal::TERM);
    assert_eq!(first.end().await, Some(0), "{}", first.log());
    let (code, said, log) = state(&url, &["reset", "jobs", "nodes"]);
    assert_eq!(code, Some(0), "{log}");
    assert!(said.contains("jobs: removed the checkpoint") && said.contains("nodes: removed"), "{said}");
    let (_, shown, _) = state(&url, &["show"]);
    assert!(!shown.contains("jobs") && shown.contains("evaluations") && shown.contains("VARIABLES"), "{shown}");
}
