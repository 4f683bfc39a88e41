//! Sends batches to a service that takes records by tens, in several calls at a time, and no two of them with one key.

use std::{
    collections::HashSet,
    fmt,
    sync::atomic::{AtomicBool, Ordering},
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};

use super::{
    Fault, Target,
    api::{Answer, Api},
    link::{Lent, Link},
    round::{Entry, Round, blocks_key},
};
use crate::{
    record::Record,
    sink::{Closed, ErrorClass, Outcome, Policy, Sink, UnderWay, lease},
};

/// How many calls of a batch are under way at a time. A call takes some milliseconds.
const CALLS: usize = 16;

/// Sends to one target of a service.
pub(in crate::sink) struct Publisher<A: Api> {
    api: A,
    link: Link<A::Client>,
    /// A fault that only people can fix is in the log.
    is_reported: AtomicBool,
}

impl<A: Api> fmt::Debug for Publisher<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("api", &self.api).finish_non_exhaustive()
    }
}

/// What became of one call.
struct Ended {
    outcomes: Vec<(usize, Outcome)>,
    /// Why it failed as a whole, or what one of its records met that is not the record's own.
    fault: Option<Fault>,
    /// It failed as a whole.
    is_over: bool,
}

/// How records are batched: enough for all calls that are under way at a time.
pub(in crate::sink) fn policy() -> Policy {
    let batch_records = 2 * CALLS * super::round::RECORDS;
    Policy {
        under_way: UnderWay::ByKey(2),
        batch_records,
        batch_bytes: 4 << 20,
        queue: 4 * batch_records,
        ..Policy::default()
    }
}

impl<A: Api> Publisher<A> {
    /// A sink that looks for region and credentials at the first send.
    pub(in crate::sink) fn new(api: A) -> Self {
        Publisher { api, link: Link::default(), is_reported: AtomicBool::new(false) }
    }

    pub(in crate::sink) async fn put(&self, batch: &[Record]) -> Vec<Outcome> {
        let lent = match self.link.lend(|| self.api.reach()).await {
            Ok(lent) => lent,
            Err(fault) => {
                self.report_once(&fault);
                return batch.iter().map(|_| fault.outcome()).collect();
            }
        };
        let mut round = Round::new(&self.api, batch);
        let mut calls = FuturesUnordered::new();
        let (mut is_refused, mut is_well) = (false, true);
        loop {
            while calls.len() < CALLS
                && let Some(part) = round.next_part()
            {
                calls.push(self.exchange(&lent, batch, part));
            }
            let Some(Ended { outcomes, fault, is_over }) = calls.next().await else { break };
            if let Some(fault) = &fault {
                is_refused |= fault.wants_other_credentials();
                is_well = false;
                self.report_once(fault);
            }
            round.ended(outcomes, is_over);
        }
        drop(calls);
        if is_well {
            self.is_reported.store(false, Ordering::Relaxed);
        }
        self.link.ended(&lent, is_refused).await;
        round.outcomes()
    }

    /// Sends one call. If the service refuses something in it as data, sends its records one by one.
    async fn exchange(&self, lent: &Lent<A::Client>, batch: &[Record], part: Vec<Entry<A::Entry>>) -> Ended {
        let answer = self.call(lent, batch, &part).await;
        let is_one = part.len() == 1;
        match answer {
            Ok(answers) => self.answered(lent, &part, answers),
            Err(Fault::Data(reason)) if is_one => {
                let reason = format!("{} answered {reason}", self.api.service().name);
                Ended { outcomes: vec![(part[0].number, Outcome::Reject { reason })], fault: None, is_over: false }
            }
            Err(Fault::Data(reason)) => {
                tracing::debug!(%reason, records = part.len(), "a call is refused, its records are sent one by one");
                self.one_by_one(lent, batch, part).await
            }
            Err(fault) => {
                let outcomes = part.iter().map(|entry| (entry.number, fault.outcome())).collect();
                Ended { outcomes, fault: Some(fault), is_over: true }
            }
        }
    }

