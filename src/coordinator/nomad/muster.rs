//! Lets the standbys of one process take the leases of a dead leader together.
//!
//! The supervisor starts what it leads as groups, and only the first group gets what the standby holds of the event stream. Each kind has
//! a Variable of its own, so without this one kind would be taken a moment before the next.

use std::{collections::BTreeMap, time::Duration};

use tokio::sync::watch;

use crate::{coordinator::clock::Moment, kind::Kind};

/// How long a lease that was taken waits at most for the others that are being taken.
const PATIENCE: Duration = Duration::from_millis(500);

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It waits for the end of this leader's lease.
    Waits { leader: String, due: Moment },
    /// Its lease is being taken.
    Takes,
}

/// What the standbys of one process wait for.
#[derive(Debug, Default)]
pub(super) struct Muster(watch::Sender<BTreeMap<Kind, State>>);

impl Muster {
    /// The standby of `kind` waits for the end of this leader's lease.
    pub(super) fn waits(&self, kind: Kind, leader: &str, due: Moment) {
        let state = State::Waits { leader: leader.to_owned(), due };
        self.0.send_modify(|states| drop(states.insert(kind, state)));
    }

    /// The lease of `kind` is about to be taken.
    pub(super) fn takes(&self, kind: Kind) {
        self.0.send_modify(|states| drop(states.insert(kind, State::Takes)));
    }

    /// When all leases of the leader that `kind` waits for are over, but at most `longest` after its own.
    pub(super) fn due(&self, kind: Kind, longest: Duration) -> Option<Moment> {
        let states = self.0.borrow();
        let Some(State::Waits { leader, due: own }) = states.get(&kind) else { return None };
        let same = states.values().filter_map(|state| match state {
            State::Waits { leader: other, due } if other == leader => Some(*due),
            State::Waits { .. } | State::Takes => None,
        });
        same.max().map(|last| last.min(own.after(longest)))
    }

    /// `kind` waits no longer, nor is it being taken.
    pub(super) fn done(&self, kind: Kind) {
        self.0.send_if_modified(|states| states.remove(&kind).is_some());
    }

    /// Waits until no lease is being taken, for a moment at most.
    pub(super) async fn all_taken(&self) {
        let mut states = self.0.subscribe();
        let none_takes = states.wait_for(|states| !states.values().any(|state| *state == State::Takes));
        // What takes longer comes later.
        tokio::time::timeout(PATIENCE, none_takes).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    #[tokio::test(start_paused = true)]
    async fn leases_of_one_leader_are_due_together_and_no_other_holds_them_up() {
        let (muster, longest) = (Muster::default(), Duration::from_millis(100));
        muster.waits(Kind::Jobs, "a", ms(10));
        muster.waits(Kind::Nodes, "a", ms(50));
        muster.waits(Kind::Events, "b", ms(90));
        assert_eq!(muster.due(Kind::Jobs, longest), Some(ms(50)));
        muster.waits(Kind::Nodes, "a", ms(500));
        assert_eq!(muster.due(Kind::Jobs, longest), Some(ms(110)));
        muster.done(Kind::Nodes);
        assert_eq!((muster.due(Kind::Jobs, longest), muster.due(Kind::Nodes, longest)), (Some(ms(10)), None));
        muster.takes(Kind::Jobs);
        let begun = tokio::time::Instant::now();
        muster.all_taken().await;
        assert_eq!(begun.elapsed(), PATIENCE);
        muster.done(Kind::Jobs);
        muster.all_taken().await;
        assert_eq!(begun.elapsed(), PATIENCE);
    }
}
