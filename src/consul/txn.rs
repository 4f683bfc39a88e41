//! Transactions: Consul carries out all operations or none.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    Entry, ModifyIndex, SessionId,
    client::{Call, Client},
    error::Error,
    kv::{MAX_TREE, Raw},
};

/// The most operations of a transaction (`maxTxnOps`; 128 since Consul 1.12, 64 before).
pub const MAX_OPS: usize = 64;

/// The largest request in bytes (`txn_max_req_len`, by default raft's suggested 512 KiB). It has the values in base64. Its
/// size is the sum of [`Op::wire_bytes`], and 2.
pub const MAX_REQUEST_BYTES: usize = 512 << 10;

/// One operation of a transaction, on one key or on all keys with one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Refuse unless this session holds the lock on the key.
    CheckSession {
        /// The key.
        key: String,
        /// The session.
        session: SessionId,
    },
    /// Refuse unless the key was last changed at this index.
    CheckIndex {
        /// The key.
        key: String,
        /// The index.
        index: ModifyIndex,
    },
    /// Refuse if the key exists.
    CheckNotExists {
        /// The key.
        key: String,
    },
    /// Write the key, whoever holds its lock.
    Set {
        /// The key.
        key: String,
        /// The new value.
        value: Bytes,
        /// The number beside the value.
        flags: u64,
    },
    /// Take the lock on the key, or write the key if the session holds the lock already. Refuse if another session holds it,
    /// and during its lock-delay.
    Lock {
        /// The key. Consul creates it if it is missing.
        key: String,
        /// The session.
        session: SessionId,
        /// The new value.
        value: Bytes,
        /// The number beside the value.
        flags: u64,
    },
    /// Give the lock back. Refuse if this session does not hold it. The key stays, and no lock-delay begins.
    Unlock {
        /// The key.
        key: String,
        /// The session.
        session: SessionId,
        /// The new value.
        value: Bytes,
        /// The number beside the value.
        flags: u64,
    },
    /// Remove the key, if it exists.
    Delete {
        /// The key.
        key: String,
    },
    /// Remove all keys with a prefix.
    DeleteTree {
        /// The prefix.
        prefix: String,
    },
    /// Read all keys with a prefix.
    GetTree {
        /// The prefix.
        prefix: String,
    },
}

/// The result of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Transaction {
    /// Consul carried out all operations. The entries are as they are now: one for each operation, except for removals and
    /// [`Op::CheckNotExists`], which have none, and [`Op::GetTree`], which has as many as there are.
    Done(Vec<Entry>),
    /// Consul carried out none of the operations.
    Refused(Vec<Refusal>),
}

/// Why an operation was refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// Its place among those given.
    #[serde(rename = "OpIndex", default)]
    pub op: usize,
    /// Consul's words.
    #[serde(rename = "What", default)]
    pub what: String,
}

#[derive(Serialize)]
struct WireOp<'a> {
    #[serde(rename = "KV")]
    kv: Kv<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Kv<'a> {
    verb: &'static str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    // A transaction can span several namespaces and partitions, so Consul Enterprise reads them from the operation and not
    // from the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireAnswer<'a> {
    // Without a default: an answer without results, such as an empty object, is not from Consul.
    #[serde(borrow, deserialize_with = "Option::deserialize")]
    results: Option<Vec<WireResult<'a>>>,
    #[serde(default)]
    errors: Option<Vec<Refusal>>,
}

#[derive(Deserialize)]
struct WireResult<'a> {
    #[serde(rename = "KV", borrow)]
    kv: Option<Raw<'a>>,
}

/// The operation without its key and value: `{"KV":{"Verb":"check-not-exists","Key":"",…}},` with the longest numbers and
/// names of namespace and partition.
const FRAME: usize = 384;

impl Op {
    /// An upper bound of what it takes in the request.
    pub fn wire_bytes(&self) -> usize {
        let (key, value, session) = match self {
            Op::CheckSession { key, session } => (key, 0, session.as_str()),
            Op::CheckIndex { key, .. } | Op::CheckNotExists { key } | Op::Delete { key } => (key, 0, ""),
            Op::DeleteTree { prefix } | Op::GetTree { prefix } => (prefix, 0, ""),
            Op::Set { key, value, .. } => (key, value.len(), ""),
            Op::Lock { key, session, value, .. } | Op::Unlock { key, session, value, .. } => {
                (key, value.len(), session.as_str())
            }
        };
        FRAME + escaped_len(key) + escaped_len(session) + value.div_ceil(3) * 4
    }

    fn key(&self) -> &str {
        match self {
            Op::CheckSession { key, .. }
            | Op::CheckIndex { key, .. }
            | Op::CheckNotExists { key }
            | Op::Set { key, .. }
            | Op::Lock { key, .. }
            | Op::Unlock { key, .. }
            | Op::Delete { key }
            | Op::DeleteTree { prefix: key }
            | Op::GetTree { prefix: key } => key,
        }
    }

