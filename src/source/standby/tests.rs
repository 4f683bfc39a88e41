//! A standby and the drivers that take over from it, against a simulated cluster whose servers keep five lines.

mod second_stream;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use nomad_sim::{Broker, Hanging, Sim};
use serde_json::json;
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    checkpoint::{Checkpoint, StreamProgress, VERSION},
    dead_letter::{DeadLetters, Place},
    delivery::{
        self, Policy,
        testing::{Script, Switch},
    },
    ledger::Ledger,
    nomad::{Client, Config, Tls, TokenSource},
    position::{Identity, Position},
    source::{Reading, Start, spawn},
    telemetry::{Metrics, Status},
    window::Window,
};

/// The leader's last position: the last line it delivered.
const POSITION: u64 = 15;
/// No table answers during the standby: on a busy machine a stream is quiet for long between two lines, and a table
/// that is ahead by one of them would have a second stream opened, which tests count. The answer waits for what has to
/// arrive before it.
const TABLES: Hanging = Hanging { pages: false, tables: true, objects: false, summaries: false };
/// Room for everything.
const ROOM: usize = 1 << 20;

fn id(n: u64) -> String {
    format!("{n:08x}-0000-4000-8000-{n:012x}")
}

/// A line with a new evaluation; each is longer than the one before.
fn evaluation(index: u64, namespace: &str) -> String {
    evaluation_of(index, index, namespace)
}

fn evaluation_of(n: u64, index: u64, namespace: &str) -> String {
    let (id, length) = (id(n), "x".repeat(index as usize));
    let object = json!({"ID": id, "Namespace": namespace, "TriggeredBy": length, "JobID": "job", "Status": "complete",
                        "CreateIndex": n, "ModifyIndex": index});
    let event = json!({"Topic": "Evaluation", "Type": "EvaluationUpdated", "Index": index, "Key": id,
                       "Namespace": namespace, "FilterKeys": null, "Payload": {"Evaluation": object}});
    json!({"Index": index, "Events": [event]}).to_string()
}

fn kinds() -> Vec<(Kind, Vec<Topic>)> {
    vec![(Kind::Evaluations, vec![Topic::all("Evaluation")])]
}

fn leaders_at(index: u64) -> Positions {
    let streams = [("*".to_owned(), RaftIndex(index))].into();
    [(Kind::Evaluations, streams)].into()
}

/// A cluster, and one replica that stands by and takes over.
struct Scene {
    sim: Sim,
    ctx: Context,
    checkpoint: Checkpoint,
    leaders: watch::Sender<Positions>,
    delivered: UnboundedReceiver<Vec<String>>,
    streams: JoinSet<()>,
}

impl Scene {
    async fn new() -> Scene {
        let sim = Sim::builder().buffer(5).start().await.expect("starts");
        let lines = (10..=POSITION).map(|index| evaluation(index, "default"));
        sim.append_lines(lines).await.expect("lines of events");
        sim.server(0).hang(TABLES);
        let config = Config {
            addresses: vec![sim.url(0).parse().expect("an address")],
            region: None,
            token: TokenSource::None,
            basic_auth: None,
            tls: Tls::default(),
            // No test depends on it: where no server answers, a test waits for something else.
            timeout: Duration::from_secs(3600),
        };
        let (metrics, dead_letters) = (Metrics::new(&[Kind::Evaluations]), DeadLetters::new(Place::Log));
        let (sink, delivered) = Script::willing();
        let cancel = CancellationToken::new();
        let (delivery, _) = delivery::spawn(sink, Policy::default(), dead_letters.clone(), Arc::new(()), cancel);
        let ctx = Context {
            client: Client::new(config).expect("a plain configuration"),
            delivery,
            dead_letters,
            window: Window::new(64 << 10, &metrics),
            metrics,
            status: Status::new(&[Kind::Evaluations]),
            tap: Default::default(),
            start: Start::All,
            own_variables: None,
            polling: Default::default(),
            stop: CancellationToken::new(),
        };
        let known = Identity::new("Evaluation", "default", &id(POSITION), RaftIndex(POSITION), 0);
        let position = Position { index: RaftIndex(POSITION), seen: vec![known].into(), ..Position::default() };
        let stream = StreamProgress { position, namespaces: 1, ..StreamProgress::default() };
        let checkpoint =
            Checkpoint { version: VERSION, streams: [("*".to_owned(), stream)].into(), ..Default::default() };
        let (leaders, _) = watch::channel(leaders_at(POSITION));
        Scene { sim, ctx, checkpoint, leaders, delivered, streams: JoinSet::new() }
    }

