//! Topics of a Kafka of the tests: making and limiting them, and what is in them.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    message::{Headers as _, Message as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::block_in_place,
};

use super::{PATIENCE, kafka::PASSWORD, kafka::WRITER};

const DEADLINE: Duration = Duration::from_secs(60);

/// The key of messages that only try whether a topic takes them.
const PROBE: &[u8] = b"probe";

fn client(brokers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers);
    client
}

/// Makes topics of so many partitions, with replicas on all brokers.
pub async fn create(brokers: &str, topics: &[&str], partitions: i32) {
    let replicas = i32::try_from(brokers.split(',').count()).expect("a few");
    let admin = admin(brokers);
    let new: Vec<_> =
        topics.iter().map(|topic| NewTopic::new(topic, partitions, TopicReplication::Fixed(replicas))).collect();
    let options = AdminOptions::new().operation_timeout(Some(DEADLINE)).request_timeout(Some(DEADLINE));
    for result in admin.create_topics(&new, &options).await.expect("Kafka makes topics") {
        result.expect("a topic");
    }
    // Each broker learns of it by itself.
    for broker in brokers.split(',') {
        let consumer: BaseConsumer = client(broker).create().expect("a consumer");
        let deadline = Instant::now() + PATIENCE;
        let is_led = |topic: &str| {
            let metadata = block_in_place(|| consumer.fetch_metadata(Some(topic), DEADLINE)).expect("metadata");
            let found = metadata.topics().first().expect("the topic");
            // A leader knows that it is one a little later than all others.
            let leads = |id: i32| block_in_place(|| consumer.fetch_watermarks(topic, id, DEADLINE)).is_ok();
            found.error().is_none()
                && !found.partitions().is_empty()
                && found.partitions().iter().all(|partition| partition.leader() > 0 && leads(partition.id()))
        };
        for topic in topics {
            while !is_led(topic) {
                assert!(Instant::now() < deadline, "{topic} has no leader");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// The broker that leads the partition 0 of a topic.
pub fn leader(brokers: &str, topic: &str) -> i32 {
    let consumer: BaseConsumer = client(brokers).create().expect("a consumer");
    let metadata = block_in_place(|| consumer.fetch_metadata(Some(topic), DEADLINE)).expect("metadata");
    metadata.topics()[0].partitions()[0].leader()
}

/// Limits how large a message of the topic may be, or lets go of the limit.
pub async fn limit(brokers: &str, topic: &str, bytes: Option<usize>) {
    let text = bytes.map(|bytes| bytes.to_string());
    let config = AlterConfig::new(ResourceSpecifier::Topic(topic));
    let config = match &text {
        Some(text) => config.set("max.message.bytes", text),
        None => config,
    };
    let altered = admin(brokers).alter_configs([&config], &AdminOptions::new()).await.expect("Kafka takes settings");
    altered.into_iter().next().expect("one answer").expect("the setting");
    if let Some(bytes) = bytes {
        until_refused(&client(brokers), topic, &" ".repeat(bytes)).await;
    }
}

/// Forbids [`WRITER`] to write to the topic, or no longer does. `through` is a listener with a login.
pub async fn forbid(brokers: &str, through: &str, topic: &str, is_forbidden: bool) {
    // As API key 30 or 31 in version 1 has it: CreateAcls and DeleteAcls of Kafka's protocol, which the client does not know.
    let text = |text: &str| {
        let length = i16::try_from(text.len()).expect("a short text");
        [&length.to_be_bytes()[..], text.as_bytes()].concat()
    };
    let api: i16 = if is_forbidden { 30 } else { 31 };
    let mut request = [&api.to_be_bytes()[..], &1_i16.to_be_bytes(), &7_i32.to_be_bytes(), &text("test")].concat();
    request.extend(1_i32.to_be_bytes());
    // Topic, literal name; write, deny.
    request.extend([&[2][..], &text(topic), &[3], &text(&format!("User:{WRITER}")), &text("*"), &[4, 2]].concat());
    let mut stream = TcpStream::connect(brokers).await.expect("a broker");
    let length = i32::try_from(request.len()).expect("a short request");
    stream.write_all(&[&length.to_be_bytes()[..], &request].concat()).await.expect("a request");
    let length = stream.read_i32().await.expect("an answer");
    let mut answer = vec![0; usize::try_from(length).expect("a length")];
    stream.read_exact(&mut answer).await.expect("an answer");
    // Behind correlation, throttle time and count.
    assert_eq!(answer[12..14], [0, 0], "{answer:?}");
    if is_forbidden {
        let mut writer = client(through);
        writer.set("security.protocol", "sasl_plaintext").set("sasl.mechanism", "PLAIN");
        writer.set("sasl.username", WRITER).set("sasl.password", PASSWORD);
        until_refused(&writer, topic, "{}").await;
    }
}

/// Waits until the topic refuses such a body: brokers learn of settings a little later.
async fn until_refused(client: &ClientConfig, topic: &str, body: &str) {
    let deadline = Instant::now() + PATIENCE;
    let mut client = client.clone();
    client.set("message.timeout.ms", "10000").set("linger.ms", "0");
    loop {
        let refused = block_in_place(|| {
            // A producer that was refused once may refuse by itself.
            let producer: BaseProducer<Answers> = client.create_with_context(Answers::default()).expect("a producer");
            let record = BaseRecord::to(topic).key(PROBE).payload(body);
            if producer.send(record).is_err() {
                return true;
            }
            producer.flush(DEADLINE).expect("an answer in time");
            producer.context().0.load(std::sync::atomic::Ordering::SeqCst)
        });
        if refused {
            return;
        }
        assert!(Instant::now() < deadline, "{topic} takes everything");
    }
}

/// Whether a message was refused.
#[derive(Default)]
struct Answers(std::sync::atomic::AtomicBool);

impl rdkafka::ClientContext for Answers {}

impl rdkafka::producer::ProducerContext for Answers {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        self.0.store(result.is_err(), std::sync::atomic::Ordering::SeqCst);
    }
}

fn admin(brokers: &str) -> AdminClient<DefaultClientContext> {
    client(brokers).create().expect("an administrator")
}

/// A message as a consumer sees it.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub partition: i32,
    pub key: String,
    pub body: String,
    pub timestamp: i64,
    pub headers: Vec<(String, String)>,
}

impl Message {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| &**value)
    }
}