    async fn one_by_one(&self, lent: &Lent<A::Client>, batch: &[Record], part: Vec<Entry<A::Entry>>) -> Ended {
        let mut whole = Ended { outcomes: Vec::new(), fault: None, is_over: false };
        let mut blocked = HashSet::new();
        for entry in part {
            let number = entry.number;
            let key = (batch[number].kind, &*batch[number].key);
            if whole.is_over || blocked.contains(&key) {
                whole.outcomes.push((number, Outcome::not_sent()));
                continue;
            }
            let Ended { outcomes, fault, is_over } = Box::pin(self.exchange(lent, batch, vec![entry])).await;
            if outcomes.iter().any(|(_, outcome)| blocks_key(&self.api, outcome)) {
                blocked.insert(key);
            }
            whole.outcomes.extend(outcomes);
            whole.fault = fault.or(whole.fault);
            whole.is_over |= is_over;
        }
        whole
    }

    /// Sends one call, unless a lease ends before its answer.
    async fn call(
        &self,
        lent: &Lent<A::Client>,
        batch: &[Record],
        part: &[Entry<A::Entry>],
    ) -> Result<Vec<Answer>, Fault> {
        let unheld = || Fault::Passing(ErrorClass::Unsent, "the lease is not held any more".to_owned());
        let entries = part.iter().map(|entry| entry.entry.clone()).collect();
        let answers = tokio::select! {
            biased;
            () = lease::until_unheld(part.iter().map(|entry| &batch[entry.number])) => return Err(unheld()),
            answer = self.api.call(&lent.reach, entries) => answer?,
        };
        if answers.len() != part.len() {
            let (name, count, sent) = (self.api.service().name, answers.len(), part.len());
            let reason = format!("{name} answered for {count} of {sent} records, so for none");
            return Err(Fault::Passing(ErrorClass::Server, reason));
        }
        Ok(answers)
    }

    fn answered(&self, lent: &Lent<A::Client>, part: &[Entry<A::Entry>], answers: Vec<Answer>) -> Ended {
        let target = Target { service: self.api.service(), name: self.api.target(), region: &lent.reach.region };
        let mut fault = None;
        let outcome = |(entry, answer): (&Entry<A::Entry>, Answer)| {
            let (outcome, found) = of_answer(answer, target);
            fault = fault.take().or(found);
            (entry.number, outcome)
        };
        let outcomes = part.iter().zip(answers).map(outcome).collect();
        Ended { outcomes, fault, is_over: false }
    }

    /// Logs a fault that only people can fix, once: otherwise it looks like any other outage.
    fn report_once(&self, fault: &Fault) {
        if fault.needs_people() && !self.is_reported.swap(true, Ordering::Relaxed) {
            tracing::error!(sink = self.api.name(), reason = fault.reason(), "target refuses every record");
        }
    }
}

/// The outcome of one record, and the fault behind it if it is not the record's own.
fn of_answer(answer: Answer, target: Target<'_>) -> (Outcome, Option<Fault>) {
    let name = target.service.name;
    let (code, said, is_ours) = match answer {
        Answer::Taken => return (Outcome::Delivered, None),
        Answer::Missing => {
            return (Outcome::failed(ErrorClass::Server, format!("{name} gave it no id")), None);
        }
        Answer::Failed { code, said, is_ours } => (code, said, is_ours),
    };
    // The status of an answer that is about a whole call.
    match Fault::of_answer(400, &code, &said, target) {
        Fault::Data(answer) => (Outcome::Reject { reason: format!("{name} answered {answer}") }, None),
        Fault::Passing(ErrorClass::Server, reason) if is_ours => {
            // An unknown code: it can be about the record, or about the target.
            let refusal = Some(format!("{code}: {said}"));
            (Outcome::Retry { reason, after: None, refusal, class: ErrorClass::Refused }, None)
        }
        Fault::Passing(class, _) => {
            let reason = format!("{name} answered {code} for the record: {said}");
            (Outcome::failed(class, reason), None)
        }
        fault => (fault.outcome(), Some(fault)),
    }
}

/// Several batches at a time, as the policy says.
impl<A: Api> Sink for Publisher<A> {
    fn name(&self) -> &'static str {
        self.api.name()
    }

    fn send<'a>(&'a self, batch: &'a [Record]) -> BoxFuture<'a, Result<Vec<Outcome>, Closed>> {
        Box::pin(async { Ok(self.put(batch).await) })
    }
}

#[cfg(test)]
mod tests;