    /// Stands by, and has read the line that the leader read last.
    async fn stand_by(&self, bytes: usize) -> Standby {
        let standby = self.start(bytes);
        until("it has buffered the leader's last line", || self.held() > 0).await;
        standby
    }

    fn start(&self, bytes: usize) -> Standby {
        let (wanted, waiting) = (kinds(), kinds().iter().map(|(kind, _)| *kind).collect::<Vec<_>>());
        Standby::start(&self.ctx, &["*".to_owned()], &wanted, &waiting, self.leaders.subscribe(), bytes)
    }

    /// Each line is read before the next is there: the server keeps few.
    async fn append(&self, indexes: std::ops::RangeInclusive<u64>, namespace: &str) {
        for index in indexes {
            let held = self.held();
            self.sim.append_line(evaluation(index, namespace)).await.expect("a line of events");
            until("the line is buffered", || self.held() != held).await;
        }
    }

    fn held(&self) -> usize {
        let text = self.ctx.metrics.encode().expect("it can be encoded");
        let value = text.lines().find_map(|line| line.strip_prefix("nomad_firehose_replay_buffer_bytes "));
        value.and_then(|value| value.parse().ok()).expect("a whole number")
    }

    fn lead(&mut self, warm: Warm) {
        self.lead_in(&["*".to_owned()], warm);
    }

    fn lead_in(&mut self, namespaces: &[String], warm: Warm) {
        self.sim.server(0).hang(Hanging::default());
        let (kind, topics) = kinds().remove(0);
        let ledger = Ledger::new(Arc::new(Switch::default()), self.checkpoint.clone());
        let wanted = [(kind, topics.clone())];
        self.streams = spawn(&self.ctx, namespaces, &wanted, &[Reading { kind, topics, ledger }], warm);
    }

    /// Waits for the records of exactly these indexes, in any order, and no other.
    async fn delivers(&mut self, indexes: impl IntoIterator<Item = u64>) {
        let mut missing: BTreeSet<u64> = indexes.into_iter().collect();
        while !missing.is_empty() {
            let next = timeout(Duration::from_secs(120), self.delivered.recv()).await;
            for record in next.unwrap_or_else(|_| panic!("not delivered: {missing:?}")).expect("the sink lives") {
                let index = record.split('/').nth(1).and_then(|index| index.parse().ok());
                assert!(missing.remove(&index.expect("an id holds its index")), "{record} is one too many");
            }
        }
    }

    fn asked(&self, path: &str) -> usize {
        self.sim.requests().iter().filter(|request| request.target.starts_with(path)).count()
    }

    /// How often the table was asked for its index alone.
    fn looks(&self) -> usize {
        let targets = self.sim.requests().into_iter().map(|request| request.target);
        targets
            .filter(|target| target.starts_with(LIST) && target.split(['?', '&']).any(|part| part == "per_page=1"))
            .count()
    }

    fn gaps(&self) -> u64 {
        self.ctx.metrics.summary(Kind::Evaluations).gaps
    }

