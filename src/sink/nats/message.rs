//! The headers of a record.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    kind::Kind,
    record::{Envelope, Record},
};

/// What the NATS binding of CloudEvents 1.0.2 has percent-encoded in values (section 3.1.3.2), beside everything outside of ASCII.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The headers of `record`, with the empty line that ends them.
pub(super) fn headers(record: &Record, stream: Option<&str>, cluster: Option<&str>) -> Vec<u8> {
    let mut out = String::from("NATS/1.0\r\n");
    let mut header = |name: &str, value: &str| {
        if !value.is_empty() {
            out.extend([name, ": ", value, "\r\n"]);
        }
    };
    header("Nats-Msg-Id", &message_id(record, cluster));
    header("Nats-Expected-Stream", stream.unwrap_or_default());
    let Record { kind, namespace, job, .. } = record;
    let content_type = match &record.envelope {
        Envelope::CloudEvent => "application/cloudevents+json",
        Envelope::None | Envelope::Attributes(_) => "application/json",
    };
    header("Content-Type", content_type);
    for (name, value) in
        [("kind", Kind::name(*kind)), ("namespace", namespace), ("job", job), ("cluster", cluster.unwrap_or_default())]
    {
        header(name, &escaped(value));
    }
    if let Envelope::Attributes(attributes) = &record.envelope {
        header("ce-datacontenttype", "application/json");
        for (name, value) in attributes.iter() {
            header(&format!("ce-{}", escaped(name).replace(':', "%3A")), &escaped(value));
        }
    }
    out.push_str("\r\n");
    out.into_bytes()
}

/// The record's id, behind the label of the cluster if there is one, or a hash of what no header can hold. Ids are unique within a
/// cluster, and clusters can share a stream, which drops what has the id of another message.
fn message_id<'a>(record: &'a Record, cluster: Option<&str>) -> Cow<'a, str> {
    let id = &*record.id;
    let id = cluster.map_or(Cow::Borrowed(id), |cluster| Cow::Owned(format!("{cluster}/{id}")));
    if id.chars().any(char::is_control) || id.trim() != id {
        return Cow::Owned(format!("xxh3-{:032x}", xxh3_128(id.as_bytes())));
    }
    id
}

fn escaped(value: &str) -> Cow<'_, str> {
    Cow::from(utf8_percent_encode(value, ESCAPED))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::testing::Book;

    fn text(record: &Record) -> String {
        String::from_utf8(headers(record, Some("N"), Some("eu \u{e9}"))).expect("UTF-8")
    }

    #[test]
    fn a_record_has_its_id_and_what_is_known_of_it() {
        let mut record = Book::new().record("web", "{}");
        record.job = "web".into();
        record.id = "jobs/default/web/7".into();
        let start =
            "NATS/1.0\r\nNats-Msg-Id: eu \u{e9}/jobs/default/web/7\r\nNats-Expected-Stream: N\r\nContent-Type: ";
        let rest = "\r\nkind: jobs\r\nnamespace: default\r\njob: web\r\ncluster: eu%20%C3%A9\r\n";
        assert_eq!(text(&record), format!("{start}application/json{rest}\r\n"));
        record.envelope = Envelope::CloudEvent;
        assert_eq!(text(&record), format!("{start}application/cloudevents+json{rest}\r\n"));
        let attributes = [("subject".to_owned(), "Euro \u{20ac} \u{1f600}".to_owned())];
        record.envelope = Envelope::Attributes(Box::new(attributes.into()));
        let attributes = "ce-datacontenttype: application/json\r\nce-subject: Euro%20%E2%82%AC%20%F0%9F%98%80\r\n";
        assert_eq!(text(&record), format!("{start}application/json{rest}{attributes}\r\n"));
    }

    /// A stream drops what has the id of another message: a cluster must not use that of another one.
    #[test]
    fn clusters_that_share_a_stream_have_ids_of_their_own() {
        let record = Book::new().record("web", "{}");
        let ids = [None, Some("eu"), Some("us")].map(|cluster| message_id(&record, cluster));
        assert_eq!(ids, ["web/1", "eu/web/1", "us/web/1"]);
    }

    proptest! {
        #[test]
        fn no_value_makes_a_header_of_its_own(id in "\\PC{1,9}|[ \\r\\na]{1,6}", job in "[ \\r\\n\u{85}:a]{0,6}", name in "[\\r\\n: a]{1,4}") {
            let mut record = Book::new().record("web", "{}");
            record.id = id.into();
            record.job = job.as_str().into();
            record.envelope = Envelope::Attributes(Box::new([(name, job.clone())].into()));
            let text = text(&record);
            let lines: Vec<&str> = text.split("\r\n").collect();
            let count = 10 + 2 * usize::from(!job.is_empty());
            prop_assert_eq!(lines.len(), count, "{}", text);
            prop_assert!(lines[1..count - 2].iter().all(|line| line.contains(": ") && !line.contains(['\r', '\n'])), "{}", text);
        }
    }
}
