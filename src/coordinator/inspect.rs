//! Looking at what is stored, and forgetting it: for an operator, from outside of any run.

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;

use super::Error;
use crate::{checkpoint::Checkpoint, kind::Kind};

/// A place where checkpoints are kept, seen from outside.
pub trait Inspector: Send + Sync + fmt::Debug {
    /// Where it is, for people.
    fn place(&self) -> String;

    /// What one stored thing is called there.
    fn unit(&self) -> Unit;

    /// What is stored of `kind` at one moment, and who leads. Changes nothing.
    ///
    /// # Errors
    /// The place could not be read. A checkpoint that cannot be read is none: see [`Content::Unreadable`].
    fn look(&self, kind: Kind) -> BoxFuture<'_, Result<Inspected, Error>>;

    /// Takes the checkpoint of `kind` away, at once and only where nobody leads; with `value` the original's progress
    /// too.
    ///
    /// # Errors
    /// Nothing was done, unless the answer got lost on its way: look again.
    fn forget(&self, kind: Kind, value: bool) -> BoxFuture<'_, Result<ResetOutcome, Error>>;
}

/// What a stored thing is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A key of Consul's KV store.
    Keys,
    /// A file.
    Files,
}

/// What was found of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// The kind.
    pub kind: Kind,
    /// Who leads it.
    pub leader: Leader,
    /// Its checkpoint.
    pub content: Content,
    /// The original's integer, or what is wrong with it. `None` where there is none.
    pub value: Option<Result<u64, String>>,
    /// How many keys or files there are, those of the lease included.
    pub entries: usize,
    /// The bytes in them.
    pub bytes: u64,
}

/// Who has the lease, as far as can be told without a comparison of clocks: a leader that has died a moment ago still
/// has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// Nobody.
    Nobody,
    /// A program like this one.
    Known {
        /// What it says of itself.
        holder: String,
        /// Its session in Consul.
        session: Option<String>,
        /// How long it may go on without a heartbeat.
        lease: Option<Duration>,
    },
    /// A program that writes no heartbeat, such as the original.
    Silent {
        /// Its session in Consul.
        session: String,
    },
    /// The key of the lock is not a lock.
    NoLock {
        /// The key.
        path: String,
        /// The number beside its value.
        flags: u64,
    },
}

/// A checkpoint as it was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// There is none.
    Nothing,
    /// It can be read.
    Readable {
        /// With its marks.
        checkpoint: Box<Checkpoint>,
        /// What the original's key held when it was written: a greater number there is the original's own progress.
        stored_value: Option<u64>,
    },
    /// A start would refuse it.
    Unreadable {
        /// The key or file that is wrong.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// The command that forgets it.
        reset: String,
    },
}

/// What became of [`Inspector::forget`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ResetOutcome {
    /// It is forgotten.
    Forgotten {
        /// How many keys or files were taken away, those of the lease not counted.
        entries: usize,
        /// The bytes in them.
        bytes: u64,
        /// The original's key was taken away too: its text.
        value: Option<String>,
        /// What the next start does.
        next: Next,
    },
    /// Somebody leads; nothing was done.
    Led(Leader),
    /// The lock is free, but was not given; nothing was done.
    NotGiven {
        /// Why, in the words of whoever refused it.
        reason: String,
    },
}

/// What the next start of the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on from this value of the original's.
    Value(u64),
    /// It is a first start.
    Anew,
}
