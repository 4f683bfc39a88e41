//! The attributes of a message beside its body, for the services that have them.

use std::borrow::Cow;

use super::names;
use crate::record::{Envelope, Record};

/// The most attributes of a message. A topic takes more, but the queues that it fills take no more either.
const MOST: usize = 10;

/// Before the name of a CloudEvent's attribute in binary mode. The services have no binding of their own; this is that of HTTP.
const PREFIX: &str = "ce-";

/// What is left out first if a CloudEvent has more attributes than a message: other attributes say the first two as well.
const LEFT_OUT: [&str; 4] = ["nomadkind", "nomadcluster", "nomadregion", "nomadnode"];

/// The media type of a body that is a whole CloudEvent.
const CLOUD_EVENT: &str = "application/cloudevents+json";

/// One attribute: all are strings, and none is empty.
pub(in crate::sink) type Attribute<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The attributes of the record.
pub(in crate::sink) fn of<'a>(record: &'a Record, cluster: Option<&'a str>) -> Vec<Attribute<'a>> {
    if let Envelope::Attributes(attributes) = &record.envelope {
        let mut left_out = attributes.len().saturating_sub(MOST);
        let mut names: Vec<_> = attributes.iter().collect();
        for name in LEFT_OUT {
            let before = names.len();
            names.retain(|(known, _)| left_out == 0 || *known != name);
            left_out -= before - names.len();
        }
        let named =
            |(name, value): (&'a String, &'a String)| (Cow::Owned(format!("{PREFIX}{name}")), names::value(value));
        return names.into_iter().take(MOST).map(named).collect();
    }
    let media_type = if record.envelope == Envelope::CloudEvent { CLOUD_EVENT } else { "" };
    [
        ("id", &*record.id),
        ("kind", record.kind.name()),
        ("key", &record.key),
        ("namespace", &record.namespace),
        ("job", &record.job),
        ("cluster", cluster.unwrap_or_default()),
        ("content-type", media_type),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (Cow::Borrowed(name), names::value(value)))
    .collect()
}

/// The bytes that they count for: names, types and values.
pub(in crate::sink) fn bytes(attributes: &[Attribute<'_>]) -> usize {
    attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::Book;

    fn names(attributes: &[Attribute<'_>]) -> Vec<String> {
        attributes.iter().map(|(name, _)| name.clone().into_owned()).collect()
    }

    #[test]
    fn what_is_known_of_a_record_is_sent() {
        let record =
            Record { envelope: Envelope::CloudEvent, namespace: "default".into(), ..Book::new().record("k", "{}") };
        let all = of(&record, Some("prod"));
        let expected = [("key", "k"), ("namespace", "default"), ("cluster", "prod"), ("content-type", CLOUD_EVENT)];
        for (name, value) in expected {
            assert!(all.iter().any(|(known, said)| known == name && said == value), "{name} in {all:?}");
        }
        assert!(all.iter().all(|(_, value)| !value.is_empty()));
        assert_eq!(bytes(&[("a".into(), "bc".into()), ("d".into(), "e".into())]), 17);
    }

    #[test]
    fn of_a_cloud_event_ten_attributes_are_sent() {
        let all =
            ["specversion", "id", "source", "type", "subject", "time", "partitionkey", "nomadkind", "nomadnamespace"];
        let more = ["nomadjob", "nomadnode", "nomadindex", "nomadcluster", "nomadregion"];
        let event = |attributes: &[&str]| {
            let attributes = attributes.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
            Record { envelope: Envelope::Attributes(Box::new(attributes)), ..Book::new().record("k", "{}") }
        };
        let few = event(&all);
        let few = names(&of(&few, None));
        assert!(few.len() == 9 && few.contains(&"ce-nomadkind".to_owned()), "{few:?}");
        let whole = event(&[&all[..], &more[..]].concat());
        let whole = names(&of(&whole, None));
        assert_eq!(whole.len(), 10);
        assert!(LEFT_OUT.iter().all(|name| !whole.contains(&format!("ce-{name}"))), "{whole:?}");
        let eleven = event(&[&all[..], &more[..2]].concat());
        let eleven = names(&of(&eleven, None));
        assert!(eleven.len() == 10 && eleven.contains(&"ce-nomadnode".to_owned()), "{eleven:?}");
    }
}
