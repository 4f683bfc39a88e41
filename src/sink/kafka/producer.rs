//! One producer of the client library: the threads behind it, what it says about its brokers, and its end.
//!
//! librdkafka sends from a queue of its own, in threads of its own. [`Producer::close`] empties the queue at once, also of what waits
//! for an answer; then the connections are closed, and with them goes what was written in part.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext as _, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig},
};
use tokio::{
    sync::oneshot,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use super::{Config, Message, client, fault::Fault, reports::Ticket};
use crate::{
    redact::{WORDS, shown},
    sink::{ErrorClass, Unusable},
};

/// How long all brokers may be away before the sink gives up what waits for them. A connection that only broke is back before, and
/// the client then sends again what had no answer, without repeats.
const GRACE: Duration = Duration::from_secs(2);

/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long the thread of reports waits before it looks whether the producer is closed.
const POLL: Duration = Duration::from_millis(50);

/// How long [`Producer::close_and_wait`] waits. A thread of the client that resolves a name hears nothing meanwhile, and has no connection.
const PURGE: Duration = Duration::from_secs(1);

/// A running producer. Dropping the last handle closes it.
pub(super) struct Producer {
    /// `None` once it is closed.
    native: Mutex<Option<Arc<Native>>>,
    context: Arc<Context>,
    /// Ends the thread of reports.
    stop: Arc<AtomicBool>,
    /// What the files of TLS were when it was made.
    stamp: client::Stamp,
    /// Another one has to take its place before the next batch.
    is_stale: AtomicBool,
}

/// The client's own producer. Dropping it ends its threads and closes its connections, which takes a moment.
pub(super) struct Native {
    pub(super) producer: BaseProducer<Context>,
    /// Dropped last.
    _gone: oneshot::Sender<()>,
}

/// Resolves, with an error, when a producer is gone with its threads and connections.
pub(super) type Gone = oneshot::Receiver<()>;

impl Producer {
    /// Starts one. It connects by itself, in the background.
    ///
    /// # Errors
    /// A file of TLS cannot be used, or the client does not accept a setting.
    pub(super) fn start(config: &Config, request_bytes: usize) -> Result<(Self, Gone), Unusable> {
        Self::start_with(config, &client::settings(config, request_bytes)?)
    }

    /// The same with these settings of the client.
    pub(super) fn start_with(config: &Config, settings: &ClientConfig) -> Result<(Self, Gone), Unusable> {
        let stamp = client::Stamp::of(config);
        let refused = |error: KafkaError| {
            let error = shown(error.to_string(), WORDS);
            Unusable::new(format!(
                "the Kafka client does not accept its settings: {error}; correct those of SINK_KAFKA_"
            ))
        };
        let producer = BaseProducer::from_config_and_context(settings, Context::default()).map_err(refused)?;
        let context = Arc::clone(producer.context());
        let stop = Arc::new(AtomicBool::new(false));
        let (gone, is_gone) = oneshot::channel();
        let native = Arc::new(Native { producer, _gone: gone });
        let (polled, stopped) = (Arc::clone(&native), Arc::clone(&stop));
        let reports = move || {
            while !stopped.load(Ordering::Acquire) {
                polled.producer.poll(POLL);
            }
        };
        let started = thread::Builder::new().name("kafka-reports".to_owned()).spawn(reports);
        started.map_err(|error| Unusable::new(format!("cannot start a thread for Kafka: {error}")))?;
        let (native, is_stale) = (Mutex::new(Some(native)), AtomicBool::new(false));
        Ok((Producer { native, context, stop, stamp, is_stale }, is_gone))
    }

    /// Puts a message into the queue. The answer comes with its ticket.
    ///
    /// # Errors
    /// The client does not take it.
    pub(super) fn put(&self, message: Message<'_>, body: &[u8], ticket: Box<Ticket>) -> Result<(), RDKafkaErrorCode> {
        let Message { topic, key, headers, .. } = message;
        let native = lock(&self.native);
        let Some(native) = &*native else { return Err(RDKafkaErrorCode::PurgeQueue) };
        let record: BaseRecord<'_, str, [u8], Box<Ticket>> =
            BaseRecord::with_opaque_to(&topic, ticket).key(&*key).payload(body).headers(headers);
        native.producer.send(record).map_err(|(error, _)| code_of(&error))
    }

    /// Takes back at once whatever is not acknowledged, and closes the connections.
    pub(super) fn close(&self) {
        if let Some(native) = self.purge() {
            // The other handle is with the thread of reports: it takes a moment to drop the last one.
            drop(native);
            self.stop.store(true, Ordering::Release);
        }
    }

    /// The same, and waits until the client has taken it back.
    pub(super) async fn close_and_wait(&self) {
        if let Some(native) = self.purge() {
            self.stop.store(true, Ordering::Release);
            let purge = spawn_blocking(move || native.producer.purge(PurgeConfig::default().queue().inflight()));
            if !matches!(timeout(PURGE, purge).await, Ok(Ok(()))) {
                tracing::debug!("the kafka client closes its connections later");
            }
        }
    }

    fn purge(&self) -> Option<Arc<Native>> {
        let native = lock(&self.native).take()?;
        native.producer.purge(PurgeConfig::default().queue().inflight().non_blocking());
        Some(native)
    }

    /// Notes that another producer has to take its place: this one keeps what it has learned, such as that a topic does not exist.
    pub(super) fn spoil(&self) {
        self.is_stale.store(true, Ordering::Release);
    }

    /// Whether another producer has to take its place, asked when nothing is under way.
    pub(super) fn must_go(&self, config: &Config) -> bool {
        self.native().is_none()
            || self.is_stale.load(Ordering::Acquire)
            || lock(&self.context.health).all_down.is_some()
            || self.stamp != client::Stamp::of(config)
    }

    /// Resolves when there is no use in waiting for its brokers.
    pub(super) async fn until_hopeless(&self) -> Fault {
        loop {
            if let Some(fault) = self.why_hopeless() {
                return fault;
            }
            sleep(LOOK).await;
        }
    }

    fn why_hopeless(&self) -> Option<Fault> {
        let is_closed = self.native().is_none();
        let health = lock(&self.context.health);
        if health.is_fatal || health.all_down.is_some_and(|since| since.elapsed() >= GRACE) {
            let unknown = || Fault::new(ErrorClass::Connection, "no broker can be reached; check SINK_KAFKA_BROKERS");
            return Some(health.last.clone().unwrap_or_else(unknown));
        }
        is_closed.then(|| Fault::new(ErrorClass::Unsent, "not sent: the connections were closed"))
    }

    /// What its brokers last failed with, since the last acknowledgement.
    pub(super) fn last_fault(&self) -> Option<Fault> {
        lock(&self.context.health).last.clone()
    }

    /// For what only the client itself can ask; `None` once it is closed.
    pub(super) fn native(&self) -> Option<Arc<Native>> {
        lock(&self.native).clone()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("is_stale", &self.is_stale).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the client has said about its brokers.
#[derive(Debug, Default)]
struct Health {
    /// No broker can be reached since then.
    all_down: Option<Instant>,
    /// The client will never send again.
    is_fatal: bool,
    /// What went wrong last.
    last: Option<Fault>,
}

/// What the client tells us.
#[derive(Debug, Default)]
pub(super) struct Context {
    health: Mutex<Health>,
}

impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message = shown(message, WORDS), "kafka client said");
    }

    fn error(&self, error: KafkaError, words: &str) {
        let code = code_of(&error);
        let mut health = lock(&self.health);
        match code {
            RDKafkaErrorCode::AllBrokersDown => {
                health.all_down.get_or_insert_with(Instant::now);
            }
            RDKafkaErrorCode::Fatal => {
                health.is_fatal = true;
                health.last = Some(Fault::of_client(code, words));
            }
            _ => {
                let fault = Fault::of_client(code, words);
                // Afterwards connections break, which says less.
                if !fault.is_vague() || health.last.as_ref().is_none_or(Fault::is_vague) {
                    health.last = Some(fault);
                }
            }
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        let failure = match result {
            Ok(_) => {
                *lock(&self.health) = Health::default();
                None
            }
            Err((error, _)) => Some(code_of(error)),
        };
        ticket.stamp(failure);
    }
}

/// The code of an error; all that are about records or brokers have one.
pub(super) fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
}