    /// Neither a list nor a hole.
    fn assert_nothing_missed(&self) {
        assert_eq!((self.gaps(), self.asked(LIST) - self.looks()), (0, 0));
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

const STREAM: &str = "/v1/event/stream";
const LIST: &str = "/v1/evaluations?";

#[tokio::test]
async fn a_take_over_needs_nothing_of_the_servers_buffer() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.append(20..=79, "default").await;
    let warm = standby.take().await;
    scene.lead(warm);
    scene.delivers(20..=79).await;
    assert_eq!(scene.held(), 0, "what is delivered is not buffered");
    scene.sim.append_line(evaluation(80, "default")).await.expect("a line");
    scene.delivers(80..=80).await;
    scene.assert_nothing_missed();
    assert_eq!(scene.asked(STREAM), 1, "the stream itself is taken over");
}

/// A replica can lead jobs and stand by for evaluations. Whoever leads these reads the lines of both, so its position is past the last
/// evaluation.
#[tokio::test]
async fn what_is_waited_for_is_held_up_to_a_line_of_any_kind() {
    let mut scene = Scene::new().await;
    let wanted = [kinds().remove(0), (Kind::Jobs, vec![Topic::all("Job")])];
    let leaders = scene.leaders.subscribe();
    let standby = Standby::start(&scene.ctx, &["*".to_owned()], &wanted, &[Kind::Evaluations], leaders, ROOM);
    until("it has buffered the leader's last line", || scene.held() > 0).await;
    scene.append(16..=30, "default").await;
    let (held, index) = (scene.held(), 31);
    let event = json!({"Topic": "Job", "Type": "JobRegistered", "Index": index, "Key": "web", "Namespace": "default",
                       "FilterKeys": null, "Payload": {"Job": {"ID": "web", "Namespace": "default"}}});
    scene.sim.append_line(json!({"Index": index, "Events": [event]}).to_string()).await.expect("a line");
    until("the job is buffered", || scene.held() > held).await;
    scene.append(32..=60, "default").await;
    let known = Identity::new("Job", "default", "web", RaftIndex(index), 0);
    scene.checkpoint.streams.get_mut("*").expect("it is there").position =
        Position { index: RaftIndex(index), seen: vec![known].into(), ..Position::default() };
    scene.lead(standby.take().await);
    scene.delivers(32..=60).await;
    scene.assert_nothing_missed();
    assert_eq!(scene.asked(STREAM), 1, "the stream itself is taken over");
}

/// A stream that is not found for a moment can be back before the buffer has become useless.
#[tokio::test]
async fn what_is_held_outlasts_a_moment_without_a_stream() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.append(20..=59, "default").await;
    let (held, asked) = (scene.held(), scene.asked(STREAM));
    scene.sim.set_broker(Broker::Missing);
    scene.sim.server(0).drop_connections();
    until("it is answered that there is none", || scene.asked(STREAM) > asked + 1).await;
    assert_eq!(scene.held(), held);
    scene.sim.set_broker(Broker::Enabled);
    until("it subscribes again", || scene.sim.server(0).open_streams() > 0).await;
    scene.append(60..=79, "default").await;
    scene.lead(standby.take().await);
    scene.delivers(20..=79).await;
    scene.assert_nothing_missed();
}

/// What the test above would see without a buffer.
#[tokio::test]
async fn without_a_standby_the_servers_buffer_is_too_small() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.append(20..=79, "default").await;
    drop(standby);
    scene.lead(Warm::default());
    scene.delivers(20..=79).await;
    assert_eq!(scene.gaps(), 1);
    assert!(scene.asked(LIST) > scene.looks());
}

/// The leader fell between two lines of one index, which is neither lost nor, with the rest, sent again.
#[tokio::test]
async fn the_rest_of_the_leaders_last_index_is_delivered() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    let held = scene.held();
    scene.sim.append_line(evaluation_of(1000, POSITION, "default")).await.expect("a line");
    until("the line is buffered", || scene.held() > held).await;
    scene.append(20..=59, "default").await;
    scene.lead(standby.take().await);
    scene.delivers([POSITION].into_iter().chain(20..=59)).await;
    scene.assert_nothing_missed();
    assert_eq!(scene.asked(STREAM), 1);
}

/// The same with a leader that publishes only its index: events at that index are delivered again, and nothing is lost.
#[tokio::test]
async fn a_position_without_events_is_gone_on_from() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.append(20..=59, "default").await;
    scene.leaders.send_replace(leaders_at(30));
    let all = scene.held();
    until("lines are removed", || scene.held() < all).await;
    scene.checkpoint.streams.get_mut("*").expect("it is there").position = Position::at(RaftIndex(29));
    scene.lead(standby.take().await);
    scene.delivers(30..=59).await;
    scene.assert_nothing_missed();
    assert_eq!(scene.asked(STREAM), 1);
}

