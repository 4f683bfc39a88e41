//! Both sources side by side on random histories: what lists bring the stream brings too, under the same ids, and what
//! only the stream brings is what no list shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nomad_sim::{Broker, Kind, Sim};
use serde_json::{Value, json};

use crate::common::{
    seed,
    server::{Reply, Server},
};
use crate::support::*;

const HISTORIES: usize = 6;
const ENTRIES: u64 = 120;
/// How many objects of each kind there are.
const OBJECTS_OF_A_KIND: u64 = 5;

/// A cluster that does what it likes.
struct World {
    random: fastrand::Rng,
    index: u64,
    /// The newest object under each topic and number.
    objects: BTreeMap<(&'static str, u64), Value>,
    /// Those that are stood by at this index. No transaction stands by an object first and changes it then.
    stood_by: BTreeSet<(&'static str, u64)>,
}

const TOPICS: [&str; 5] = ["Job", "Node", "Evaluation", "Deployment", "Allocation"];

impl World {
    /// The lines of the next index; `None` for one that garbage collection has, of this kind and id.
    fn next(&mut self) -> Result<Vec<String>, (Kind, String)> {
        self.index += self.random.u64(1..4);
        self.stood_by.clear();
        if self.random.u8(..) < 16 {
            let n = self.random.u64(0..OBJECTS_OF_A_KIND);
            if let Some(gone) = self.objects.remove(&("Evaluation", n)) {
                return Err((Kind::Evaluation, gone["ID"].as_str().expect("an id").to_owned()));
            }
        }
        let lines = 1 + usize::from(self.random.u8(..) < 40);
        Ok((0..lines).map(|_| self.line()).collect())
    }

    fn line(&mut self) -> String {
        let mut events = Vec::new();
        let mut met = BTreeSet::new();
        for _ in 0..self.random.usize(1..4) {
            let (topic, n) = (self.random.choice(TOPICS).expect("some"), self.random.u64(0..OBJECTS_OF_A_KIND));
            if met.insert((topic, n)) && !self.stood_by.contains(&(topic, n)) {
                events.push(self.event(topic, n));
            }
        }
        json!({"Index": self.index, "Events": events}).to_string()
    }

    fn event(&mut self, topic: &'static str, n: u64) -> Value {
        let known = self.objects.get(&(topic, n)).cloned();
        let dice = self.random.u8(..);
        // Changes that leave the `ModifyIndex`, and objects that are only stood by.
        if let Some(mut object) = known.clone()
            && dice < 50
        {
            self.stood_by.insert((topic, n));
            match topic {
                "Node" if dice < 25 => {
                    object["LastAllocUpdateIndex"] = json!(self.index);
                    return self.publish(topic, n, "AllocationUpdated", object);
                }
                "Node" => {
                    object["Status"] = json!(format!("healthy-{}", self.index));
                    return self.publish(topic, n, "NodeStreamEvent", object);
                }
                "Evaluation" => {
                    object["Status"] = json!(format!("complete-{}", self.index));
                    return self.publish(topic, n, "EvaluationUpdated", object);
                }
                "Job" | "Deployment" => return self.publish(topic, n, "PlanResult", object),
                _ => {}
            }
        }
        if topic == "Job"
            && dice > 230
            && let Some(job) = known
        {
            return self.purge(n, job);
        }
        let created = known.as_ref().map_or(self.index, |object| object["CreateIndex"].as_u64().expect("an index"));
        let mut object = json!({
            "ID": format!("{}-{created:04}-{n:04}", topic.to_lowercase()), "Namespace": "default", "JobID": "job",
            "CreateIndex": created, "ModifyIndex": self.index, "Name": format!("{}", self.random.u32(..)),
            "Status": "running",
        });
        let own = match topic {
            "Job" => json!({"TaskGroups": null, "Type": "service"}),
            "Node" => json!({"SchedulingEligibility": "eligible", "LastAllocUpdateIndex": 0}),
            "Evaluation" => json!({"TriggeredBy": "test"}),
            "Deployment" => json!({"TaskGroups": {}, "JobSpecModifyIndex": 1}),
            _ => self.task_events(known.as_ref()),
        };
        let members = own.as_object().expect("members").clone();
        object.as_object_mut().expect("an object").extend(members);
        if topic == "Node" {
            object.as_object_mut().expect("an object").remove("Namespace");
        }
        self.publish(topic, n, "Updated", object)
    }

    /// One more event of the one task: never more than the ten that are kept.
    fn task_events(&mut self, known: Option<&Value>) -> Value {
        let mut events = known.map_or(json!([]), |object| object["TaskStates"]["task"]["Events"].clone());
        let list = events.as_array_mut().expect("a list");
        if list.len() < 10 {
            // Clocks go back.
            list.push(json!({"Type": format!("T{}", self.index), "Time": self.random.u32(1..), "Details": {}}));
        }
        json!({"ClientStatus": "running", "TaskGroup": "g", "AllocModifyIndex": 1,
               "TaskStates": {"task": {"State": "running", "Failed": false, "Events": events}}})
    }

    fn publish(&mut self, topic: &'static str, n: u64, kind: &str, object: Value) -> Value {
        self.objects.insert((topic, n), object.clone());
        event(topic, kind, self.index, json!({topic: object}), false)
    }

    fn purge(&mut self, n: u64, object: Value) -> Value {
        self.objects.remove(&("Job", n));
        event("Job", "JobDeregistered", self.index, json!({"Job": object}), true)
    }
}

fn event(topic: &str, kind: &str, index: u64, mut payload: Value, deleted: bool) -> Value {
    if deleted {
        payload["Deleted"] = json!(true);
    }
    let object = &payload[topic];
    let namespace = object["Namespace"].as_str().unwrap_or_default().to_owned();
    json!({"Topic": topic, "Type": kind, "Key": object["ID"], "Namespace": namespace, "FilterKeys": null,
           "Index": index, "Payload": payload})
}

/// A record as the sink got it.
#[derive(Clone, Debug)]
struct Got {
    kind: String,
    /// Of an object: the raft index, the occurrence within it, and the rest of the id.
    index: u64,
    occurrence: u64,
    key: String,
    body: Value,
}

fn got(server: &Server) -> BTreeMap<String, Got> {
    let (ids, bodies) = (server.keys(), server.taken());
    let mut all = BTreeMap::new();
    for (id, mut body) in ids.into_iter().zip(bodies) {
        let mut parts = id.splitn(4, '/');
        let kind = parts.next().expect("a kind").to_owned();
        let (mut index, mut occurrence, mut key) = (0, 0, id.clone());
        if kind != "allocations" {
            index = parts.next().expect("an index").parse().expect("an index");
            occurrence = parts.next().expect("an occurrence").parse().expect("an occurrence");
            key = parts.next().expect("a key").to_owned();
            // What changes without a version: it is read when the record is made.
            for late in ["JobSummary", "LastAllocUpdateIndex"] {
                body.as_object_mut().expect("an object").remove(late);
            }
        }
        let repeated = all.insert(id.clone(), Got { kind, index, occurrence, key, body });
        assert!(repeated.is_none(), "{id} came twice");
    }
    all
}

/// Polls like the stream, but for what no list shows.
fn assert_explained(polled: &BTreeMap<String, Got>, streamed: &BTreeMap<String, Got>, shown: &BTreeSet<Version>) {
    for (id, poll) in polled {
        assert!(streamed.contains_key(id), "only lists bring {id}");
        if poll.kind == "allocations" {
            assert_eq!(poll.body["TaskEvent"], streamed[id].body["TaskEvent"], "{id}");
            continue;
        }
        // Of several bodies at one `ModifyIndex` a list has the newest there is.
        let same = |other: &Got| other.kind == poll.kind && other.key == poll.key && other.body == poll.body;
        assert!(streamed.values().any(same), "{id}: no stream brings {}", poll.body);
        assert_eq!((poll.index, poll.occurrence), (poll.body["ModifyIndex"].as_u64().expect("an index"), 0), "{id}");
    }
    let mut unseen = BTreeMap::<&str, usize>::new();
    for (id, stream) in streamed.iter().filter(|(id, _)| !polled.contains_key(*id)) {
        let newer = |other: &Got| {
            other.kind == stream.kind
                && other.key == stream.key
                && other.index > stream.index
                && other.body["ModifyIndex"].as_u64() == Some(other.index)
        };
        let (namespace, name) = stream.key.split_once('/').unwrap_or_default();
        let is_there = shown.iter().any(|version| {
            version.kind == stream.kind
                && version.key == format!("{namespace} {name}")
                && version.version == stream.index.to_string()
        });
        let why = match () {
            () if stream.kind == "allocations" => panic!("lists do not bring {id}"),
            () if stream.body["Deleted"] == true => "a purge",
            () if stream.body["ModifyIndex"] != stream.index => "the index stayed",
            () if stream.occurrence > 0 => "two at one index",
            () if streamed.values().any(newer) => "a version in between",
            () if !is_there => "gone before it was listed",
            () => panic!("lists do not bring {id}: {}", stream.body),
        };
        *unseen.entry(why).or_default() += 1;
    }
    println!("{} polled, {} streamed; not seen by lists: {unseen:?}", polled.len(), streamed.len());
}

async fn side_by_side(seed: u64) {
    let mut world = World {
        random: fastrand::Rng::with_seed(seed),
        index: 10,
        objects: BTreeMap::new(),
        stood_by: BTreeSet::new(),
    };
    let streaming = Sim::builder().buffer(10_000).start().await.expect("the simulator starts");
    let polling = Sim::builder().buffer(10_000).start().await.expect("the simulator starts");
    polling.set_broker(Broker::Missing);
    let (streamed, polled) = (Server::start(|_| Reply::Take).await, Server::start(|_| Reply::Take).await);
    let start = |sim: &Sim, server: &Server| {
        let setup = setup(sim).env("SINK_TYPE", "http").env("SINK_HTTP_ADDRESS", server.url());
        setup.env("SINK_WORKER_COUNT", "1").spawn()
    };
    let (stream, poll) = (start(&streaming, &streamed), start(&polling, &polled));
    stream.until_logged("subscribed").await;
    poll.until_logged(POLLING).await;
    for _ in 0..ENTRIES {
        let next = world.next();
        for sim in [&streaming, &polling] {
            match &next {
                Ok(lines) => sim.append_lines(lines.iter().cloned()).await.expect("lines of a stream"),
                Err((kind, id)) => sim.remove(*kind, "default", id).await,
            }
        }
        if world.random.u8(..) < 40 {
            tokio::time::sleep(Duration::from_millis(world.random.u64(0..150))).await;
        }
    }
    world.index += 1;
    for topic in TOPICS {
        let last = world.event(topic, OBJECTS_OF_A_KIND + 1);
        let line = json!({"Index": world.index, "Events": [last]}).to_string();
        for sim in [&streaming, &polling] {
            sim.append_line(line.clone()).await.expect("a line of a stream");
        }
    }
    let shown = shown(&polling, "default").await;
    let has_all = |server: &Server| {
        let got = got(server);
        let versions: BTreeSet<_> = got.values().map(version).collect();
        shown.is_subset(&versions)
    };
    stream.until("the stream has all", || has_all(&streamed)).await;
    poll.until("lists have all", || has_all(&polled)).await;
    stream.stop().await;
    poll.stop().await;
    assert_explained(&got(&polled), &got(&streamed), &shown);
}

fn version(got: &Got) -> Version {
    let mut body = got.body.clone();
    if got.kind == "jobliststubs" {
        // It is what tells them from jobs.
        body["JobSummary"] = Value::Null;
    }
    versions(&[body.to_string()]).pop().expect("one record")
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_bring_what_the_stream_brings_but_for_what_they_do_not_show() {
    let mut random = fastrand::Rng::with_seed(seed());
    for _ in 0..HISTORIES {
        side_by_side(random.u64(..)).await;
    }
}
