//! A record as two lines of a bulk request: what to do, and the document.

use std::{borrow::Cow, time::SystemTime};

use serde::Serialize;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::xxh3_128;

use super::Layout;
use crate::{meta, record::Record};

/// The most bytes of an `_id`.
const ID: usize = 512;

/// The most bytes of the name of an index.
const INDEX: usize = 255;

/// The first line. With `create`, a document that is there already stays as it is.
#[derive(Serialize)]
struct Action<'a> {
    create: Create<'a>,
}

#[derive(Serialize)]
struct Create<'a> {
    _index: &'a str,
    _id: &'a str,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "@timestamp")]
    timestamp: &'a str,
    nomad: Nomad<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
}

/// What is known about the record beside its body.
#[derive(Serialize)]
struct Nomad<'a> {
    id: &'a str,
    key: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    job: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    node: &'a str,
    index: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a str>,
}

/// How documents are written.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) layout: Layout,
    pub(super) cluster: Option<String>,
}

impl Writer {
    /// Adds the lines of `record`.
    pub(super) fn write(&self, record: &Record, index: &str, sent: SystemTime, out: &mut Vec<u8>) {
        let id = id(&record.id, self.cluster.as_deref());
        line(out, &Action { create: Create { _index: index, _id: &id } });
        let timestamp = match meta::time(record) {
            Some(time) => time.to_string(),
            None => humantime::format_rfc3339_nanos(sent).to_string(),
        };
        if self.layout == Layout::Document && is_object(&record.body) {
            whole(&record.body, &timestamp, out);
            return;
        }
        let text = String::from_utf8_lossy(&record.body);
        let body = (self.layout == Layout::Nested).then(|| serde_json::from_str::<&RawValue>(&text).ok()).flatten();
        let message = body.is_none().then_some(Cow::Borrowed(&*text));
        let nomad = Nomad {
            id: &record.id,
            key: &record.key,
            kind: record.kind.name(),
            namespace: &record.namespace,
            job: &record.job,
            node: &record.node,
            index: record.index.0,
            cluster: self.cluster.as_deref(),
        };
        line(out, &Document { timestamp: &timestamp, nomad, body, message });
    }
}

/// Adds one line of JSON.
fn line(out: &mut Vec<u8>, value: &impl Serialize) {
    // Writing into memory, these types cannot fail.
    serde_json::to_writer(&mut *out, value).ok();
    out.push(b'\n');
}

fn is_object(body: &[u8]) -> bool {
    body.first() == Some(&b'{') && body.last() == Some(&b'}')
}

/// The record itself, with a time if it has none.
fn whole(body: &[u8], timestamp: &str, out: &mut Vec<u8>) {
    let rest = &body[1..];
    if memchr::memmem::find(body, b"\"@timestamp\"").is_some() {
        out.extend_from_slice(body);
    } else {
        out.extend_from_slice(b"{\"@timestamp\":\"");
        out.extend_from_slice(timestamp.as_bytes());
        out.extend_from_slice(if rest.trim_ascii_start() == b"}" { b"\"" } else { b"\"," });
        out.extend_from_slice(rest);
    }
    out.push(b'\n');
}

/// The record's id, behind the label of the cluster if there is one, or if that is longer than an `_id` may be, a hash of it. Ids are
/// unique within a cluster, and clusters can share an index.
fn id<'a>(id: &'a str, cluster: Option<&str>) -> Cow<'a, str> {
    let id = cluster.map_or(Cow::Borrowed(id), |cluster| Cow::Owned(format!("{cluster}/{id}")));
    if id.len() <= ID { id } else { Cow::Owned(format!("xxh3-{:032x}", xxh3_128(id.as_bytes()))) }
}

