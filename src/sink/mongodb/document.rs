//! A record as a document: the members of its body, as the original program stores them, and its id as `_id`.

use std::fmt;

use ::mongodb::bson::{Bson, Document};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use crate::record::Record;

/// The most bytes of a document, <https://www.mongodb.com/docs/manual/reference/limits/>.
const LARGEST: usize = 16 << 20;

/// The document, or why there is none.
pub(super) fn of(record: &Record, cluster: Option<&str>) -> Result<Document, String> {
    let body: Plain =
        serde_json::from_slice(&record.body).map_err(|error| format!("MongoDB cannot store the record: {error}"))?;
    let mut document = Document::new();
    document.insert("_id", id(record, cluster));
    match body.0 {
        // The id of the record is what repeats are known by.
        Bson::Document(members) => document.extend(members.into_iter().filter(|(name, _)| name != "_id")),
        other => drop(document.insert("value", other)),
    }
    let size = document.to_vec().map_err(|error| format!("the record cannot be written as BSON: {error}"))?.len();
    if size > LARGEST {
        return Err(format!("the record is larger than a document of MongoDB can be: {size} bytes of {LARGEST}"));
    }
    Ok(document)
}

/// Ids are unique within a cluster, and clusters can share a collection.
pub(super) fn id(record: &Record, cluster: Option<&str>) -> String {
    match cluster {
        Some(cluster) => format!("{cluster}/{}", record.id),
        None => record.id.clone().into(),
    }
}

/// A value of JSON as it is: members in their order, and names that mean something in MongoDB's extended JSON mean nothing. Whole numbers
/// stay whole: the original makes all of them floating-point, and loses digits of times.
struct Plain(Bson);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values).map(Plain)
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Bson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Bson, E> {
        Ok(Bson::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Bson, E> {
        Ok(Bson::Boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Bson, E> {
        Ok(Bson::Int64(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Bson, E> {
        Ok(i64::try_from(value).map_or(Bson::Double(value as f64), Bson::Int64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Bson, E> {
        Ok(Bson::Double(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Bson, E> {
        Ok(Bson::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Bson, E> {
        Ok(Bson::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Bson, A::Error> {
        let mut array = Vec::new();
        while let Some(Plain(value)) = elements.next_element()? {
            array.push(value);
        }
        Ok(Bson::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Bson, A::Error> {
        let mut document = Document::new();
        while let Some((name, Plain(value))) = members.next_entry::<String, Plain>()? {
            if name.contains('\0') {
                return Err(A::Error::custom("the name of a member has a null character"));
            }
            document.insert(name, value);
        }
        Ok(Bson::Document(document))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Result<Bson, serde_json::Error> {
        serde_json::from_str::<Plain>(text).map(|plain| plain.0)
    }

    #[test]
    fn values_stay_what_they_are() {
        let text = r#"{"Time":1700000000123456789,"Most":18446744073709551615,"Part":0.5,"None":null,"Text":"a\u0000b","List":[1,"a",{"$date":true,"a.b":false}]}"#;
        let Ok(Bson::Document(document)) = plain(text) else { panic!("a document") };
        for (name, value) in [
            ("Time", Bson::Int64(1_700_000_000_123_456_789)),
            ("Most", Bson::Double(u64::MAX as f64)),
            ("Part", Bson::Double(0.5)),
            ("None", Bson::Null),
            ("Text", Bson::String("a\u{0}b".to_owned())),
        ] {
            assert_eq!(document.get(name), Some(&value), "{name}");
        }
        let list = document.get_array("List").expect("a list");
        assert_eq!(list[2].as_document().and_then(|it| it.get_bool("$date").ok()), Some(true));
        assert_eq!(document.keys().last().map(String::as_str), Some("List"));
        assert!(plain(r#"{"a\u0000":1}"#).is_err());
    }
}
