//! Shows and removes stored state: for an operator, from outside of any run.

use std::{fmt, time::Duration};

use futures_util::future::{self, BoxFuture};

use super::Error;
use crate::{checkpoint::Checkpoint, kind::Kind};

/// A place where checkpoints are stored, seen from outside.
pub trait Inspector: Send + Sync + fmt::Debug {
    /// The place, for people.
    fn place(&self) -> String;

    /// Whether it stores keys or files.
    fn unit(&self) -> Unit;

    /// The stored state of `kind` at one moment, and who leads. Changes nothing.
    ///
    /// # Errors
    /// The place could not be read. A checkpoint that cannot be read is no error: see [`Content::Unreadable`].
    fn look(&self, kind: Kind) -> BoxFuture<'_, Result<Inspected, Error>>;

    /// Waits at most `within` for the next heartbeat of the leader of `kind`, and returns how long it took. `None` if none came, or if
    /// leaders write none.
    ///
    /// # Errors
    /// The place could not be read.
    fn heartbeat(&self, kind: Kind, within: Duration) -> BoxFuture<'_, Result<Option<Duration>, Error>> {
        let _ = (kind, within);
        Box::pin(future::ready(Ok(None)))
    }

    /// Removes the checkpoint of `kind`, in one step and only while no replica leads; with `value` the original
    /// program's progress too.
    ///
    /// # Errors
    /// Nothing was removed, unless the answer was lost on its way: look again.
    fn forget(&self, kind: Kind, value: bool) -> BoxFuture<'_, Result<ResetOutcome, Error>>;
}

/// What a coordinator stores its state in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Keys of Consul's KV store.
    Keys,
    /// Files.
    Files,
}

/// The stored state of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// The resource.
    pub kind: Kind,
    /// Who leads it.
    pub leader: Leader,
    /// Its checkpoint.
    pub content: Content,
    /// The original program's integer, or what is wrong with it. `None` where there is none.
    pub value: Option<Result<u64, String>>,
    /// How many keys or files there are, those of the lease included.
    pub entries: usize,
    /// The bytes in them.
    pub bytes: u64,
}

/// Who has the lease, as far as a read can show without comparing clocks: a leader that died a moment ago still has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// No program.
    None,
    /// A program like this one.
    Known {
        /// The name that it gives itself.
        holder: String,
        /// Its session in Consul.
        session: Option<String>,
        /// How long it may go without a heartbeat.
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
        /// Its flags.
        flags: u64,
    },
}

/// The stored checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// There is none.
    Nothing,
    /// It can be read.
    Readable {
        /// With its task cursors.
        checkpoint: Box<Checkpoint>,
        /// What the original program's key held when it was written: a greater number there is the original's own
        /// progress.
        stored_value: Option<u64>,
    },
    /// A start would refuse it.
    Unreadable {
        /// The key or file that is wrong.
        path: String,
        /// What is wrong with it.
        reason: String,
        /// The command that removes it.
        reset: String,
    },
}

/// The result of [`Inspector::forget`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ResetOutcome {
    /// It is removed.
    Forgotten {
        /// How many keys or files were removed, those of the lease not counted.
        entries: usize,
        /// The bytes in them.
        bytes: u64,
        /// The text of the original program's key, where that was removed too.
        value: Option<String>,
        /// What the next start does.
        next: Next,
    },
    /// A replica leads; nothing was removed.
    Led(Leader),
    /// The lock is free, but was refused; nothing was removed.
    NotGiven {
        /// Why, in Consul's words.
        reason: String,
    },
}

/// What the next start of the program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It resumes from this value of the original program.
    Value(u64),
    /// It is a first start.
    Anew,
}
