//! Which events a subscription sees, with Nomad's own oddities.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};

use crate::line::{Event, Line};

/// The topics of a request: topic → filter keys. No topic at all means every topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topics(pub(crate) HashMap<String, Vec<String>>);

impl Topics {
    /// Reads the repeated `topic=Topic[:Key]` parameters.
    ///
    /// # Errors
    /// The text of Nomad's 400 answer, for a topic with more than one colon.
    pub(crate) fn parse<'a>(params: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut topics: HashMap<String, Vec<String>> = HashMap::new();
        for param in params {
            let mut parts = param.split(':');
            let topic = parts.next().unwrap_or_default();
            let key = parts.next().unwrap_or("*");
            if parts.next().is_some() {
                return Err(format!(
                    "Invalid topic query: error parsing topics: Invalid key value pair for topic, topic: {param}"
                ));
            }
            topics.entry(topic.to_owned()).or_default().push(key.to_owned());
        }
        if topics.is_empty() {
            topics.insert("*".to_owned(), vec!["*".to_owned()]);
        }
        Ok(Self(topics))
    }
}

/// What one subscription lets through. The namespaces are expanded once, when it begins.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) topics: Topics,
    pub(crate) namespaces: Vec<String>,
}

impl Filter {
    /// How often an event is sent: twice if two filter keys match it; and `*` beside another key of the same topic
    /// matches only itself, not every key.
    fn copies(&self, event: &Event) -> usize {
        if !event.namespace.is_empty() && !self.namespaces.iter().any(|ns| **ns == *event.namespace) {
            return 0;
        }
        let all = self.topics.0.get("*").map_or(&[][..], Vec::as_slice);
        if all == ["*"] {
            return 1;
        }
        let own = self.topics.0.get(&*event.topic).map_or(&[][..], Vec::as_slice);
        if all.is_empty() && own == ["*"] {
            return 1;
        }
        all.iter()
            .chain(own)
            .filter(|key| *event.key == ***key || event.filter_keys.iter().any(|k| **k == ***key))
            .count()
    }

    /// The line as this subscription sees it; `None` where no event of it passes.
    pub(crate) fn apply(&self, line: &Line) -> Option<Bytes> {
        let copies: Vec<usize> = line.events.iter().map(|event| self.copies(event)).collect();
        if copies.iter().all(|n| *n == 0) {
            return None;
        }
        if copies.iter().all(|n| *n == 1) {
            return Some(line.raw.clone());
        }
        let mut out = BytesMut::with_capacity(line.raw.len());
        out.extend_from_slice(b"{\"Events\":[");
        let mut first = true;
        for (event, copies) in line.events.iter().zip(copies) {
            for _ in 0..copies {
                if !first {
                    out.extend_from_slice(b",");
                }
                first = false;
                out.extend_from_slice(&event.raw);
            }
        }
        out.extend_from_slice(format!("],\"Index\":{}}}", line.index).as_bytes());
        Some(out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line::parse(
            r#"{"Index":5,"Events":[
            {"Topic":"Job","Type":"JobRegistered","Key":"web","Namespace":"default","FilterKeys":null,"Index":5,"Payload":{}},
            {"Topic":"Evaluation","Type":"JobRegistered","Key":"e1","Namespace":"other","FilterKeys":["web","d1"],"Index":5,"Payload":{}},
            {"Topic":"Node","Type":"NodeRegistration","Key":"n1","Namespace":"","FilterKeys":null,"Index":5,"Payload":{}}]}"#,
        )
        .unwrap()
    }

    fn keys(topics: &[&str], namespaces: &[&str]) -> Vec<String> {
        let filter = Filter {
            topics: Topics::parse(topics.iter().copied()).unwrap(),
            namespaces: namespaces.iter().map(|ns| (*ns).to_owned()).collect(),
        };
        let Some(text) = filter.apply(&line()) else { return Vec::new() };
        Line::parse(text).unwrap().events.iter().map(|e| e.key.to_string()).collect()
    }

    #[test]
    fn topics_keys_and_namespaces_select_as_in_nomad() {
        let every = ["default", "other"];
        assert_eq!(keys(&[], &every), ["web", "e1", "n1"]);
        assert_eq!(keys(&[], &["default"]), ["web", "n1"]);
        assert_eq!(keys(&["Job"], &every), ["web"]);
        assert_eq!(keys(&["Evaluation:web"], &every), ["e1"]);
        assert_eq!(keys(&["Evaluation:web", "Evaluation:d1"], &every), ["e1", "e1"]);
        assert_eq!(keys(&["*:web"], &every), ["web", "e1"]);
        assert_eq!(keys(&["Job", "Job"], &every), [""; 0]);
        assert_eq!(keys(&["*", "Job:none"], &every), ["web", "e1", "n1"]);
        assert_eq!(keys(&["Nope"], &every), [""; 0]);
        assert!(Topics::parse(["Job:a:b"].into_iter()).is_err());
    }
}
