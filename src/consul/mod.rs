//! The client of Consul's HTTP API: sessions, the KV store, and transactions.
//!
//! Start at [`Client`]. Everything that has to hold together goes through [`Client::transact`]: a [`CheckSession`]
//! before a write makes sure that only the holder of a lock can make it.
//!
//! Consul 1.7 or later. Every call has a deadline that its caller gives, and no answer is read without a bound.
//!
//! **What a token may not read is left out of a tree without a word**, and not refused. [`Client::tree`] and
//! [`Client::look`] therefore ask again where nothing came: an empty answer is one that the token was allowed to see.
//!
//! [`CheckSession`]: Op::CheckSession

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

/// The raft index at which Consul last changed an entry, or up to which an answer of its holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModifyIndex(pub u64);

impl fmt::Display for ModifyIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a session: a UUID that Consul gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Box<str>);

impl SessionId {
    /// Takes in an id that was stored.
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

/// An answer, and the index up to which it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// What was asked for.
    pub value: T,
    /// What the next [`Get::after`] is. Zero where Consul's index went backwards (it was restored from a snapshot), which
    /// makes that query an immediate one, as HashiCorp's rules for blocking queries have it; never zero twice in a row.
    pub index: ModifyIndex,
}

/// An entry of the KV store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole key.
    pub key: String,
    /// The value. Empty in what a transaction answers for anything but [`Op::GetTree`]: Consul leaves it out there.
    pub value: Bytes,
    /// The number that a writer puts beside the value.
    pub flags: u64,
    /// The session that holds the lock on this key.
    pub session: Option<SessionId>,
    /// How often the lock was taken.
    pub lock_index: u64,
    /// When it was last changed.
    pub modify_index: ModifyIndex,
}