/// A consumer of whole topics, from their beginning on.
pub struct Reader {
    consumer: BaseConsumer,
    assigned: Vec<(String, i32)>,
}

impl Reader {
    pub fn new(brokers: &str, topics: &[&str], partitions: i32) -> Self {
        let mut client = client(brokers);
        client.set("group.id", "test").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "20");
        client.set("allow.auto.create.topics", "false").set("check.crcs", "true");
        let consumer: BaseConsumer = client.create().expect("a consumer");
        let assigned: Vec<_> =
            topics.iter().flat_map(|topic| (0..partitions).map(|partition| ((*topic).to_owned(), partition))).collect();
        let mut list = TopicPartitionList::new();
        for (topic, partition) in &assigned {
            list.add_partition_offset(topic, *partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&list).expect("an assignment");
        Reader { consumer, assigned }
    }

    /// What is in the topics by now, and was not read before, in the order of each partition.
    pub fn read(&self) -> Vec<Message> {
        block_in_place(|| {
            let deadline = Instant::now() + PATIENCE;
            let mut due: HashSet<(String, i32)> = HashSet::new();
            let mut ends = std::collections::HashMap::new();
            for (topic, partition) in &self.assigned {
                let (_, end) =
                    self.consumer.fetch_watermarks(topic, *partition, DEADLINE).expect("the end of a partition");
                ends.insert((topic.clone(), *partition), end);
                if end > self.position(topic, *partition) {
                    due.insert((topic.clone(), *partition));
                }
            }
            let mut messages = Vec::new();
            while !due.is_empty() {
                assert!(Instant::now() < deadline, "{due:?} are not read");
                let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(100)) else { continue };
                let place = (message.topic().to_owned(), message.partition());
                if ends.get(&place).is_some_and(|end| message.offset() + 1 >= *end) {
                    due.remove(&place);
                }
                if message.key() != Some(PROBE) {
                    messages.push(owned(&message));
                }
            }
            messages
        })
    }

    /// How many messages there are by now.
    pub fn count(&self) -> u64 {
        let count = |(topic, partition): &(String, i32)| {
            let (from, to) =
                self.consumer.fetch_watermarks(topic, *partition, DEADLINE).expect("the ends of a partition");
            u64::try_from(to - from).expect("an end behind the beginning")
        };
        block_in_place(|| self.assigned.iter().map(count).sum())
    }

    /// The next message, if one comes soon.
    pub fn next(&self) -> Option<Message> {
        block_in_place(|| match self.consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => Some(owned(&message)),
            _ => None,
        })
    }

    /// Reads until so many different ids have come.
    pub fn take(&self, ids: usize) -> Vec<Message> {
        let (mut messages, mut seen, begun) = (Vec::new(), HashSet::new(), Instant::now());
        while seen.len() < ids {
            assert!(begun.elapsed() < PATIENCE, "{} of {ids} records have come", seen.len());
            if let Some(message) = self.next() {
                seen.insert(message.header("id").expect("an id").to_owned());
                messages.push(message);
            }
        }
        messages
    }

    /// The offset behind the last message that was read.
    fn position(&self, topic: &str, partition: i32) -> i64 {
        let positions = self.consumer.position().expect("positions");
        match positions.find_partition(topic, partition).map(|it| it.offset()) {
            Some(Offset::Offset(offset)) => offset,
            _ => 0,
        }
    }
}

fn owned(message: &rdkafka::message::BorrowedMessage<'_>) -> Message {
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("UTF-8");
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    Message {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        key: text(message.key()),
        body: text(message.payload()),
        timestamp: message.timestamp().to_millis().unwrap_or_default(),
        headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
    }
}
