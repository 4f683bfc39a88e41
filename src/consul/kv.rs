//! Reading the KV store.

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

/// Largest answer about one key: ten times the largest value that Consul takes by default (512 KiB, in base64).
const MAX_ENTRY: usize = 8 << 20;

/// Largest answer about a tree, as much as 1,500,000 live tasks need. It is held whole while it is decoded.
pub(super) const MAX_TREE: usize = 64 << 20;

/// What stays as it is in a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How one key is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Get {
    /// Let the leader make sure that it still is one before it answers. Without it, an old leader that was cut off can
    /// give an old answer for some seconds.
    pub consistent: bool,
    /// Answer only when the key has changed after this index, or when `wait` is over.
    pub after: Option<ModifyIndex>,
    /// How long at most, in whole milliseconds, up to 10 min. Consul adds up to a sixteenth.
    pub wait: Duration,
}

/// An entry as Consul writes it.
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
                Err(error) => return Err(format!("the value of {:?} is no base64: {error}", self.key)),
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
    /// The entry under `key`; `None` where there is none.
    ///
    /// A blocking query may take [`Get::wait`] and a sixteenth of it longer than `deadline`. It can answer early and
    /// unchanged.
    ///
    /// # Errors
    /// There is no answer: nothing is known of the key, not even that it has not changed.
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
        let answer = self.ask(&call, &[StatusCode::NOT_FOUND], deadline).await?;
        let index = next_index(answer.index, how.after);
        let mut entries = self.entries(&call, answer)?;
        match entries.iter().find(|entry| entry.key != key) {
            Some(other) => Err(self.garbage(&call, format!("it is of the key {:?}", other.key))),
            None => Ok(Read { value: entries.pop(), index }),
        }
    }

    /// Every entry whose key begins with `prefix`, in the order of the keys, read consistently. Answers of more than
    /// 64 MiB are refused.
    ///
    /// # Errors
    /// There is no answer. What the token may not read is an error where nothing else was read, and is left out by Consul
    /// otherwise: one rule of the policy should cover the whole prefix.
    pub async fn tree(&self, prefix: &str, deadline: Duration) -> Result<Read<Vec<Entry>>, Error> {
        let query = [("recurse", String::new()), ("consistent", String::new())];
        let call = self.read_call(prefix, &query, MAX_TREE);
        let answer = self.ask(&call, &[StatusCode::NOT_FOUND], deadline).await?;
        let index = next_index(answer.index, None);
        let value = self.entries(&call, answer)?;
        if let Some(other) = value.iter().find(|entry| !entry.key.starts_with(prefix)) {
            return Err(self.garbage(&call, format!("it is of the key {:?}", other.key)));
        }
        if value.is_empty() {
            self.may_read(prefix, deadline).await?;
        }
        Ok(Read { value, index })
    }

    /// Asks for a single key below `prefix`, which unlike a tree is refused where the token may not read it.
    pub(super) async fn may_read(&self, prefix: &str, deadline: Duration) -> Result<(), Error> {
        // The empty key cannot be read, and one that ends in a slash is a key like any other.
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
            what: format!("to read {key:?}"),
            needs: self.key_rule(key),
            limit,
        }
    }

    fn entries(&self, call: &Call<'_>, answer: Reply) -> Result<Vec<Entry>, Error> {
        if answer.code == StatusCode::NOT_FOUND {
            return match answer.body.is_empty() {
                true => Ok(Vec::new()),
                // Consul says nothing beside a 404; with words it comes from something else, such as a proxy.
                false => Err(self.garbage(call, String::from_utf8_lossy(&answer.body).trim())),
            };
        }
        let raw: Vec<Raw<'_>> =
            serde_json::from_slice(&answer.body).map_err(|error| self.garbage(call, error.to_string()))?;
        if raw.is_empty() {
            // What is not there is a 404.
            return Err(self.garbage(call, "an empty list"));
        }
        raw.into_iter().map(Raw::decode).collect::<Result<_, _>>().map_err(|text| self.garbage(call, text))
    }
}

/// HashiCorp's rules for blocking queries: an index that went backwards starts from zero again, and one that is zero
/// itself counts as one, so that no query is asked again and again without a wait.
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
