//! Sends batches over one connection, one at a time.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::{Instant, sleep_until};
use xxhash_rust::xxh3::xxh3_128;

use super::{Outcome, Record, Settings, fault::Fault, wire::Wire};
use crate::{
    kind::Kind,
    lease::LeaseState,
    record::Envelope,
    sink::{ErrorClass, lease},
};

/// How long the confirms of a batch may take. A broker that writes to a slow disk or to replicas needs time. The
/// heartbeats notice a broker that is gone.
const CONFIRMS: Duration = Duration::from_secs(30);

/// The code of a message that no queue is bound for (`NO_ROUTE`).
const NO_ROUTE: u16 = 312;

/// Before the name of a CloudEvent's attribute in binary mode (AMQP protocol binding 1.0.2, section 3.1.3.1). It is written for
/// AMQP 1.0; RabbitMQ shows headers of AMQP 0-9-1 as the application properties of AMQP 1.0.
const ATTRIBUTE: &str = "cloudEvents_";

/// One connection, and how far it has come.
#[derive(Debug, Default)]
pub(super) struct Worker {
    link: Link,
    /// The log says that access is refused.
    is_reported: bool,
}

/// How far a connection has come. Each step that fails falls back to an earlier one.
#[derive(Debug, Default)]
enum Link {
    /// There is none.
    #[default]
    Down,
    /// It is up but has no channel: the broker closed the channel, or the sink gave it up.
    Idle(Wire),
    /// It has a channel without a confirm so far. The first record goes alone. It shows whether the exchange exists and
    /// whether the broker takes messages; if not, only that record is in flight.
    Fresh(Wire, Channel),
    /// Its channel works.
    Proven(Wire, Channel),
}

impl Link {
    /// Opens the connection and the channel if they are missing, within a bounded time.
    async fn raise(self, settings: &Settings) -> Result<(Wire, Channel, bool), (Link, Fault)> {
        let mut wire = match self {
            Link::Fresh(wire, channel) if wire.is_up() && channel.status().connected() => {
                return Ok((wire, channel, false));
            }
            Link::Proven(wire, channel) if wire.is_up() && channel.status().connected() => {
                return Ok((wire, channel, true));
            }
            Link::Idle(wire) | Link::Fresh(wire, _) | Link::Proven(wire, _) if wire.is_up() => wire,
            _ => Wire::connect(settings).await.map_err(|fault| (Link::Down, fault))?,
        };
        // On a blocked connection, the broker opens a channel only when the block ends.
        if let Some(fault) = wire.blocked() {
            return Err((Link::Idle(wire), fault));
        }
        match wire.open_channel(settings).await {
            Ok(channel) => Ok((wire, channel, false)),
            Err(fault) if fault.spares_connection() => Err((Link::Idle(wire), fault)),
            Err(fault) => Err((Link::Down, fault)),
        }
    }
}

impl Worker {
    /// Sends `batch`, and answers for each of its records.
    pub(super) async fn send(&mut self, settings: &Settings, batch: &[Record]) -> Vec<Outcome> {
        let numbers: Vec<usize> = (0..batch.len()).collect();
        let mut answers = self.send_all(settings, batch, &numbers).await;
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, outcome)| outcome).collect()
    }

    async fn send_all(&mut self, settings: &Settings, batch: &[Record], numbers: &[usize]) -> Vec<(usize, Outcome)> {
        let Some((first, rest)) = numbers.split_at_checked(1) else { return Vec::new() };
        let (mut wire, channel, proven) = match mem::take(&mut self.link).raise(settings).await {
            Ok(raised) => raised,
            Err((link, fault)) => {
                self.link = link;
                self.report_once(&fault);
                return retry(numbers, &fault);
            }
        };
        if let Some(fault) = wire.blocked() {
            self.link = if proven { Link::Proven(wire, channel) } else { Link::Fresh(wire, channel) };
            return retry(numbers, &fault);
        }
        let parts = if proven { vec![numbers] } else { vec![first, rest] };
        let mut round = Round { settings, channel: &channel, answers: Vec::new(), confirmed: proven };
        for (at, part) in parts.iter().enumerate() {
            if let Err(fault) = round.publish(&mut wire, batch, part).await {
                let unsent: Vec<usize> = parts[at + 1..].concat();
                round.answers.extend(retry(&unsent, &fault));
                let answers = round.answers;
                // The broker has read what it blocked on, and a closed channel takes no more. If more than the first
                // record was in flight, the rest may still be buffered.
                let is_on_the_way = matches!(fault, Fault::Blocked(_)) && (proven || at > 0);
                self.link = if wire.is_up() && !is_on_the_way && is_clean(&fault) {
                    wire.is_dirty = false;
                    Link::Idle(wire)
                } else {
                    Link::Down
                };
                self.report_once(&fault);
                return answers;
            }
        }
        self.is_reported = false;
        let Round { answers, confirmed, .. } = round;
        self.link = if confirmed { Link::Proven(wire, channel) } else { Link::Fresh(wire, channel) };
        answers
    }

    /// Logs a refusal, which only people can fix, once: otherwise it looks like any other outage.
    fn report_once(&mut self, fault: &Fault) {
        if let Fault::Refused(reason) = fault
            && !mem::replace(&mut self.is_reported, true)
        {
            tracing::error!(%reason, "the broker refuses access");
        }
    }
}