    fn writes(&self) -> bool {
        match self {
            Op::CheckSession { .. } | Op::CheckIndex { .. } | Op::CheckNotExists { .. } | Op::GetTree { .. } => false,
            Op::Set { .. } | Op::Lock { .. } | Op::Unlock { .. } | Op::Delete { .. } | Op::DeleteTree { .. } => true,
        }
    }

    fn wire<'a>(&'a self, client: &'a Client) -> WireOp<'a> {
        let mut kv = Kv {
            verb: "",
            key: self.key(),
            value: None,
            flags: None,
            session: None,
            index: None,
            namespace: client.inner.namespace.as_deref(),
            partition: client.inner.partition.as_deref(),
        };
        let mut put = |value: &Bytes, flags: &u64| {
            kv.value = Some(STANDARD.encode(value));
            kv.flags = Some(*flags);
        };
        match self {
            Op::Set { value, flags, .. } | Op::Lock { value, flags, .. } | Op::Unlock { value, flags, .. } => {
                put(value, flags);
            }
            _ => {}
        }
        kv.verb = match self {
            Op::CheckSession { session, .. } => {
                kv.session = Some(session.as_str());
                "check-session"
            }
            Op::CheckIndex { index, .. } => {
                kv.index = Some(index.0);
                "check-index"
            }
            Op::CheckNotExists { .. } => "check-not-exists",
            Op::Set { .. } => "set",
            Op::Lock { session, .. } => {
                kv.session = Some(session.as_str());
                "lock"
            }
            Op::Unlock { session, .. } => {
                kv.session = Some(session.as_str());
                "unlock"
            }
            Op::Delete { .. } => "delete",
            Op::DeleteTree { .. } => "delete-tree",
            Op::GetTree { .. } => "get-tree",
        };
        WireOp { kv }
    }
}

impl Client {
    /// Has Consul carry out all of `ops`, or none of them. At most [`MAX_OPS`] operations in [`MAX_REQUEST_BYTES`].
    ///
    /// # Errors
    /// Consul carried out nothing, unless [`Error::may_have_happened`]. It is no error if a check of the transaction fails, but
    /// it is one if the token lacks a right.
    pub async fn transact(&self, ops: &[Op], deadline: Duration) -> Result<Transaction, Error> {
        self.txn(ops, &[], deadline).await
    }

    /// As [`transact`](Client::transact), for operations that only read, all at one moment, and confirmed by the leader. It
    /// adds no entry to Consul's log.
    ///
    /// # Errors
    /// Consul did not answer. What the token may not read is an error only if nothing was read at all.
    pub async fn look(&self, ops: &[Op], deadline: Duration) -> Result<Transaction, Error> {
        debug_assert!(!ops.iter().any(Op::writes), "a read does not write");
        let found = self.txn(ops, &[("consistent", String::new())], deadline).await?;
        if matches!(&found, Transaction::Done(entries) if entries.is_empty()) {
            for op in ops {
                if let Op::GetTree { prefix } = op {
                    self.may_read(prefix, deadline).await?;
                }
            }
        }
        Ok(found)
    }

