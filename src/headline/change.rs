//! What a new version of a job changed, in words, from Nomad's own diff.
//!
//! Only values that people know a job by are shown: counts, images, drivers, resources, priorities. Of everything else, such
//! as environment variables, templates and arguments, only that it changed: it can hold secrets.

use serde_json::Value;

use super::{
    Headline,
    objects::{job_state, job_subject},
    words::{NAME, Parts, said, text},
};

/// The most changes that are named.
const MOST: usize = 8;
/// Fields of a job whose values are shown.
const OF_JOBS: [&str; 4] = ["Priority", "Type", "NodePool", "Region"];

impl Headline {
    /// The line of a job whose version changed. `diff` is Nomad's, if it is known.
    pub(crate) fn of_job(body: &Value, diff: Option<&Value>) -> Option<Headline> {
        let line = Headline::of_value(crate::kind::Kind::Jobs, body);
        let subject = job_subject(body)?;
        let state = job_state(body)?;
        let version = body["Version"].as_u64()?;
        let is_change = body["JobModifyIndex"].is_u64() && body["JobModifyIndex"] == body["ModifyIndex"];
        let parts = match diff {
            _ if !is_change || body["Deleted"] == true => return Some(line),
            None if version == 0 => Parts::of(["new".to_owned(), state]),
            None => return Some(line),
            Some(diff) => {
                let mut parts = Parts::default();
                if body["Stop"] == true {
                    parts.push(state);
                }
                parts.push(format!("version {version}"));
                parts.push(changes(diff).join(", "));
                parts
            }
        };
        let of_change = Headline::new(&subject, &parts);
        Some(Headline { time: line.time, ..of_change })
    }
}

/// The changes of a diff, the most important first.
pub(crate) fn changes(diff: &Value) -> Vec<String> {
    let mut all = Changes(Vec::new());
    let groups: Vec<_> = members(diff, "TaskGroups").filter(|group| is_changed(group)).collect();
    for group in &groups {
        let whose = if groups.len() > 1 { format!("{} ", name_of(group)) } else { String::new() };
        all.group(&whose, group);
    }
    for field in members(diff, "Fields").filter(|field| is_changed(field)) {
        match text(field, "Name").unwrap_or_default() {
            // The state of the job says so.
            "Stop" => {}
            name if OF_JOBS.contains(&name) => all.values("", &name.to_lowercase(), field),
            name => all.named("", &label(name), field),
        }
    }
    all.objects("", diff);
    let Changes(mut all) = all;
    if all.len() > MOST {
        let more = all.len() - MOST;
        all.truncate(MOST);
        all.push(format!("and {more} more"));
    }
    all
}

struct Changes(Vec<String>);

impl Changes {
    fn add(&mut self, change: String) {
        if !self.0.contains(&change) {
            self.0.push(change);
        }
    }

    /// `count 2 → 3`
    fn values(&mut self, whose: &str, what: &str, field: &Value) {
        let (old, new) = (value(field, "Old"), value(field, "New"));
        self.add(match (old.as_str(), new.as_str()) {
            ("", new) => format!("{whose}{what} {new}"),
            (_, "") => format!("{whose}{what} removed"),
            (old, new) => format!("{whose}{what} {old} → {new}"),
        });
    }

    /// `env.FOO changed`
    fn named(&mut self, whose: &str, what: &str, changed: &Value) {
        let how = match text(changed, "Type") {
            Some("Added") => "added",
            Some("Deleted") => "removed",
            _ => "changed",
        };
        self.add(format!("{whose}{what} {how}"));
    }

    fn objects(&mut self, whose: &str, of: &Value) {
        for object in members(of, "Objects").filter(|object| is_changed(object)) {
            self.named(whose, &label(text(object, "Name").unwrap_or("something")), object);
        }
    }