/// Whether the connection can be kept, because no published message can be sent later.
fn is_clean(fault: &Fault) -> bool {
    fault.spares_connection() || matches!(fault, Fault::Blocked(_))
}

fn retry(numbers: &[usize], fault: &Fault) -> Vec<(usize, Outcome)> {
    numbers.iter().map(|number| (*number, fault.outcome())).collect()
}

/// One record in flight: its number, where it goes, and its confirm.
struct Flight<'a> {
    number: usize,
    target: String,
    message_id: String,
    confirm: BoxFuture<'a, lapin::Result<Confirmation>>,
}

struct Round<'a> {
    settings: &'a Settings,
    channel: &'a Channel,
    answers: Vec<(usize, Outcome)>,
    /// Whether the broker has confirmed anything on this channel.
    confirmed: bool,
}

impl Round<'_> {
    /// Publishes these records and answers for each of them, even if the channel fails.
    async fn publish(&mut self, wire: &mut Wire, batch: &[Record], numbers: &[usize]) -> Result<(), Fault> {
        let mut flights = VecDeque::new();
        for number in numbers {
            let record = &batch[*number];
            if record.ack.lease_state() != LeaseState::Held {
                self.answers.push((*number, Outcome::failed(ErrorClass::Unsent, "the lease is not held")));
                continue;
            }
            match flight(self.settings, self.channel, *number, record) {
                Ok(mut flight) => {
                    wire.is_dirty = true;
                    // The first poll queues the message. Waiting here until it is written would prevent pipelining. The
                    // answer cannot be there yet, and the channel keeps an error.
                    if let Some(outcome) = (&mut flight.confirm).now_or_never() {
                        flight.confirm = Box::pin(std::future::ready(outcome));
                    }
                    flights.push_back(flight);
                }
                Err(reason) => self.answers.push((*number, Outcome::Reject { reason })),
            }
        }
        let result = self.confirms(wire, flights, batch).await;
        if result.is_ok() {
            wire.is_dirty = false;
        }
        result
    }

    async fn confirms(
        &mut self,
        wire: &mut Wire,
        mut flights: VecDeque<Flight<'_>>,
        batch: &[Record],
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + CONFIRMS;
        let numbers: Vec<usize> = flights.iter().map(|flight| flight.number).collect();
        let mut unheld = std::pin::pin!(lease::until_unheld(numbers.iter().map(|number| &batch[*number])));
        let mut fault = None::<Fault>;
        let mut acked = Vec::new();
        let mut failed = Vec::new();
        // A return comes before the confirm of its message, but the confirm of an earlier message can come between
        // them. The client hands out a return with the next confirm.
        let mut returned = HashSet::new();
        // A missed confirm may carry the return of a later message, so no confirm after a missed one is trusted.
        let mut is_whole = true;
        while let Some(mut flight) = flights.pop_front() {
            let outcome = if fault.is_none() {
                tokio::select! {
                    biased;
                    outcome = &mut flight.confirm => Some(outcome),
                    blocked = wire.until_blocked() => {
                        fault = Some(blocked);
                        flight.confirm.now_or_never()
                    }
                    () = &mut unheld => {
                        fault = Some(Fault::Silent("the lease is not held any more".to_owned()));
                        None
                    }
                    () = sleep_until(deadline) => {
                        let broker = &self.settings.shown;
                        fault = Some(Fault::Silent(format!("{broker} did not confirm within {CONFIRMS:?}")));
                        None
                    }
                }
            } else {
                // A record that is confirmed by now is delivered, whatever happened since.
                flight.confirm.now_or_never()
            };
            let Flight { number, target, message_id, .. } = flight;
            match outcome {
                Some(Ok(confirmation)) => {
                    let is_ack = confirmation.is_ack();
                    if let Some(message) = confirmation.take_message()
                        && message.reply_code == NO_ROUTE
                        && let Some(id) = message.delivery.properties.message_id()
                    {
                        returned.insert(id.as_str().to_owned());
                    }
                    if !is_whole {
                        failed.push(number);
                    } else if is_ack {
                        acked.push((number, target, message_id));
                    } else {
                        self.answers.push((
                            number,
                            Outcome::failed(ErrorClass::Server, "the broker could not store the message (nack)"),
                        ));
                    }
                }
                Some(Err(error)) => {
                    let found = Fault::of(&error, self.settings);
                    if fault.as_ref().is_none_or(|fault| fault.is_vague() && !found.is_vague()) {
                        fault = Some(found);
                    }
                    failed.push(number);
                }
                None => {
                    is_whole = false;
                    failed.push(number);
                }
            }
        }
        self.confirmed |= !acked.is_empty();
        for (number, target, message_id) in acked {
            let outcome = if returned.contains(&message_id) {
                Outcome::Reject { reason: format!("no queue is bound for {target}") }
            } else {
                Outcome::Delivered
            };
            self.answers.push((number, outcome));
        }
        let Some(fault) = fault else { return Ok(()) };
        self.answers.extend(failed.into_iter().map(|number| {
            let outcome = match &fault {
                Fault::TooLarge { limit, reason } if batch[number].body.len() > *limit => {
                    Outcome::Reject { reason: reason.clone() }
                }
                fault => fault.outcome(),
            };
            (number, outcome)
        }));
        Err(fault)
    }
}

