//! Takes the locks that may be taken.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::oneshot;
use tracing::{debug, info};

use super::{Awaited, Chance, Watcher, names};
use crate::{
    consul::{Op, SessionId, Transaction},
    coordinator::{
        consul::{
            expiry::LeaseExpiry,
            keys::LOCK_FLAGS,
            tenure::{Grant, Tenure},
        },
        turn::Turns,
    },
    kind::Kind,
};

impl Watcher {
    /// Takes the locks together, and one by one if that is refused: each can have its own reason. Returns whether one
    /// was refused.
    pub(super) async fn take_all(&mut self, chances: Vec<Chance>, us: &SessionId) -> bool {
        if chances.is_empty() {
            return false;
        }
        // Another replica can be quicker meanwhile: then the transaction is refused.
        let _turn = match &self.shared.options.turns {
            Some(turns) => Some(turns.wait().await),
            None => None,
        };
        let numbers: Vec<usize> = chances.iter().map(|chance| chance.number).collect();
        let mut taken = Vec::new();
        let mut refused = false;
        if self.take(&chances, us).await {
            taken = numbers;
        } else if chances.len() > 1 {
            for chance in &chances {
                match self.take(std::slice::from_ref(chance), us).await {
                    true => taken.push(chance.number),
                    false => refused = true,
                }
            }
        } else {
            refused = true;
        }
        // A refusal is an answer, too: another replica was quicker, or the lock-delay lasts.
        if chances.iter().all(|chance| self.wanted[chance.number].barred.is_none()) {
            self.taking.over();
        }
        taken.sort_unstable();
        for number in taken.into_iter().rev() {
            self.wanted.remove(number);
        }
        refused
    }

    /// One transaction that takes all these locks, or none.
    async fn take(&mut self, chances: &[Chance], us: &SessionId) -> bool {
        let mut ops = Vec::new();
        for Chance { number, first, .. } in chances {
            let Awaited { waiter, last, .. } = &self.wanted[*number];
            let keys = &waiter.keys;
            ops.extend(first.iter().cloned());
            ops.push(Op::Lock { key: keys.lock.clone(), session: us.clone(), value: "".into(), flags: LOCK_FLAGS });
            // Until this leader has stored a checkpoint, the last leader's progress holds.
            let reach = last.as_ref().map(|heartbeat| heartbeat.reach.clone()).unwrap_or_default();
            ops.push(Op::Set { key: keys.heartbeat.clone(), value: self.shared.heartbeat(us, 0, reach), flags: 0 });
        }
        let sent = self.shared.clock.now();
        match self.shared.client.transact(&ops, self.shared.term()).await {
            Ok(Transaction::Done(_)) => {}
            Ok(Transaction::Refused(refusals)) => {
                debug!(?refusals, "lock refused");
                chances.iter().for_each(|chance| self.wanted[chance.number].barred = None);
                return false;
            }
            Err(error) => {
                self.taking.log(&error);
                for Chance { number, .. } in chances {
                    let wanted = &mut self.wanted[*number];
                    wanted.barred = Some(format!("cannot take the lease: {error}"));
                    // What the token is not allowed to do now, it will not be allowed to do next time.
                    if error.is_passing() {
                        self.expiries.entry(wanted.waiter.kind).and_modify(LeaseExpiry::restart);
                    }
                }
                return false;
            }
        }
        let mut taken: BTreeMap<Option<String>, Vec<Kind>> = BTreeMap::new();
        for Chance { number, from, .. } in chances {
            let Awaited { waiter, last, named, barred, .. } = &mut self.wanted[*number];
            *barred = None;
            if from.is_some() {
                self.shared.metrics.of(waiter.kind).takeovers.inc();
            }
            taken.entry(from.clone()).or_default().push(waiter.kind);
            self.expiries.remove(&waiter.kind);
            self.shared.status.barred(waiter.kind, None);
            *named = None;
            let tenure = Tenure::new(Grant {
                kind: waiter.kind,
                keys: waiter.keys.clone(),
                session: us.clone(),
                client: self.shared.client.clone(),
                clock: Arc::clone(&self.shared.clock),
                term: self.shared.term(),
                sent,
                last: last.clone(),
                seat: self.shared.options.turns.as_ref().map(Turns::seat),
            });
            let (reply, _) = oneshot::channel();
            let reply = std::mem::replace(&mut waiter.reply, reply);
            // The writer sends its heartbeats from now on, even where its pipeline no longer waits for it: then the
            // coordinator gives it back when it is closed. The writer ends only with the process.
            if !self.requests.lead(&tenure).await || reply.send(Ok(tenure)).is_err() {
                debug!("pipeline no longer waits for its lease");
            }
        }
        for (from, kinds) in taken {
            let kinds = names(&kinds);
            match from {
                Some(from) => {
                    info!(kinds, from, reason = "its leader sent no heartbeat within the lease", "leases taken over")
                }
                None => info!(kinds, "leases taken"),
            }
        }
        true
    }
}
