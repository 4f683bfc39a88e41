//! The client of Consul's HTTP API: sessions, the KV store, and transactions.
//!
//! Start at [`Client`]. Writes that belong together go through [`Client::transact`]: a [`CheckSession`]
//! before a write makes sure that only the holder of a lock can write.
//!
//! It works with Consul 1.7 or later. The caller gives each call a deadline, and every answer is read up to a bound.
//!
//! **Consul leaves out of a tree what the token may not read**, and does not say so. So [`Client::tree`] and
//! [`Client::look`] ask again when a tree is empty, to be sure that the token may read it.
//!
//! [`CheckSession`]: Op::CheckSession

mod agent;
mod client;
mod config;
mod error;
mod kv;
mod session;
mod txn;

#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;

pub use self::{
    client::Client,
    config::Config,
    error::Error,
    kv::Get,
    session::Session,
    txn::{MAX_OPS, MAX_REQUEST_BYTES, Op, Refusal, Transaction},
};
pub use crate::http::{Address, BadAddress, Secret, Tls, TokenSource};

/// The raft index at which Consul last changed an entry, or up to which an answer is valid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModifyIndex(pub u64);

impl fmt::Display for ModifyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a session: a UUID from Consul.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// An id that was stored.
    pub fn new(id: impl Into<Box<str>>) -> Self {
        SessionId(id.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An answer, and the index up to which it is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The content of the answer.
    pub value: T,
    /// The next [`Get::after`]. It is zero when Consul's index went backwards (after a restore from a snapshot): then the next
    /// query returns at once, as HashiCorp's rules for blocking queries say. It is never zero twice in a row.
    pub index: ModifyIndex,
}

/// An entry of the KV store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// The value. Consul leaves it out of the answer to a transaction, except for [`Op::GetTree`]; then it is empty here.
    pub value: Bytes,
    /// The number that the writer stored beside the value.
    pub flags: u64,
    /// The session that holds the lock on this key.
    pub session: Option<SessionId>,
    /// How often the lock was taken.
    pub lock_index: u64,
    /// The index of the last change.
    pub modify_index: ModifyIndex,
}
