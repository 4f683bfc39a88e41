//! Shows and removes stored state: for an operator, from outside of any run.

use std::{fmt, time::Duration};

use futures_util::future::{self, BoxFuture};

use super::Error;
use crate::{
    checkpoint::{Checkpoint, Gap, Pass, StreamProgress, VERSION},
    kind::Kind,
    position::{Position, RaftIndex},
};

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

    /// The command that removes the checkpoint of `kind`.
    fn reset(&self, kind: Kind) -> String;

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

    /// Stores a position in the place of the checkpoint, in one step and only while no replica leads. With `force` it first takes
    /// the lease away from a replica that leads, and waits until that replica has stopped for certain.
    ///
    /// # Errors
    /// Nothing was stored, unless the answer was lost on its way: look again.
    fn set<'a>(&'a self, target: &'a Target, force: bool) -> BoxFuture<'a, Result<SetOutcome, Error>>;
}

/// A position that an operator has chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The resource.
    pub kind: Kind,
    /// Everything up to this index counts as delivered.
    pub index: RaftIndex,
    /// The streams if there is no checkpoint that names them: `*`, or namespaces. `None` is `*`.
    pub streams: Option<Vec<String>>,
}

impl Target {
    /// The checkpoint to be stored in the place of `before`.
    pub fn checkpoint(&self, before: &Content) -> Checkpoint {
        let before = match before {
            Content::Readable { checkpoint, .. } => Some(&**checkpoint),
            Content::Nothing | Content::Unreadable { .. } => None,
        };
        let known =
            before.map(|before| before.streams.keys().cloned().collect()).filter(|names: &Vec<_>| !names.is_empty());
        let names = known.or(self.streams.clone()).unwrap_or_else(|| vec!["*".to_owned()]);
        let after = self.index.next();
        // Task events have no index: a list says which tasks were there, and none of their events is sent.
        let nothing = Gap { from: after, until: after, ..Gap::default() };
        let baseline = Pass { ranges: vec![nothing], baseline: true, ..Pass::default() };
        let backfill = if self.kind == Kind::Allocations { vec![baseline] } else { Vec::new() };
        let stream = |name: String| {
            let topics = before.and_then(|before| before.streams.get(&name)).map(|stream| stream.topics.clone());
            let progress = StreamProgress {
                position: Position::at(self.index),
                namespaces: self.index.0,
                chosen: true,
                backfill: backfill.clone(),
                topics: topics.unwrap_or_default(),
                ..StreamProgress::default()
            };
            (name, progress)
        };
        Checkpoint {
            version: VERSION,
            cluster: before.and_then(|before| before.cluster.clone()),
            // The original program stores an index too, except for allocations: that is a time.
            value: match self.kind {
                Kind::Allocations => before.map_or(0, |before| before.value),
                _ => self.index.0,
            },
            streams: names.into_iter().map(stream).collect(),
            ..Checkpoint::default()
        }
    }
}

/// What became of a chosen position.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum SetOutcome {
    /// It is stored.
    Set {
        /// What was stored before.
        before: Box<Content>,
        /// What is stored now.
        after: Box<Checkpoint>,
        /// The leader whose lease was taken away.
        deposed: Option<Leader>,
    },
    /// A replica leads; nothing was stored.
    Led {
        /// Who.
        leader: Leader,
        /// Why its lease cannot be taken away, if that was asked for.
        why: Option<&'static str>,
    },
    /// The lease is free, but was refused; nothing was stored.
    NotGiven {
        /// Why, in Consul's words.
        reason: String,
    },
}

/// What a coordinator stores its state in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Keys of Consul's KV store.
    Keys,
    /// Files.
    Files,
    /// Nomad's Variables.
    Variables,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(streams: &[&str]) -> Content {
        let stream = |name: &&str| {
            let topics = vec!["Job".to_owned()];
            (
                (*name).to_owned(),
                StreamProgress { position: Position::at(RaftIndex(90)), topics, ..StreamProgress::default() },
            )
        };
        let checkpoint =
            Checkpoint { value: 77, streams: streams.iter().map(stream).collect(), ..Checkpoint::default() };
        Content::Readable { checkpoint: Box::new(checkpoint), stored_value: None }
    }

    #[test]
    fn a_target_keeps_what_the_index_does_not_change() {
        let target = |kind, streams: Option<Vec<String>>| Target { kind, index: RaftIndex(40), streams };
        let names = |made: &Checkpoint| made.streams.keys().cloned().collect::<Vec<_>>();
        let made = target(Kind::Events, None).checkpoint(&stored(&["a", "b"]));
        assert_eq!((names(&made), made.value, made.version), (vec!["a".to_owned(), "b".to_owned()], 40, VERSION));
        let stream = &made.streams["a"];
        assert_eq!(
            (stream.position.clone(), stream.namespaces, stream.chosen),
            (Position::at(RaftIndex(40)), 40, true)
        );
        assert_eq!((&stream.topics[..], &stream.backfill[..]), (&["Job".to_owned()][..], &[][..]));
        let given = Some(vec!["c".to_owned()]);
        let made = target(Kind::Allocations, given.clone()).checkpoint(&stored(&["a"]));
        assert_eq!((names(&made), made.value), (vec!["a".to_owned()], 77), "its value is a time");
        assert!(made.streams["a"].backfill[0].baseline);
        assert_eq!(names(&target(Kind::Jobs, given).checkpoint(&Content::Nothing)), ["c"]);
        assert_eq!(names(&target(Kind::Jobs, None).checkpoint(&Content::Nothing)), ["*"]);
    }

    #[test]
    fn a_chosen_position_is_stored_as_such_and_an_old_one_is_not() {
        let made = Target { kind: Kind::Jobs, index: RaftIndex(4), streams: None }.checkpoint(&Content::Nothing);
        let text = serde_json::to_string(&made).expect("plain data");
        assert!(text.contains(r#""chosen":true"#), "{text}");
        assert_eq!(serde_json::from_str::<Checkpoint>(&text).expect("plain data"), made);
        let Content::Readable { checkpoint, .. } = stored(&["*"]) else { panic!("it is readable") };
        assert!(!serde_json::to_string(&checkpoint).expect("plain data").contains("chosen"));
    }
}