    async fn txn(
        &self,
        ops: &[Op],
        query: &[(&'static str, String)],
        deadline: Duration,
    ) -> Result<Transaction, Error> {
        let wire: Vec<_> = ops.iter().map(|op| op.wire(self)).collect();
        let first = ops.iter().find(|op| op.writes()).or(ops.first());
        let call = Call {
            method: Method::PUT,
            path: "/v1/txn".to_owned(),
            query,
            body: Some(serde_json::to_vec(&wire).expect("texts and numbers are JSON").into()),
            what: first.map_or_else(|| "run a transaction".to_owned(), what),
            needs: first.map(|op| self.key_rule(op.key())).unwrap_or_default(),
            limit: MAX_TREE,
        };
        let answer = self.send(&call, &[StatusCode::CONFLICT], deadline).await?;
        let read: WireAnswer<'_> =
            serde_json::from_slice(&answer.body).map_err(|error| self.garbage(&call, error.to_string()))?;
        let refusals = read.errors.unwrap_or_default();
        if answer.code != StatusCode::CONFLICT && refusals.is_empty() {
            let entries = read.results.unwrap_or_default().into_iter().filter_map(|result| result.kv);
            let entries = entries.map(Raw::decode).collect::<Result<Vec<_>, _>>();
            let entries = entries.map_err(|text| self.garbage(&call, text))?;
            // A success of something other than Consul must not count as a lock, or as a stored checkpoint.
            if !are_results_of(&entries, ops) {
                return Err(self.garbage(&call, "its results are not those of the operations"));
            }
            return Ok(Transaction::Done(entries));
        }
        if let Some(denied) = refusals.iter().find(|refusal| refusal.what.starts_with("Permission denied")) {
            let op = ops.get(denied.op);
            return Err(Error::Denied {
                what: op.map_or(call.what, what),
                needs: op.map_or(call.needs, |op| self.key_rule(op.key())),
                token: self.has_token(),
                text: denied.what.clone(),
            });
        }
        Ok(Transaction::Refused(refusals))
    }
}

/// Whether `entries` are the results of all of `ops`, in their order.
fn are_results_of(entries: &[Entry], ops: &[Op]) -> bool {
    // How many entries can belong to the operations so far. Only the operations after a tree show where it ends.
    let mut ends = BTreeSet::from([0]);
    for op in ops {
        ends = match op {
            Op::CheckNotExists { .. } | Op::Delete { .. } | Op::DeleteTree { .. } => continue,
            Op::GetTree { prefix } => {
                let first = ends.first().copied().unwrap_or(entries.len());
                let mut reached = false;
                let in_tree = |at: usize| entries.get(at).is_some_and(|entry| entry.key.starts_with(prefix.as_str()));
                let can_end = |at: &usize| {
                    reached = ends.contains(at) || reached && in_tree(at - 1);
                    reached
                };
                (first..=entries.len()).filter(can_end).collect()
            }
            Op::CheckSession { key, .. }
            | Op::CheckIndex { key, .. }
            | Op::Set { key, .. }
            | Op::Lock { key, .. }
            | Op::Unlock { key, .. } => {
                let is_its = |at: &usize| entries.get(*at).is_some_and(|entry| entry.key == *key);
                ends.into_iter().filter(is_its).map(|at| at + 1).collect()
            }
        };
    }
    ends.contains(&entries.len())
}

fn what(op: &Op) -> String {
    format!("{} {:?}", if op.writes() { "write" } else { "read" }, op.key())
}

/// The greatest length of a text in JSON.
fn escaped_len(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::consul::tests::client_at;

    fn op() -> impl Strategy<Value = Op> {
        let session = "\\PC{0,8}|[0-9a-f-]{36}";
        let value = proptest::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from);
        (0..9, "\\PC{0,12}|[\\x00-\\x7f]{0,12}", session, value, any::<u64>()).prop_map(
            |(verb, key, session, value, number)| {
                let session = SessionId::new(session);
                match verb {
                    0 => Op::CheckSession { key, session },
                    1 => Op::CheckIndex { key, index: ModifyIndex(number) },
                    2 => Op::CheckNotExists { key },
                    3 => Op::Set { key, value, flags: number },
                    4 => Op::Lock { key, session, value, flags: number },
                    5 => Op::Unlock { key, session, value, flags: number },
                    6 => Op::Delete { key },
                    7 => Op::DeleteTree { prefix: key },
                    _ => Op::GetTree { prefix: key },
                }
            },
        )
    }

    fn entry(key: &str) -> Entry {
        let (key, value) = (key.to_owned(), Bytes::new());
        Entry { key, value, flags: 0, session: None, lock_index: 0, modify_index: ModifyIndex(1) }
    }

    proptest! {
        /// What Consul answers is taken, and one entry less or more, or one of another key, is not.
        #[test]
        fn the_results_of_all_operations_and_nothing_else_is_an_answer(
            ops in proptest::collection::vec((0..7, "a/[ab]{0,2}", 0..3_usize), 1..8), at in 0_usize..20,
        ) {
            let (mut asked, mut entries) = (Vec::new(), Vec::new());
            for (verb, key, found) in ops {
                let (session, value) = (SessionId::new("s"), Bytes::new());
                if verb < 4 {
                    entries.push(entry(&key));
                }
                asked.push(match verb {
                    0 => Op::CheckSession { key, session },
                    1 => Op::Set { key, value, flags: 0 },
                    2 => Op::Lock { key, session, value, flags: 0 },
                    3 => Op::Unlock { key, session, value, flags: 0 },
                    4 => Op::Delete { key },
                    5 => Op::CheckNotExists { key },
                    _ => {
                        entries.extend((0..found).map(|n| entry(&format!("{key}/{n}"))));
                        Op::GetTree { prefix: key }
                    }
                });
            }
            prop_assert!(are_results_of(&entries, &asked));
            let mut more = entries.clone();
            more.insert(at % (entries.len() + 1), entry("b"));
            prop_assert!(!are_results_of(&more, &asked));
            if !entries.is_empty() {
                let mut other = entries.clone();
                other[at % entries.len()].key = "b".to_owned();
                prop_assert!(!are_results_of(&other, &asked));
            }
            if asked.iter().all(|op| !matches!(op, Op::GetTree { .. })) && !entries.is_empty() {
                entries.remove(at % entries.len());
                prop_assert!(!are_results_of(&entries, &asked));
            }
        }

        #[test]
        fn no_operation_takes_more_than_it_says(ops in proptest::collection::vec(op(), 0..6)) {
            let client = client_at("http://127.0.0.1:1", |config| {
                config.namespace = Some("n".repeat(64));
                config.partition = Some("p".repeat(64));
            });
            let wire: Vec<_> = ops.iter().map(|op| op.wire(&client)).collect();
            let bytes = serde_json::to_string(&wire).expect("JSON").len();
            prop_assert!(bytes <= 2 + ops.iter().map(Op::wire_bytes).sum::<usize>());
        }
    }
}
