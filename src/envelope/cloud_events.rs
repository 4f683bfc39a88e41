//! The attributes of a CloudEvent 1.0 (<https://github.com/cloudevents/spec>).
//!
//! | attribute | |
//! |---|---|
//! | `specversion` | `1.0` |
//! | `id` | the record's id: the same after a restart and from another replica |
//! | `source` | `/nomad/CLUSTER/KIND`; without a label of the cluster its region, or else `-` |
//! | `type` | see [`kind_type`] |
//! | `subject` | `NAMESPACE/JOB`, or the object's own key where it belongs to no job |
//! | `time` | when it happened, where the record says it |
//! | `datacontenttype` | `application/json` |
//! | `partitionkey` | the record's key: events of one key arrive in order |
//! | `nomadkind`, `nomadnamespace`, `nomadjob`, `nomadnode`, `nomadindex`, `nomadcluster`, `nomadregion` | as in `$meta`, where known. The index is a text: an integer of a CloudEvent has 32 bits |

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{kind::Kind, meta::Meta, record::Attributes};

/// What a segment of a URI's path carries as it is (RFC 3986, "unreserved").
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The attributes of the event, and of its data, as JSON has them.
pub(super) fn structured(meta: &Meta<'_>, key: &str) -> Attributes {
    let mut attributes = attributes(meta, key);
    attributes.insert("datacontenttype".to_owned(), "application/json".to_owned());
    attributes
}

/// The attributes without the type of the data, which is a header of its own everywhere.
pub(super) fn attributes(meta: &Meta<'_>, key: &str) -> Attributes {
    let place = meta.cluster.or(meta.region).unwrap_or("-");
    let subject = match (meta.namespace, meta.job) {
        (Some(namespace), Some(job)) => Cow::Owned(format!("{namespace}/{job}")),
        (None, Some(job)) => Cow::Borrowed(job),
        (_, None) => Cow::Borrowed(key.trim_start_matches('/')),
    };
    let (source, index) = (source(place, meta.kind), meta.index.to_string());
    let time = meta.time.map(|time| time.to_string());
    let all = [
        ("specversion", Some("1.0")),
        ("id", Some(meta.id)),
        ("source", Some(&*source)),
        ("type", Some(kind_type(meta.kind))),
        ("subject", Some(&*subject)),
        ("time", time.as_deref()),
        ("partitionkey", Some(key)),
        ("nomadkind", Some(meta.kind.name())),
        ("nomadnamespace", meta.namespace),
        ("nomadjob", meta.job),
        ("nomadnode", meta.node),
        ("nomadindex", Some(&*index)),
        ("nomadcluster", meta.cluster),
        ("nomadregion", meta.region),
    ]
    .map(|(name, value)| (name, value.filter(|value| !value.is_empty())));
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), permitted(value?)))).collect()
}

fn source(place: &str, kind: Kind) -> String {
    let place = match place {
        // These two mean another path, however they are written: a URI is made shorter by them.
        "." | ".." => format!("{place}-").into(),
        place => Cow::from(utf8_percent_encode(place, SEGMENT)),
    };
    format!("/nomad/{place}/{kind}")
}

/// The event's type.
pub(super) const fn kind_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Allocations => "nomad-firehose.allocation.task-event",
        Kind::Nodes => "nomad-firehose.node.version",
        Kind::Evaluations => "nomad-firehose.evaluation.version",
        Kind::Jobs => "nomad-firehose.job.version",
        Kind::JobListStubs => "nomad-firehose.job.stub",
        Kind::Deployments => "nomad-firehose.deployment.version",
        Kind::Events => "nomad-firehose.event",
    }
}

/// The text with every character that a CloudEvent's string must not have (section "Type System") written as `%XX`.
fn permitted(text: &str) -> String {
    let is_forbidden =
        |c: char| c.is_control() || matches!(u32::from(c), 0xfdd0..=0xfdef) || u32::from(c) & 0xfffe == 0xfffe;
    let mut permitted = String::with_capacity(text.len());
    for c in text.chars() {
        if is_forbidden(c) {
            permitted.extend(utf8_percent_encode(c.encode_utf8(&mut [0; 4]), NON_ALPHANUMERIC));
        } else {
            permitted.push(c);
        }
    }
    permitted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn meta<'a>(kind: Kind) -> Meta<'a> {
        let (id, index) = ("jobs/7/0/default/web", 1 << 40);
        Meta { kind, id, namespace: None, job: None, node: None, index, cluster: None, region: None, time: None }
    }

    #[test]
    fn the_source_names_the_cluster_or_else_its_region() {
        for (cluster, region, source) in [
            (Some("prod"), Some("eu"), "/nomad/prod/jobs"),
            (None, Some("eu"), "/nomad/eu/jobs"),
            (None, None, "/nomad/-/jobs"),
            (Some("eu west/1"), None, "/nomad/eu%20west%2F1/jobs"),
            (Some(".."), None, "/nomad/..-/jobs"),
        ] {
            let attributes = attributes(&Meta { cluster, region, ..meta(Kind::Jobs) }, "default/web");
            assert_eq!(attributes["source"], source);
        }
    }

    #[test]
    fn the_subject_is_the_job_or_else_the_object() {
        for (namespace, job, key, subject) in [
            (Some("default"), Some("web"), "5cc1", "default/web"),
            (None, Some("web"), "5cc1", "web"),
            (None, None, "/b63b6b08", "b63b6b08"),
            (Some("late"), None, "Service/late/web", "Service/late/web"),
        ] {
            assert_eq!(attributes(&Meta { namespace, job, ..meta(Kind::Events) }, key)["subject"], subject);
        }
        assert_eq!(attributes(&meta(Kind::Nodes), "").get("subject"), None);
    }

    #[test]
    fn a_control_character_is_written_out() {
        let event = Meta { job: Some("a\u{1}\u{85}\u{fdd0}\u{1fffe}é%"), ..meta(Kind::Jobs) };
        assert_eq!(attributes(&event, "k")["nomadjob"], "a%01%C2%85%EF%B7%90%F0%9F%BF%BEé%");
    }

    proptest! {
        #[test]
        fn any_names_give_valid_attributes(
            texts in prop::array::uniform4("\\PC{0,12}|[\\x00-\u{9f}/.%]{0,6}"),
            kind in prop::sample::select(Kind::ALL.to_vec()),
        ) {
            let [job, node, cluster, key] = &texts;
            prop_assume!(!cluster.is_empty());
            let event = Meta { job: Some(job), node: Some(node), cluster: Some(cluster), ..meta(kind) };
            for (name, value) in attributes(&event, key) {
                prop_assert!(!name.is_empty() && name.len() <= 20, "{}", name);
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{}", name);
                prop_assert!(!value.is_empty() && !value.chars().any(char::is_control), "{}: {:?}", name, value);
                if name == "source" {
                    let base = reqwest::Url::parse("http://a/").expect("a URL");
                    let resolved = base.join(&value).expect("a URI reference");
                    prop_assert_eq!(resolved.path(), value);
                }
            }
        }
    }
}
