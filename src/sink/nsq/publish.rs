//! Publishes one batch: one command for each topic, the next one when the one before it is answered. After an error nsqd closes the connection,
//! and a command that it has not read yet would take the words of the error with it.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    pin::pin,
    time::Duration,
};

use tokio::time::timeout;

use super::{
    Settings,
    command::{Command, Limits},
    fault::{Fault, Said, judged},
    proto, topic,
    wire::{Answer, Link},
};
use crate::{
    lease::LeaseState,
    record::Record,
    sink::{ErrorClass, Outcome, lease},
};

/// How long the words may take that nsqd said before it closed the connection.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What became of a batch so far.
pub(super) struct Round<'a> {
    ack_timeout: Duration,
    batch: &'a [Record],
    topics: Vec<Cow<'a, str>>,
    outcomes: Vec<Option<Outcome>>,
    /// The commands that have no answer, in the order in which they are written.
    due: VecDeque<Command>,
    /// The first of them is written, or could be.
    is_written: bool,
    /// The first failure that only people can fix.
    pub(super) refused: Option<Fault>,
}

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Ended {
    /// nsqd refused a command.
    Refused,
    /// The same, and another server may take it.
    Elsewhere,
    /// It is not known what became of the command that was written.
    Broken(Fault),
}

impl<'a> Round<'a> {
    pub(super) fn new(settings: &'a Settings, batch: &'a [Record]) -> Self {
        let mut outcomes: Vec<_> = batch.iter().map(|_| None).collect();
        let (mut topics, mut due, mut known) = (Vec::new(), VecDeque::<Command>::new(), HashMap::new());
        for (number, record) in batch.iter().enumerate() {
            if record.body.is_empty() {
                outcomes[number] = Some(Outcome::Reject { reason: "NSQ takes no empty message".to_owned() });
                continue;
            }
            let topic = match topic::of(&settings.config.topic, record) {
                Ok(topic) => topic,
                Err(reason) => {
                    outcomes[number] = Some(Outcome::Reject { reason });
                    continue;
                }
            };
            match known.get(&topic) {
                Some(place) => due[*place].records.push(number),
                None => {
                    let place: usize = topics.len();
                    due.push_back(Command { topic: place, records: vec![number] });
                    known.insert(topic.clone(), place);
                    topics.push(topic);
                }
            }
        }
        Round {
            ack_timeout: settings.config.ack_timeout,
            batch,
            topics,
            outcomes,
            due,
            is_written: false,
            refused: None,
        }
    }

    /// Makes commands that nsqd takes, as far as is known. Returns whether there is anything left to send.
    pub(super) fn plan(&mut self, limits: Limits) -> bool {
        let size = |record: usize| self.batch[record].body.len();
        self.is_written = false;
        if let Some(limit) = limits.message {
            for command in &mut self.due {
                command.records.retain(|record| {
                    let fits = size(*record) <= limit;
                    if !fits {
                        let reason = format!(
                            "NSQ takes no message of {} bytes: nsqd's --max-msg-size is {limit}",
                            size(*record)
                        );
                        self.outcomes[*record] = Some(Outcome::Reject { reason });
                    }
                    fits
                });
            }
        }
        if let Some(limit) = limits.body {
            self.due = self.due.drain(..).flat_map(|command| command.within(limit, size)).collect();
        }
        self.due.retain(|command| !command.records.is_empty());
        !self.due.is_empty()
    }