#[tokio::test]
async fn named_namespaces_are_held_apart() {
    let mut scene = Scene::new().await;
    scene.sim.add_namespace("other", Some(16)).await;
    let names = ["default".to_owned(), "other".to_owned()];
    let known = scene.checkpoint.streams.remove("*").expect("it is there");
    for name in &names {
        scene.checkpoint.streams.insert(name.clone(), StreamProgress { namespaces: 0, ..known.clone() });
    }
    let streams = names.iter().map(|name| (name.clone(), RaftIndex(POSITION))).collect();
    scene.leaders.send_replace([(Kind::Evaluations, streams)].into());
    let kinds = [(Kind::Nodes, vec![Topic::all("Node")]), kinds().remove(0)];
    let waiting: Vec<Kind> = kinds.iter().map(|(kind, _)| *kind).collect();
    let standby = Standby::start(&scene.ctx, &names, &kinds, &waiting, scene.leaders.subscribe(), ROOM);
    until("both are open", || scene.sim.server(0).open_streams() == 2 && scene.held() > 0).await;
    // The buffer was empty: it now continues from the line that a leader read last.
    scene.append(17..=17, "other").await;
    let position = &mut scene.checkpoint.streams.get_mut("other").expect("it is there").position;
    *position = Position::default();
    position.advance(RaftIndex(17), &[Identity::new("Evaluation", "other", &id(17), RaftIndex(17), 0)]);
    scene.append(20..=39, "default").await;
    scene.append(40..=59, "other").await;
    let warm = standby.take().await;
    assert_eq!(warm.streams.len(), 2);
    let nodes = |stream: &WarmStream| stream.topics.contains(&Topic::all("Node"));
    assert!(nodes(&warm.streams["default"]) && !nodes(&warm.streams["other"]));
    scene.lead_in(&names, warm);
    scene.delivers(20..=59).await;
    scene.assert_nothing_missed();
    assert_eq!(scene.asked(STREAM), 2);
}

#[tokio::test]
async fn what_the_leaders_have_passed_is_let_go() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.append(20..=39, "default").await;
    let all = scene.held();
    scene.leaders.send_replace(leaders_at(30));
    until("lines are removed", || scene.held() < all).await;
    // A leader of which nothing is known could need all of it.
    scene.leaders.send_replace(Positions::new());
    scene.append(40..=49, "default").await;
    let warm = standby.take().await;
    let stream = scene.checkpoint.streams.get_mut("*").expect("it is there");
    stream.position = Position::default();
    stream.position.advance(RaftIndex(30), &[Identity::new("Evaluation", "default", &id(30), RaftIndex(30), 0)]);
    scene.lead(warm);
    scene.delivers(31..=49).await;
    scene.assert_nothing_missed();
    assert_eq!(scene.asked(STREAM), 1);
}

#[tokio::test]
async fn a_leader_that_goes_back_is_followed() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.append(20..=22, "default").await;
    let all = scene.held();
    scene.leaders.send_replace(leaders_at(22));
    until("lines are removed", || scene.held() < all).await;
    scene.leaders.send_replace(leaders_at(POSITION));
    until("it restarts", || scene.asked(STREAM) == 2 && scene.held() == all).await;
    scene.append(23..=23, "default").await;
    scene.lead(standby.take().await);
    scene.delivers(20..=23).await;
    scene.assert_nothing_missed();
}

#[tokio::test]
async fn a_ring_that_was_too_small_is_not_used() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(4 << 10).await;
    scene.append(20..=79, "default").await;
    assert!(scene.held() <= 4 << 10);
    scene.lead(standby.take().await);
    scene.delivers(20..=79).await;
    assert_eq!((scene.gaps(), scene.held()), (1, 0));
}