    fn group(&mut self, whose: &str, group: &Value) {
        if text(group, "Type") != Some("Edited") {
            return self.named("", &format!("group {}", name_of(group)), group);
        }
        for field in members(group, "Fields").filter(|field| is_changed(field)) {
            match text(field, "Name").unwrap_or_default() {
                "Count" => self.values(whose, "count", field),
                name => self.named(whose, &label(name), field),
            }
        }
        let tasks: Vec<_> = members(group, "Tasks").filter(|task| is_changed(task)).collect();
        for task in &tasks {
            let whose = if tasks.len() > 1 { format!("{whose}{} ", name_of(task)) } else { whose.to_owned() };
            self.task(&whose, task);
        }
        self.objects(whose, group);
    }

    fn task(&mut self, whose: &str, task: &Value) {
        if text(task, "Type") != Some("Edited") {
            return self.named(
                whose.trim_end_matches(&format!("{} ", name_of(task))),
                &format!("task {}", name_of(task)),
                task,
            );
        }
        for object in members(task, "Objects").filter(|object| is_changed(object)) {
            for field in members(object, "Fields").filter(|field| is_changed(field)) {
                match (text(object, "Name").unwrap_or_default(), text(field, "Name").unwrap_or_default()) {
                    ("Config", "image") => self.image(whose, field),
                    ("Config", name) => self.named(whose, &label(name), field),
                    ("Resources", "CPU") => self.values(whose, "CPU", field),
                    ("Resources", "MemoryMB") => self.values(whose, "memory (MB)", field),
                    (name, _) => self.named(whose, &label(name), object),
                }
            }
            if members(object, "Objects").any(is_changed) {
                self.named(whose, &label(text(object, "Name").unwrap_or("something")), object);
            }
        }
        for field in members(task, "Fields").filter(|field| is_changed(field)) {
            match text(field, "Name").unwrap_or_default() {
                "Driver" => self.values(whose, "driver", field),
                name => self.named(whose, &label(name), field),
            }
        }
    }

    /// `image nginx:1.25 → 1.27`: the name of an image is said once.
    fn image(&mut self, whose: &str, field: &Value) {
        let (old, new) = (value(field, "Old"), value(field, "New"));
        let parts = (old.rsplit_once(':'), new.rsplit_once(':'));
        match parts {
            (Some((before, _)), Some((after, tag))) if before == after && !tag.contains('/') => {
                self.add(format!("{whose}image {old} → {tag}"));
            }
            _ => self.values(whose, "image", field),
        }
    }
}

fn members<'a>(of: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    of[name].as_array().into_iter().flatten()
}

fn is_changed(part: &Value) -> bool {
    text(part, "Type").is_some_and(|kind| kind != "None")
}

fn name_of(part: &Value) -> String {
    said(text(part, "Name").unwrap_or("?"), NAME)
}

fn value(field: &Value, member: &str) -> String {
    text(field, member).map(|value| said(value, NAME)).unwrap_or_default()
}

