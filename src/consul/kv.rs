//! Reads the KV store.

use std::{borrow::Cow, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::{
    Entry, ModifyIndex, Read, SessionId,
    client::{Call, Client, Reply},
    error::Error,
};

/// The largest answer about one key: ten times the largest value that Consul takes by default (512 KiB, in base64).
const MAX_ENTRY: usize = 8 << 20;

/// The largest answer about a tree: enough for 1,500,000 live tasks. The whole answer is in memory while it is decoded.
pub(super) const MAX_TREE: usize = 64 << 20;

/// The characters that are not encoded in a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How one key is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Get {
    /// Let the leader make sure that it still leads before it answers. Otherwise an old leader that was cut off can
    /// give an old answer for some seconds.
    pub consistent: bool,
    /// Answer only when the key has changed after this index, or when `wait` is over.
    pub after: Option<ModifyIndex>,
    /// The longest wait, in whole milliseconds, up to 10 min. Consul adds up to a sixteenth.
    pub wait: Duration,
}

/// An entry as Consul sends it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Raw<'a> {
    key: String,
    #[serde(borrow, default)]
    value: Option<Cow<'a, str>>,
    #[serde(default)]
    flags: u64,
    #[serde(default)]
    session: Option<Box<str>>,
    #[serde(default)]
    lock_index: u64,
    #[serde(default)]
    modify_index: u64,
}

impl Raw<'_> {
    pub(super) fn decode(self) -> Result<Entry, String> {
        let value = match self.value {
            None => Bytes::new(),
            Some(text) => match STANDARD.decode(text.as_bytes()) {
                Ok(value) => value.into(),
                Err(error) => return Err(format!("the value of {:?} is not base64: {error}", self.key)),
            },
        };
        Ok(Entry {
            key: self.key,
            value,
            flags: self.flags,
            session: self.session.filter(|id| !id.is_empty()).map(SessionId::new),
            lock_index: self.lock_index,
            modify_index: ModifyIndex(self.modify_index),
        })
    }
}

impl Client {
    /// The entry with this `key`; `None` if there is none.
    ///
    /// A blocking query may take longer than `deadline`, by [`Get::wait`] and a sixteenth of it. Consul can answer it early
    /// and unchanged.
    ///
    /// # Errors
    /// Consul did not answer: nothing is known of the key, not even that it has not changed.
    pub async fn get(&self, key: &str, how: Get, deadline: Duration) -> Result<Read<Option<Entry>>, Error> {
        let mut query = Vec::new();
        if how.consistent {
            query.push(("consistent", String::new()));
        }
        let mut deadline = deadline;
        if let Some(after) = how.after {
            query.push(("index", after.to_string()));
            query.push(("wait", format!("{}ms", how.wait.as_millis())));
            deadline += how.wait + how.wait / 16;
        }
        let call = self.read_call(key, &query, MAX_ENTRY);
        let answer = self.send(&call, &[StatusCode::NOT_FOUND], deadline).await?;
        let index = next_index(answer.index, how.after);
        let mut entries = self.entries(&call, answer)?;
        match entries.iter().find(|entry| entry.key != key) {
            Some(other) => Err(self.garbage(&call, format!("it is about the key {:?}", other.key))),
            None => Ok(Read { value: entries.pop(), index }),
        }
    }

    /// Every entry whose key begins with `prefix`, in the order of the keys, read consistently. An answer of more than
    /// 64 MiB is an error.
    ///
    /// # Errors
    /// Consul did not answer. What the token may not read is an error only if the answer is empty; otherwise Consul leaves it
    /// out. So one rule of the policy should cover the whole prefix.
    pub async fn tree(&self, prefix: &str, deadline: Duration) -> Result<Read<Vec<Entry>>, Error> {
        let query = [("recurse", String::new()), ("consistent", String::new())];
        let call = self.read_call(prefix, &query, MAX_TREE);
        let answer = self.send(&call, &[StatusCode::NOT_FOUND], deadline).await?;
        let index = next_index(answer.index, None);
        let value = self.entries(&call, answer)?;
        if let Some(other) = value.iter().find(|entry| !entry.key.starts_with(prefix)) {
            return Err(self.garbage(&call, format!("it is about the key {:?}", other.key)));
        }
        if value.is_empty() {
            self.may_read(prefix, deadline).await?;
        }
        Ok(Read { value, index })
    }

    /// Reads a single key below `prefix`. Unlike a tree, Consul refuses a key that the token may not read.
    pub(super) async fn may_read(&self, prefix: &str, deadline: Duration) -> Result<(), Error> {
        // An empty key cannot be read. A key that ends in a slash is a key like any other.
        let key = if prefix.is_empty() { "-" } else { prefix };
        self.get(key, Get::default(), deadline).await.map(drop)
    }

    fn read_call<'a>(&self, key: &str, query: &'a [(&'static str, String)], limit: usize) -> Call<'a> {
        let path: Vec<_> = key.split('/').map(encoded).collect();
        Call {
            method: Method::GET,
            path: format!("/v1/kv/{}", path.join("/")),
            query,
            body: None,
            what: format!("read {key:?}"),
            needs: self.key_rule(key),
            limit,
        }
    }

    fn entries(&self, call: &Call<'_>, answer: Reply) -> Result<Vec<Entry>, Error> {
        if answer.code == StatusCode::NOT_FOUND {
            return match answer.body.is_empty() {
                true => Ok(Vec::new()),
                // Consul sends no words with a 404. If there are words, something else answered, such as a proxy.
                false => Err(self.garbage(call, String::from_utf8_lossy(&answer.body).trim())),
            };
        }
        let raw: Vec<Raw<'_>> =
            serde_json::from_slice(&answer.body).map_err(|error| self.garbage(call, error.to_string()))?;
        if raw.is_empty() {
            // Consul answers 404 for a missing key.
            return Err(self.garbage(call, "it is an empty list"));
        }
        raw.into_iter().map(Raw::decode).collect::<Result<_, _>>().map_err(|text| self.garbage(call, text))
    }
}

/// HashiCorp's rules for blocking queries: after an index that went backwards, the next query starts from zero. An index of
/// zero counts as one, so that no query is sent again and again without a wait.
fn next_index(answered: Option<u64>, after: Option<ModifyIndex>) -> ModifyIndex {
    match (answered, after) {
        (None | Some(0), _) => ModifyIndex(1),
        (Some(index), Some(after)) if index < after.0 => ModifyIndex(0),
        (Some(index), _) => ModifyIndex(index),
    }
}

pub(super) fn encoded(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_went_backwards_starts_anew_and_none_ever_spins() {
        for (answered, after, next) in [
            (Some(7), None, 7),
            (Some(7), Some(7), 7),
            (Some(8), Some(7), 8),
            (Some(6), Some(7), 0),
            (Some(0), Some(7), 1),
            (None, Some(7), 1),
        ] {
            assert_eq!(next_index(answered, after.map(ModifyIndex)), ModifyIndex(next), "{answered:?} {after:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_entry_breaks_the_decoder(value in "[A-Za-z0-9+/=]{0,12}|\\PC{0,8}") {
            let text = serde_json::json!({ "Key": "k", "Value": value }).to_string();
            let raw: Raw<'_> = serde_json::from_str(&text).expect("an entry");
            if let Ok(entry) = raw.decode() {
                proptest::prop_assert_eq!(STANDARD.encode(&entry.value), value);
            }
        }
    }
}
