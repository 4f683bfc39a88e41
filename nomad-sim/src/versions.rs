//! The versions of jobs, and the diff of each against the one before, after `Job.GetJobVersions` and `Job.Diff` of 2.0.5.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::object::{Body, Object};

/// How many versions of a job Nomad keeps (`job_tracked_versions`).
const KEPT: usize = 6;

/// What the diff of a job leaves out.
const NOT_COMPARED: [&str; 12] = [
    "ID",
    "Status",
    "StatusDescription",
    "Version",
    "Stable",
    "CreateIndex",
    "ModifyIndex",
    "JobModifyIndex",
    "Update",
    "SubmitTime",
    "NomadTokenID",
    "VaultToken",
];

/// The versions of all jobs.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// Newest first.
    jobs: HashMap<(Arc<str>, Arc<str>), Vec<Version>>,
}

/// Its number, and the job.
type Version = (u64, Arc<Object>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Facts {
    #[serde(default)]
    version: u64,
}

impl Versions {
    /// A job has changed: this is a new version of it, or another status of its newest one.
    pub(crate) fn job(&mut self, job: &Arc<Object>) {
        // A generated job is always in its first version.
        let version = match &job.body {
            Body::Raw(raw) => serde_json::from_slice::<Facts>(raw).map_or(0, |facts| facts.version),
            Body::Lazy(_) => 0,
        };
        let versions = self.jobs.entry((job.namespace.clone(), job.id.clone())).or_default();
        versions.retain(|(known, object)| *known < version && object.create_index == job.create_index);
        versions.insert(0, (version, job.clone()));
        versions.truncate(KEPT);
    }

    pub(crate) fn purge(&mut self, namespace: &Arc<str>, id: &Arc<str>) {
        self.jobs.remove(&(namespace.clone(), id.clone()));
    }

    /// The answer of `/v1/job/ID/versions`.
    pub(crate) fn answer(&self, job: &Object, diffs: bool) -> Bytes {
        let versions = self.jobs.get(&(job.namespace.clone(), job.id.clone()));
        let bodies: Vec<Bytes> = versions.into_iter().flatten().map(|(_, version)| version.body.bytes()).collect();
        let bodies = if bodies.is_empty() { vec![job.body.bytes()] } else { bodies };
        let diffs = if diffs && bodies.len() > 1 { all_diffs(&bodies) } else { Value::Null };
        let head = format!(
            r#"{{"Diffs":{diffs},"Index":{},"KnownLeader":true,"LastContact":0,"NextToken":"","Versions":["#,
            job.modify_index
        );
        Bytes::from([head.as_bytes(), &bodies.join(&b","[..]), b"]}"].concat())
    }
}

fn all_diffs(bodies: &[Bytes]) -> Value {
    let jobs: Vec<Value> = bodies.iter().map(|body| serde_json::from_slice(body).unwrap_or_default()).collect();
    jobs.windows(2).map(|pair| diff(&pair[1], &pair[0])).collect()
}

/// What became of the job `old`: its fields, the counts and names of its groups, and of their tasks the fields, the
/// environment and the configuration.
fn diff(old: &Value, new: &Value) -> Value {
    let fields = changed(&flat(old, &NOT_COMPARED), &flat(new, &NOT_COMPARED));
    let groups = pairs(&old["TaskGroups"], &new["TaskGroups"], |old, new| {
        let fields = changed(&flat(old, &[]), &flat(new, &[]));
        let tasks = pairs(&old["Tasks"], &new["Tasks"], task);
        json!({"Fields": fields, "Objects": null, "Tasks": tasks, "Updates": null})
    });
    let is_edited = !fields.is_null() || groups.as_array().is_some_and(|groups| groups.iter().any(is_changed));
    let kind = if is_edited { "Edited" } else { "None" };
    json!({"Fields": fields, "ID": new["ID"], "Objects": null, "TaskGroups": groups, "Type": kind})
}

fn task(old: &Value, new: &Value) -> Value {
    let fields = changed(&flat(old, &[]), &flat(new, &[]));
    let (before, after) = (flat_config(&old["Config"]), flat_config(&new["Config"]));
    let config = changed(&before, &after);
    let objects = match config.is_null() {
        true => Value::Null,
        // The context of a change is shown with it.
        false => {
            json!([{"Fields": fields_of(&before, &after, true), "Name": "Config", "Objects": null, "Type": "Edited"}])
        }
    };
    json!({"Annotations": null, "Fields": fields, "Objects": objects})
}

/// The groups or tasks of the same name, with their diff. The type of each follows from what it holds.
fn pairs(old: &Value, new: &Value, diff: impl Fn(&Value, &Value) -> Value) -> Value {
    let named = |list: &Value| -> BTreeMap<String, Value> {
        let list = list.as_array().cloned().unwrap_or_default();
        list.into_iter().map(|item| (item["Name"].as_str().unwrap_or_default().to_owned(), item)).collect()
    };
    let (old, new) = (named(old), named(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let each = names.into_iter().map(|name| {
        let (before, after) = (old.get(name), new.get(name));
        let mut diff = diff(before.unwrap_or(&Value::Null), after.unwrap_or(&Value::Null));
        diff["Name"] = json!(name);
        diff["Type"] = json!(match (before, after) {
            (None, _) => "Added",
            (_, None) => "Deleted",
            _ if !diff["Fields"].is_null() || !diff["Objects"].is_null() => "Edited",
            _ if diff["Tasks"].as_array().is_some_and(|tasks| tasks.iter().any(is_changed)) => "Edited",
            _ => "None",
        });
        diff
    });
    let each: Vec<Value> = each.collect();
    if each.is_empty() { Value::Null } else { each.into() }
}

fn is_changed(diff: &Value) -> bool {
    diff["Type"] != "None"
}

/// The primitive fields of an object, and those of its maps of text as `Env[NAME]`.
fn flat(object: &Value, left_out: &[&str]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for (name, value) in object.as_object().unwrap_or(&Map::new()) {
        if left_out.contains(&name.as_str()) || name == "Name" {
            continue;
        }
        match value {
            Value::Object(map) if matches!(name.as_str(), "Meta" | "Env") => {
                fields.extend(map.iter().map(|(key, value)| (format!("{name}[{key}]"), text(value))));
            }
            Value::Object(_) | Value::Array(_) | Value::Null => {}
            value => drop(fields.insert(name.clone(), text(value))),
        }
    }
    fields
}

/// The fields of a driver's configuration; a list has one for each element.
fn flat_config(config: &Value) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for (name, value) in config.as_object().unwrap_or(&Map::new()) {
        match value {
            Value::Array(list) => {
                fields.extend(list.iter().enumerate().map(|(at, value)| (format!("{name}[{at}]"), text(value))));
            }
            value => drop(fields.insert(name.clone(), text(value))),
        }
    }
    fields
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn changed(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Value {
    fields_of(old, new, false)
}

fn fields_of(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>, with_context: bool) -> Value {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let each = names.into_iter().filter_map(|name| {
        let (before, after) = (old.get(name), new.get(name));
        let kind = match (before, after) {
            (None, _) => "Added",
            (_, None) => "Deleted",
            _ if before == after => "None",
            _ => "Edited",
        };
        let value = |value: Option<&String>| value.cloned().unwrap_or_default();
        (with_context || kind != "None").then(
            || json!({"Annotations": null, "Name": name, "New": value(after), "Old": value(before), "Type": kind}),
        )
    });
    let each: Vec<Value> = each.collect();
    if each.is_empty() { Value::Null } else { each.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(version: u64, index: u64, created: u64, count: u64, image: &str) -> Arc<Object> {
        let task =
            json!({"Name": "t", "Driver": "docker", "Env": {"A": image}, "Config": {"args": ["x"], "image": image}});
        let body = json!({"ID": "a", "Namespace": "n", "Version": version, "CreateIndex": created, "ModifyIndex": index,
                          "JobModifyIndex": index, "TaskGroups": [{"Name": "g", "Count": count, "Tasks": [task]}]});
        Arc::new(Object::from_json(Body::Raw(body.to_string().into())).unwrap())
    }

    fn answer(jobs: &[Arc<Object>]) -> Value {
        let mut versions = Versions::default();
        jobs.iter().for_each(|job| versions.job(job));
        serde_json::from_slice(&versions.answer(jobs.last().unwrap(), true)).unwrap()
    }

    fn numbers(answer: &Value) -> Vec<u64> {
        answer["Versions"].as_array().unwrap().iter().map(|version| version["Version"].as_u64().unwrap()).collect()
    }

    /// These are what Nomad 2.0.5 answers for such jobs.
    #[test]
    fn a_diff_names_what_changed() {
        let answer = answer(&[job(0, 1, 1, 1, "web:1"), job(1, 2, 1, 3, "web:1"), job(2, 3, 1, 3, "web:2")]);
        assert_eq!(numbers(&answer), [2, 1, 0]);
        let count = json!({"Annotations": null, "Name": "Count", "New": "3", "Old": "1", "Type": "Edited"});
        let group = &answer["Diffs"][1]["TaskGroups"][0];
        assert_eq!((&group["Type"], &group["Fields"]), (&json!("Edited"), &json!([count])));
        assert_eq!(group["Tasks"][0]["Type"], "None");
        let task = &answer["Diffs"][0]["TaskGroups"][0]["Tasks"][0];
        assert_eq!(task["Fields"][0]["Name"], "Env[A]");
        let config = &task["Objects"][0];
        assert_eq!((&config["Name"], &config["Fields"][0]["Type"]), (&json!("Config"), &json!("None")));
        let image = json!({"Annotations": null, "Name": "image", "New": "web:2", "Old": "web:1", "Type": "Edited"});
        assert_eq!(config["Fields"][1], image);
    }

    #[test]
    fn six_versions_of_one_job_are_kept() {
        let jobs: Vec<_> = (0..9).map(|version| job(version, version + 1, 1, version, "web:1")).collect();
        assert_eq!(numbers(&answer(&jobs)), [8, 7, 6, 5, 4, 3]);
        let again = job(0, 20, 20, 1, "web:1");
        assert_eq!(numbers(&answer(&[jobs, vec![again]].concat())), [0]);
    }

    #[test]
    fn another_status_is_no_version() {
        let answer = answer(&[job(0, 1, 1, 1, "web:1"), job(0, 2, 1, 1, "web:1")]);
        assert_eq!((numbers(&answer), &answer["Diffs"]), (vec![0], &Value::Null));
        assert_eq!(answer["Versions"][0]["ModifyIndex"], 2);
    }
}
