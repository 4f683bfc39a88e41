//! Paging, blocking queries, tokens, refusals and namespaces.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nomad_sim::{Broker, Policy, Sim};
use support::{Said, Stream, get, get_with, job_line, recording};

#[tokio::test]
async fn pages_visit_each_object_once() {
    let sim = Sim::builder().recording(recording()).preload(195).start().await.unwrap();
    for list in ["allocations", "nodes", "evaluations", "jobs", "deployments"] {
        let whole = get(sim.addr(0), &format!("/v1/{list}?namespace=*")).await;
        for per_page in [1, 3, 1000] {
            let (mut paged, mut token) = (Vec::new(), String::new());
            loop {
                let target = format!("/v1/{list}?namespace=*&per_page={per_page}&next_token={token}");
                let page = get(sim.addr(0), &target).await;
                assert_eq!(page.index, whole.index);
                paged.extend(page.json().as_array().unwrap().iter().cloned());
                let Some(next) = page.next_token else { break };
                token = next.replace('/', "%2F");
            }
            assert_eq!(serde_json::Value::from(paged), whole.json(), "{list} by {per_page}");
        }
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_page_token_is_that_of_its_table() {
    let sim = Sim::builder().recording(recording()).preload(195).start().await.unwrap();
    let token = async |target: &str| get(sim.addr(0), target).await.next_token;
    let first = "86b45ec4-5438-4fb5-bb7b-b1fb01508292";
    assert_eq!(token("/v1/allocations?per_page=1").await, Some(format!("15.{first}")));
    assert_eq!(token("/v1/jobs?namespace=*&per_page=1").await.as_deref(), Some("default.cron"));
    assert_eq!(token("/v1/nodes?per_page=1").await, None);
    assert_eq!(token("/v1/jobs?per_page=100").await, None);
    sim.stop().await;
}

#[tokio::test]
async fn a_list_selects_by_namespace_and_prefix() {
    let sim = Sim::builder().recording(recording()).preload(195).start().await.unwrap();
    let jobs = async |query: &str| {
        let list = get(sim.addr(0), &format!("/v1/jobs?{query}")).await.json();
        list.as_array().unwrap().iter().map(|job| job["ID"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(jobs("namespace=team-b").await, ["flapper", "resched"]);
    assert_eq!(jobs("prefix=cron/").await.len(), 2);
    assert_eq!(jobs("namespace=*&prefix=unse").await, ["unseen"]);
    assert!(jobs("namespace=nowhere").await.is_empty());
    let allocations = get(sim.addr(0), "/v1/allocations?task_states=false").await.json();
    assert!(allocations.as_array().unwrap().iter().all(|stub| stub["TaskStates"].is_null()));
    assert_eq!(get(sim.addr(0), "/v1/allocations?per_page=x").await.status, 400);
    sim.stop().await;
}

#[tokio::test]
async fn a_blocking_query_wakes_when_its_table_changes() {
    let sim = Sim::builder().start().await.unwrap();
    sim.append_line(job_line(5, "default", "one")).await.unwrap();
    let addr = sim.addr(0);
    let wait = tokio::spawn(async move { get(addr, "/v1/jobs?index=5&wait=1m").await });
    support::until("the request has come", async || sim.requests().len() == 1).await;
    assert!(!wait.is_finished());
    sim.append_line(job_line(6, "default", "two")).await.unwrap();
    let answer = wait.await.unwrap();
    assert_eq!((answer.index, answer.json().as_array().unwrap().len()), (6, 2));
    sim.stop().await;
}

#[tokio::test]
async fn a_blocking_query_ends_with_its_wait() {
    let sim = Sim::builder().start().await.unwrap();
    sim.append_line(job_line(5, "default", "one")).await.unwrap();
    let start = Instant::now();
    let answer = get(sim.addr(0), "/v1/jobs?index=5&wait=100ms").await;
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(answer.index, 5);
    let start = Instant::now();
    assert_eq!(get(sim.addr(0), "/v1/jobs?index=4&wait=1m").await.index, 5);
    assert!(start.elapsed() < Duration::from_secs(30), "an index that has passed is answered at once");
    assert_eq!(get(sim.addr(0), "/v1/jobs?index=5&wait=soon").await.status, 400);
    sim.stop().await;
}

#[tokio::test]
async fn a_new_namespace_wakes_its_list_and_stays_out_of_open_streams() {
    let sim = Sim::builder().namespace("team", 3).start().await.unwrap();
    let addr = sim.addr(0);
    let list = get(addr, "/v1/namespaces").await;
    assert_eq!(list.index, 3);
    let wait = tokio::spawn(async move { get(addr, "/v1/namespaces?index=3&wait=1m").await });
    let mut early = Stream::subscribe(addr, "namespace=*").await;
    support::until("both have come", async || sim.requests().len() == 3).await;
    assert_eq!(sim.add_namespace("late", None).await, 4);
    let list = wait.await.unwrap().json();
    let late = list.as_array().unwrap().iter().find(|ns| ns["Name"] == "late").unwrap();
    assert_eq!((&late["CreateIndex"], &late["ModifyIndex"]), (&4.into(), &4.into()));
    sim.append_line(job_line(5, "late", "x")).await.unwrap();
    sim.append_line(job_line(6, "team", "y")).await.unwrap();
    assert_eq!(early.indexes(1).await, [6]);
    let mut second = Stream::subscribe(addr, "namespace=*&index=4").await;
    assert_eq!(second.indexes(2).await, [5, 6]);
    sim.stop().await;
}

#[tokio::test]
async fn objects_need_their_own_namespace_and_ids_can_hold_anything() {
    let sim = Sim::builder().namespace("team", 3).start().await.unwrap();
    sim.append_line(job_line(5, "team", "api/v1 ü%2F?")).await.unwrap();
    let path = "/v1/job/api%2Fv1%20%C3%BC%252F%3F";
    let missing = get(sim.addr(0), path).await;
    assert_eq!((missing.status, missing.body.as_str()), (404, "job not found"));
    let found = get(sim.addr(0), &format!("{path}?namespace=team")).await;
    assert_eq!((found.status, found.index), (200, 5));
    assert_eq!(found.json()["ID"], "api/v1 ü%2F?");
    assert_eq!(get(sim.addr(0), &format!("{path}/summary?namespace=team")).await.json()["Namespace"], "team");
    assert_eq!(get(sim.addr(0), "/v1/node/none").await.body, "node not found");
    assert_eq!(get(sim.addr(0), "/v1/nothing").await.status, 404);
    sim.stop().await;
}

#[tokio::test]
async fn a_refused_stream_is_a_200_that_ends_without_a_word() {
    let sim = Sim::builder()
        .namespace("team", 3)
        .token("all", Policy::management())
        .token("team", Policy::read_jobs(&["team"]))
        .refusal(Duration::from_millis(50))
        .start()
        .await
        .unwrap();
    for (query, token, allowed) in [
        ("namespace=*", "all", true),
        ("namespace=*", "", false),
        ("namespace=*", "wrong", false),
        ("namespace=team&topic=Job", "team", true),
        ("namespace=team", "team", false),
        ("namespace=*&topic=Job", "team", false),
        ("topic=Job", "team", false),
        ("namespace=team&topic=Job&topic=Node", "team", false),
        ("namespace=team&topic=Nope", "team", false),
        ("namespace=team&topic=Nope", "all", true),
    ] {
        let mut stream = Stream::open_with(sim.addr(0), query, token).await;
        let expected = if allowed { Said::Line(b"{}".to_vec()) } else { Said::End(Vec::new()) };
        assert_eq!(stream.next().await, expected, "{query} {token}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn lists_say_why_they_are_denied() {
    let sim = Sim::builder()
        .recording(recording())
        .preload(195)
        .token("all", Policy::management())
        .token("team-a", Policy::read_jobs(&["team-a"]))
        .token("nodes", Policy::default().and_nodes())
        .start()
        .await
        .unwrap();
    let status = async |target: &str, token: &str| {
        let answer = get_with(sim.addr(0), target, token).await;
        if answer.status == 403 {
            assert_eq!(answer.body, "Permission denied");
        }
        answer.status
    };
    assert_eq!(status("/v1/jobs", "").await, 403);
    assert_eq!(status("/v1/jobs", "wrong").await, 403);
    assert_eq!(status("/v1/jobs", "team-a").await, 403);
    assert_eq!(status("/v1/jobs?namespace=team-a", "team-a").await, 200);
    assert_eq!(status("/v1/nodes", "team-a").await, 403);
    assert_eq!(status("/v1/nodes", "nodes").await, 200);
    assert_eq!(status("/v1/job/burst?namespace=team-a", "nodes").await, 403);
    assert_eq!(status("/v1/job/burst?namespace=team-a", "team-a").await, 200);
    let visible = get_with(sim.addr(0), "/v1/jobs?namespace=*", "team-a").await.json();
    let namespaces: BTreeSet<_> =
        visible.as_array().unwrap().iter().map(|job| job["Namespace"].as_str().unwrap()).collect();
    assert_eq!(namespaces, BTreeSet::from(["team-a"]));
    sim.stop().await;
}

#[tokio::test]
async fn a_wrong_index_or_topic_is_told() {
    let sim = Sim::builder().start().await.unwrap();
    let answer = get(sim.addr(0), "/v1/event/stream?index=abc").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with("Unable to parse index"), "{}", answer.body);
    assert_eq!(get(sim.addr(0), "/v1/event/stream?topic=a:b:c").await.status, 400);
    sim.stop().await;
}

#[tokio::test]
async fn a_cluster_without_a_stream_still_answers_lists() {
    let sim = Sim::builder().refusal(Duration::from_millis(20)).start().await.unwrap();
    sim.append_line(job_line(5, "default", "one")).await.unwrap();
    sim.set_broker(Broker::Missing);
    assert_eq!(get(sim.addr(0), "/v1/event/stream").await.status, 404);
    sim.set_broker(Broker::Failing);
    assert_eq!(get(sim.addr(0), "/v1/event/stream").await.status, 500);
    sim.set_broker(Broker::Disabled);
    assert_eq!(Stream::open(sim.addr(0), "").await.next().await, Said::End(Vec::new()));
    assert_eq!(get(sim.addr(0), "/v1/jobs").await.json().as_array().unwrap().len(), 1);
    sim.stop().await;
}

#[tokio::test]
async fn a_deleted_token_silences_and_a_narrowed_one_closes() {
    let sim = Sim::builder()
        .token("gone", Policy::management())
        .token("less", Policy::management())
        .refusal(Duration::from_millis(50))
        .revocation(Duration::from_millis(300))
        .start()
        .await
        .unwrap();
    let mut gone = Stream::open_with(sim.addr(0), "", "gone").await;
    let mut less = Stream::open_with(sim.addr(0), "", "less").await;
    for stream in [&mut gone, &mut less] {
        assert_eq!(stream.next().await, Said::Line(b"{}".to_vec()));
    }
    let start = Instant::now();
    sim.revoke_token("gone");
    sim.set_token("less", Policy::read_jobs(&["*"]));
    sim.append_line(job_line(5, "default", "one")).await.unwrap();
    assert_eq!(less.next().await, Said::End(Vec::new()));
    assert_eq!(gone.next().await, Said::End(Vec::new()));
    assert!(start.elapsed() >= Duration::from_millis(300));
    sim.stop().await;
}

#[tokio::test]
async fn reads_on_an_event_can_see_the_state_before_it() {
    let sim = Sim::builder().commit_delay(Duration::from_millis(300)).start().await.unwrap();
    let mut stream = Stream::subscribe(sim.addr(0), "").await;
    let append = sim.append_line(job_line(5, "default", "one"));
    let look = async {
        assert_eq!(stream.next().await.index(), 5);
        get(sim.addr(0), "/v1/jobs").await.index
    };
    let (appended, index) = tokio::join!(append, look);
    appended.unwrap();
    assert_eq!(index, 0, "published, not yet committed");
    assert_eq!(get(sim.addr(0), "/v1/jobs").await.index, 5);
    sim.stop().await;
}

/// As Nomad 2.0.5 answers them: everybody may ask who they are, `agent:read` and `node:read` are needed for the rest.
#[tokio::test]
async fn an_agent_says_what_the_token_may_know() {
    let sim = Sim::builder().token("boss", Policy::management()).token("nodes", Policy::default().and_nodes());
    let sim = sim.buffer(250).start().await.unwrap();
    let anonymous = get(sim.addr(0), "/v1/acl/token/self").await.json();
    assert_eq!(anonymous["AccessorID"], "anonymous");
    assert_eq!(anonymous["Policies"], serde_json::json!(["anonymous"]));
    let own = get_with(sim.addr(0), "/v1/acl/token/self", "nodes").await.json();
    assert_eq!((&own["Type"], &own["Policies"]), (&"client".into(), &serde_json::json!(["sim"])));
    for (token, agent, members) in [("", 403, 403), ("nodes", 403, 200), ("boss", 200, 200)] {
        assert_eq!(get_with(sim.addr(0), "/v1/agent/self", token).await.status, agent, "{token}");
        assert_eq!(get_with(sim.addr(0), "/v1/agent/members", token).await.status, members, "{token}");
    }
    let agent = get_with(sim.addr(0), "/v1/agent/self", "boss").await.json();
    assert_eq!(
        agent["config"]["Server"],
        serde_json::json!({"Enabled": true, "EnableEventBroker": true, "EventBufferSize": 250})
    );
    sim.set_broker(Broker::Disabled);
    let agent = get_with(sim.addr(0), "/v1/agent/self", "boss").await.json();
    assert_eq!(agent["config"]["Server"]["EnableEventBroker"], false);
    let members = get_with(sim.addr(0), "/v1/agent/members", "nodes").await.json();
    assert_eq!(members["Members"][0]["Tags"]["build"], "2.0.5");
    sim.stop().await;
}