#[tokio::test]
async fn a_stream_that_breaks_while_standing_by_goes_on() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    for round in 0..4 {
        let from = 20 + 10 * round;
        scene.append(from..=from + 9, "default").await;
        let before = scene.asked(STREAM);
        scene.sim.server(0).drop_connections();
        until("it subscribes again", || scene.asked(STREAM) > before && scene.sim.server(0).open_streams() > 0).await;
    }
    // The last connection brought nothing newer and repeats the last line, so it is not handed over.
    scene.lead(standby.take().await);
    scene.delivers(20..=59).await;
    scene.sim.append_line(evaluation(60, "default")).await.expect("a line");
    scene.delivers(60..=60).await;
    scene.assert_nothing_missed();
}

#[tokio::test]
async fn lines_without_a_stream_are_used_too() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.append(20..=59, "default").await;
    scene.sim.server(0).refuse(true);
    until("the stream is gone", || scene.sim.server(0).open_streams() == 0).await;
    scene.lead(standby.take().await);
    scene.delivers(20..=59).await;
    scene.sim.append_line(evaluation(60, "default")).await.expect("a line");
    scene.sim.server(0).refuse(false);
    scene.delivers(60..=60).await;
    scene.assert_nothing_missed();
}

#[tokio::test]
async fn a_stream_that_breaks_in_the_hand_over_is_subscribed_again() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.append(20..=59, "default").await;
    let warm = standby.take().await;
    scene.sim.server(0).drop_connections();
    scene.lead(warm);
    scene.delivers(20..=59).await;
    scene.sim.append_line(evaluation(60, "default")).await.expect("a line");
    scene.delivers(60..=60).await;
    scene.assert_nothing_missed();
}

#[tokio::test]
async fn a_namespace_that_is_created_while_standing_by_is_held_too() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.sim.add_namespace("late", Some(18)).await;
    until("it subscribes again", || scene.asked(STREAM) == 2 && scene.held() > 0).await;
    scene.append(20..=49, "late").await;
    scene.append(50..=59, "default").await;
    scene.lead(standby.take().await);
    scene.delivers(20..=59).await;
    scene.assert_nothing_missed();
    assert_eq!(scene.asked(STREAM), 2);
}

#[tokio::test]
async fn a_ring_without_the_leaders_namespaces_is_not_used() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.append(20..=22, "default").await;
    scene.checkpoint.streams.get_mut("*").expect("it is there").namespaces = 14;
    scene.lead(standby.take().await);
    scene.delivers(20..=22).await;
    assert_eq!(scene.asked(STREAM), 2, "it subscribes again");
    scene.assert_nothing_missed();
}

#[tokio::test]
async fn a_line_that_cannot_be_read_restarts_the_buffer() {
    let mut scene = Scene::new().await;
    let standby = scene.stand_by(ROOM).await;
    scene.append(20..=21, "default").await;
    scene.sim.server(0).inject("an error message\n");
    until("it restarts", || scene.asked(STREAM) == 2 && scene.held() > 0).await;
    scene.append(30..=59, "default").await;
    scene.lead(standby.take().await);
    scene.delivers((20..=21).chain(30..=59)).await;
    scene.assert_nothing_missed();
}

#[tokio::test]
async fn it_hands_over_at_once_while_nothing_answers() {
    let mut scene = Scene::new().await;
    scene.sim.server(0).freeze();
    let standby = scene.start(ROOM);
    // Usually long enough to connect; the test also holds if it was not.
    sleep(Duration::from_millis(50)).await;
    // Its query would take an hour.
    let warm = timeout(Duration::from_secs(120), standby.take()).await.expect("it does not wait for an answer");
    scene.sim.server(0).unstall();
    scene.lead(warm);
    scene.sim.append_line(evaluation(20, "default")).await.expect("a line");
    scene.delivers(20..=20).await;
    assert_eq!(scene.gaps(), 0);
    // Turned off, it opens nothing.
    let before = scene.sim.requests().len();
    let off = scene.start(0);
    assert!(off.take().await.streams.is_empty());
    assert_eq!(scene.sim.requests().len(), before);
}