/// `Env[FOO]` is `env.FOO`, `args[0]` is `args`, `RestartPolicy` is `restart policy`.
fn label(name: &str) -> String {
    let words = |name: &str| {
        let mut words = String::new();
        for c in name.chars() {
            if c.is_uppercase() && words.ends_with(|last: char| last.is_lowercase()) {
                words.push(' ');
            }
            words.push(c);
        }
        words.to_lowercase()
    };
    let label = match name.split_once('[').map(|(list, key)| (list, key.trim_end_matches(']'))) {
        Some((list, key)) if key.parse::<u32>().is_ok() => words(list),
        Some((list @ ("Env" | "Meta"), key)) => format!("{}.{key}", words(list)),
        Some((list, _)) => words(list),
        None => words(name),
    };
    said(&label, NAME)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn field(name: &str, old: &str, new: &str) -> Value {
        let kind = match (old, new) {
            ("", _) => "Added",
            (_, "") => "Deleted",
            _ => "Edited",
        };
        json!({"Type": kind, "Name": name, "Old": old, "New": new})
    }

    fn of_task(fields: &[Value], objects: &[Value]) -> Value {
        json!({"Type": "Edited", "TaskGroups": [{"Type": "Edited", "Name": "api", "Tasks":
            [{"Type": "Edited", "Name": "nginx", "Fields": fields, "Objects": objects}]}]})
    }

    #[test]
    fn changes_read_well_and_hide_values() {
        let count = json!({"Type": "Edited", "TaskGroups": [{"Type": "Edited", "Name": "api", "Fields": [field("Count", "2", "3")]}]});
        assert_eq!(changes(&count), ["count 2 → 3"]);
        let config = |fields: &[Value]| json!({"Type": "Edited", "Name": "Config", "Fields": fields});
        let diff = of_task(
            &[field("Env[TOKEN]", "hush", "hush2"), field("Env[NEW]", "", "hush"), field("Driver", "exec", "docker")],
            &[
                config(&[
                    field("image", "nginx:1.25", "nginx:1.27"),
                    field("args[0]", "a", "hush"),
                    field("args[1]", "", "b"),
                ]),
                json!({"Type": "Edited", "Name": "Template", "Fields": [field("EmbeddedTmpl", "hush", "hush3")]}),
                json!({"Type": "Edited", "Name": "Resources", "Fields": [field("CPU", "100", "200"), field("MemoryMB", "64", "128")]}),
            ],
        );
        assert_eq!(
            changes(&diff),
            [
                "image nginx:1.25 → 1.27",
                "args changed",
                "args added",
                "template changed",
                "CPU 100 → 200",
                "memory (MB) 64 → 128",
                "env.TOKEN changed",
                "env.NEW added",
                "and 1 more",
            ]
        );
        let other = of_task(&[], &[config(&[field("image", "nginx:1.25", "registry:5000/nginx")])]);
        assert_eq!(changes(&other), ["image nginx:1.25 → registry:5000/nginx"]);
    }

    #[test]
    fn groups_and_tasks_are_named_where_there_are_several() {
        let diff = json!({"Type": "Edited", "Fields": [field("Priority", "50", "70"), field("Meta[who]", "a", "b")],
        "Objects": [{"Type": "Added", "Name": "Constraint"}],
        "TaskGroups": [
            {"Type": "Edited", "Name": "api", "Fields": [field("Count", "1", "2")], "Objects": [{"Type": "Edited", "Name": "RestartPolicy"}]},
            {"Type": "Added", "Name": "db"},
            {"Type": "None", "Name": "cache"},
        ]});
        assert_eq!(
            changes(&diff),
            [
                "api count 1 → 2",
                "api restart policy changed",
                "group db added",
                "priority 50 → 70",
                "meta.who changed",
                "constraint added"
            ]
        );
    }

    #[test]
    fn a_job_says_what_became_of_it() {
        let job = |version: u64, index: u64, stop: bool| json!({"ID": "web", "Status": "pending", "Version": version, "Stop": stop, "JobModifyIndex": 7, "ModifyIndex": index});
        let diff = json!({"Type": "Edited", "TaskGroups": [{"Type": "Edited", "Name": "g", "Fields": [field("Count", "2", "3")]}]});
        let said = |body: &Value, diff: Option<&Value>| Headline::of_job(body, diff).expect("a line").text;
        assert_eq!(said(&job(0, 7, false), None), "new  pending");
        assert_eq!(said(&job(0, 9, false), None), "pending  version 0");
        assert_eq!(said(&job(3, 7, false), Some(&diff)), "version 3  count 2 → 3");
        assert_eq!(said(&job(3, 9, false), Some(&diff)), "pending  version 3");
        assert_eq!(said(&job(3, 7, true), Some(&json!({}))), "stopped  version 3");
    }

    proptest! {
        #[test]
        fn any_diff_is_safe(diff in super::super::tests::any_json(), body in super::super::tests::any_json()) {
            let all = changes(&diff);
            prop_assert!(all.len() <= MOST + 1 && all.iter().all(|change| !change.contains(char::is_control)));
            if let Some(line) = Headline::of_job(&body, Some(&diff)) {
                let text = line.to_string();
                prop_assert!(text.len() < 1024 && !text.contains(char::is_control));
            }
        }
    }
}