    /// Sends what is planned over a connection. Only without an error is the connection of further use.
    pub(super) async fn over(&mut self, link: &mut Link, limits: &mut Limits) -> Result<(), Ended> {
        let lost = || Ended::Broken(Fault::new(ErrorClass::Unsent, "the lease is not held any more"));
        let mut unheld = pin!(lease::until_unheld(self.batch));
        while !self.due.is_empty() {
            let written = tokio::select! {
                biased;
                () = &mut unheld => return Err(lost()),
                written = self.write(link) => written,
            };
            // nsqd may have closed the connection in the midst of a command, and says why.
            let patience = match &written {
                Err(fault) if fault.class == ErrorClass::Connection => LAST_WORDS,
                Err(fault) => return Err(Ended::Broken(fault.clone())),
                Ok(()) => self.ack_timeout,
            };
            let answer = tokio::select! {
                biased;
                () = &mut unheld => return Err(lost()),
                answer = timeout(patience, link.answer()) => answer,
            };
            match answer {
                Ok(Ok(Answer::Taken)) => {
                    let command = self.due.pop_front().expect("it has one");
                    self.is_written = false;
                    command.records.into_iter().for_each(|record| self.outcomes[record] = Some(Outcome::Delivered));
                }
                Ok(Ok(Answer::Error(words))) => return Err(self.refused(link.server(), &words, limits)),
                Ok(Err(fault)) => return Err(Ended::Broken(fault)),
                Err(_) => {
                    let fix = "check nsqd and its disk, or raise SINK_NSQ_ACK_TIMEOUT";
                    let text = format!("{} answered nothing for {patience:?}; {fix}", link.server());
                    let late = Fault::new(ErrorClass::Timeout, text);
                    return Err(Ended::Broken(written.err().unwrap_or(late)));
                }
            }
        }
        Ok(())
    }

    /// The outcome of each record, after `fault` where there was one.
    pub(super) fn outcomes(self, fault: Option<&Fault>) -> Vec<Outcome> {
        let Round { mut outcomes, due, is_written, .. } = self;
        if let Some(fault) = fault {
            // Without a connection, all of them fail.
            let count = if is_written { 1 } else { due.len() };
            let failed = due.iter().take(count).flat_map(|command| &command.records);
            failed.for_each(|record| outcomes[*record] = Some(fault.outcome()));
        }
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(Outcome::not_sent)).collect()
    }

    /// Writes the next command, whose leases are held.
    async fn write(&mut self, link: &Link) -> Result<(), Fault> {
        let Some(Command { topic, records }) = self.due.front() else { return Ok(()) };
        let records = || records.iter().map(|record| &self.batch[*record]);
        if records().any(|record| record.ack.lease_state() != LeaseState::Held) {
            return Err(Fault::new(ErrorClass::Unsent, "the lease is not held"));
        }
        let mut frames = Vec::new();
        proto::publish(&mut frames, &self.topics[*topic], records().map(|record| &*record.body));
        self.is_written = true;
        link.write(&frames, self.ack_timeout).await
    }

    /// Notes what nsqd refused, so that the next plan gets further.
    fn refused(&mut self, server: &str, words: &str, limits: &mut Limits) -> Ended {
        let Some(command) = self.due.pop_front() else {
            return Ended::Broken(Fault::of_words(server, words));
        };
        let size = |record: &usize| self.batch[*record].body.len();
        let body = proto::body_size(command.records.iter().map(size));
        match judged(server, words) {
            Said::Message(limit) if command.records.iter().any(|record| size(record) > limit) => {
                limits.message = Some(limit);
                self.due.push_front(command);
            }
            Said::Body(limit) if body > limit && command.records.len() > 1 => {
                limits.body = Some(limit);
                self.due.push_front(command);
            }
            Said::Fault(fault) => return self.failed(&command, fault),
            said => match command.records[..] {
                [record] => {
                    let reason = match said {
                        Said::Data(reason) => reason,
                        _ => Fault::of_words(server, words).reason,
                    };
                    self.outcomes[record] = Some(Outcome::Reject { reason });
                }
                _ => {
                    tracing::debug!(records = command.records.len(), "a batch is refused, its halves are sent");
                    let [first, second] = command.halves();
                    self.due.push_front(second);
                    self.due.push_front(first);
                }
            },
        }
        Ended::Refused
    }

    /// A topic fails. What follows in it is not sent, so that nothing overtakes these records; other topics go on.
    fn failed(&mut self, command: &Command, fault: Fault) -> Ended {
        self.due.retain(|other| other.topic != command.topic);
        for record in &command.records {
            self.outcomes[*record] = Some(fault.outcome());
        }
        let is_elsewhere = matches!(fault.class, ErrorClass::Server | ErrorClass::Connection);
        if fault.is_for_people() {
            self.refused.get_or_insert(fault);
        }
        if is_elsewhere { Ended::Elsewhere } else { Ended::Refused }
    }
}