/// A name that an index may have: lower case, without the characters that are not allowed, and short enough.
pub(super) fn index_name(text: &str) -> String {
    let allowed = |c: char| match c {
        '\\' | '/' | '*' | '?' | '"' | '<' | '>' | '|' | ' ' | ',' | '#' | ':' => '-',
        c if c.is_control() => '-',
        c => c,
    };
    let name: String = text.to_lowercase().chars().map(allowed).collect();
    let name = name.trim_start_matches(['-', '_', '+', '.']);
    name[..name.floor_char_boundary(INDEX)].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{delivery::testing::Book, record::Time};

    fn written(layout: Layout, body: &str) -> (Value, Value) {
        let record = Record { time: Time::new(1_700_000_000_123_456_789), ..Book::new().record("a", body.to_owned()) };
        let mut out = Vec::new();
        Writer { layout, cluster: Some("eu".to_owned()) }.write(&record, "nomad-jobs", SystemTime::now(), &mut out);
        let text = String::from_utf8(out).expect("UTF-8");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((lines.len(), text.ends_with('\n')), (2, true));
        (lines[0].clone(), lines[1].clone())
    }

    #[test]
    fn documents_have_the_id_the_time_and_the_record() {
        let (action, document) = written(Layout::Nested, r#"{"ID":"web"}"#);
        assert_eq!(action, serde_json::json!({"create": {"_index": "nomad-jobs", "_id": "eu/a/1"}}));
        assert_eq!(document["@timestamp"], "2023-11-14T22:13:20.123456789Z");
        let nomad = serde_json::json!({"id": "a/1", "key": "a", "kind": "jobs", "namespace": "default", "index": 1, "cluster": "eu"});
        assert_eq!((&document["nomad"], &document["body"]["ID"]), (&nomad, &Value::from("web")));
        let (_, document) = written(Layout::Text, r#"{"ID":"web"}"#);
        assert_eq!((&document["message"], document.get("body")), (&Value::from(r#"{"ID":"web"}"#), None));
        let (_, document) = written(Layout::Document, r#"{"ID":"web"}"#);
        let wanted = serde_json::json!({"@timestamp": "2023-11-14T22:13:20.123456789Z", "ID": "web"});
        assert_eq!(document, wanted);
        assert_eq!(
            written(Layout::Document, "{}").1,
            serde_json::json!({"@timestamp": "2023-11-14T22:13:20.123456789Z"})
        );
        assert_eq!(written(Layout::Document, r#"{"@timestamp":1}"#).1, serde_json::json!({"@timestamp": 1}));
        // What is no object has to be in one.
        assert_eq!(written(Layout::Document, "[1]").1["message"], "[1]");
    }

    #[test]
    fn a_long_id_is_hashed() {
        assert_eq!(id("jobs/web", None), "jobs/web");
        let long = "x".repeat(513);
        assert!(id(&long, None).starts_with("xxh3-") && id(&long, None) != id(&"x".repeat(514), None));
        // The label counts.
        let fits = "x".repeat(510);
        assert_eq!(id(&fits, Some("a")), format!("a/{fits}"));
        assert!(id(&fits, Some("eu")).starts_with("xxh3-") && id(&fits, Some("eu")) != id(&fits, Some("us")));
    }

    /// A document that is there counts as delivered: a cluster must not find that of another one.
    #[test]
    fn clusters_that_share_an_index_have_ids_of_their_own() {
        let ids = [None, Some("eu"), Some("us")].map(|cluster| id("jobs/14/0/default/web", cluster));
        assert_eq!(ids, ["jobs/14/0/default/web", "eu/jobs/14/0/default/web", "us/jobs/14/0/default/web"]);
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_name_or_nothing(text in "\\PC{0,300}|[-_+./A-Z\"*?\\x00 ]{0,12}") {
            let name = index_name(&text);
            prop_assert!(name.len() <= 255 && !name.starts_with(['-', '_', '+', '.']));
            prop_assert!(!name.contains(['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':', '\0']));
            prop_assert_eq!(index_name(&name), name);
        }
    }
}