/// Makes a message of a record. Nothing is published before the first poll of its confirm.
fn flight<'a>(
    settings: &Settings,
    channel: &'a Channel,
    number: usize,
    record: &'a Record,
) -> Result<Flight<'a>, String> {
    let (exchange, key) = (settings.exchange.render(record), settings.routing_key.render(record));
    let target = format!("routing key \"{key}\" at exchange \"{exchange}\"");
    let short = |what: &str, text: &str| {
        ShortString::try_new(text).map_err(|_| format!("the {what} would have {} bytes; 255 are the most", text.len()))
    };
    let (exchange, key) = (short("exchange's name", &exchange)?, short("routing key", &key)?);
    let message_id = message_id(record);
    let properties = properties(record, &message_id, settings.cluster.as_deref());
    let options = BasicPublishOptions { mandatory: settings.mandatory, immediate: false };
    let confirm = async move { channel.basic_publish(exchange, key, options, &record.body, properties).await?.await };
    Ok(Flight { number, target, message_id, confirm: Box::pin(confirm) })
}

/// The record's id, or a hash of an id that is too long for AMQP.
fn message_id(record: &Record) -> String {
    match &*record.id {
        id if id.len() <= 255 => id.to_owned(),
        id => format!("xxh3-{:032x}", xxh3_128(id.as_bytes())),
    }
}

fn properties(record: &Record, message_id: &str, cluster: Option<&str>) -> BasicProperties {
    let Record { kind, namespace, job, .. } = record;
    let mut headers = BTreeMap::new();
    let mut header = |name: &str, value: &str| {
        if !value.is_empty() {
            headers.insert(ShortString::from(name), AMQPValue::LongString(value.into()));
        }
    };
    header("kind", Kind::name(*kind));
    header("namespace", namespace);
    header("job", job);
    header("cluster", cluster.unwrap_or_default());
    let content_type = match &record.envelope {
        Envelope::None => "application/json",
        Envelope::CloudEvent => "application/cloudevents+json",
        Envelope::Attributes(attributes) => {
            for (name, value) in attributes.iter() {
                header(&format!("{ATTRIBUTE}{name}"), value);
            }
            "application/json"
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    BasicProperties::default()
        .with_content_type(content_type.into())
        .with_headers(FieldTable::from(headers))
        // Persistent: a durable queue keeps it over a restart.
        .with_delivery_mode(2)
        .with_message_id(message_id.into())
        .with_timestamp(now.as_secs())
        .with_type(Kind::name(*kind).into())
        .with_app_id("nomad-firehose".into())
}
