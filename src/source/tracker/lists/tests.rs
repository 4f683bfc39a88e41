//! Pages beside the stream, with lines and pieces in any order.

mod reported;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    checkpoint::{Checkpoint, Gap},
    dead_letter::{DeadLetters, Place},
    delivery::{
        self, Policy,
        testing::{Script, Switch},
    },
    ledger::Ledger,
    nomad::{
        self, Client, Config, Tls, TokenSource, Topic,
        line::{Line, Occurrences, Text},
    },
    sink::Outcome,
    source::Start,
    telemetry::{Leadership, Metrics, SourceState, Status},
    window::Window,
};

/// The objects of the cluster.
const OBJECTS: u64 = 4;

/// What is printed of each object: versions, or times of task events.
type Delivered = Arc<Mutex<Vec<Value>>>;

/// No server is asked: the test itself supplies the pages.
fn context() -> (Context, Delivered) {
    let config = Config {
        addresses: vec!["http://127.0.0.1:9".parse().expect("an address")],
        region: None,
        token: TokenSource::None,
        basic_auth: None,
        tls: Tls::default(),
        timeout: Duration::from_secs(10),
    };
    let kinds = [Kind::Evaluations, Kind::Allocations];
    let (metrics, dead_letters) = (Metrics::new(&kinds), DeadLetters::new(Place::Log));
    let delivered = Delivered::default();
    let into = Arc::clone(&delivered);
    let (sink, _) = Script::new(move |batch| {
        let bodies = batch.iter().map(|record| serde_json::from_slice(&record.body).expect("JSON"));
        into.lock().expect("no panic while locked").extend(bodies);
        Some(Ok(batch.iter().map(|_| Outcome::Delivered).collect()))
    });
    let (delivery, _) =
        delivery::spawn(sink, Policy::default(), dead_letters.clone(), Arc::new(()), CancellationToken::new());
    let ctx = Context {
        client: Client::new(config).expect("a plain configuration"),
        delivery,
        dead_letters,
        window: Window::new(1 << 20, &metrics),
        metrics,
        status: Status::new(&kinds),
        tap: Default::default(),
        start: Start::All,
        own_variables: None,
        polling: Default::default(),
        stop: CancellationToken::new(),
    };
    (ctx, delivered)
}

/// A cluster whose object at `history[n]` changed at raft index `n + 1`: an evaluation, or an allocation that has one task
/// event more.
struct Cluster {
    kind: Kind,
    history: Vec<u64>,
}

impl Cluster {
    fn end(&self) -> u64 {
        self.history.len() as u64
    }

    /// The indexes at which the object changed, up to an index.
    fn versions(&self, object: u64, until: u64) -> Vec<u64> {
        (1..=until).filter(|index| self.history[*index as usize - 1] == object).collect()
    }

    fn object(&self, object: u64, versions: &[u64]) -> Value {
        let id = format!("object-{object}");
        let (index, created) = (versions.last(), self.versions(object, self.end()).first().copied());
        if self.kind == Kind::Evaluations {
            return json!({"ID": id, "JobID": "job", "CreateIndex": created, "ModifyIndex": index, "Namespace": "default"});
        }
        let kept = &versions[versions.len().saturating_sub(10)..];
        let events: Vec<_> = kept.iter().map(|time| json!({"Type": "Started", "Time": time})).collect();
        json!({"ID": id, "JobID": "job", "ModifyIndex": index, "Namespace": "default", "ClientStatus": "running",
               "TaskStates": {"task": {"State": "running", "Failed": false, "Events": events}}})
    }

    fn line(&self, index: u64) -> Text {
        let object = self.history[index as usize - 1];
        let topic = self.kind.topic().expect("no raw events");
        let payload = self.object(object, &self.versions(object, index));
        let event = json!({"Topic": topic, "Type": "Updated", "Key": format!("object-{object}"), "Index": index,
                           "Namespace": "default", "Payload": {topic: payload}});
        Text::new(json!({"Index": index, "Events": [event]}).to_string().into())
    }

    /// The elements of one of two pages, as of an index.
    fn page(&self, second: bool, at: u64) -> Vec<Bytes> {
        let objects = (0..OBJECTS).filter(|object| (object % 2 == 1) == second);
        let listed = objects.map(|object| (object, self.versions(object, at))).filter(|(_, it)| !it.is_empty());
        listed.map(|(object, versions)| self.object(object, &versions).to_string().into()).collect()
    }
}

/// A tracker, and a server that streams from an index and answers for pages.
struct Scene {
    cluster: Cluster,
    ctx: Context,
    tracker: Tracker,
    occurrences: Occurrences,
    streamed: u64,
    /// The pieces of the page under way that have yet to arrive.
    pieces: Vec<PagePiece>,
}

impl Scene {
    async fn stream(&mut self) {
        if self.streamed == self.cluster.end() || self.tracker.holds_stream() {
            return;
        }
        self.streamed += 1;
        let text = self.cluster.line(self.streamed);
        let line = Line::parse(&text, &mut self.occurrences).expect("a line");
        let identities = line.identities();
        self.tracker.take_line(&self.ctx, (&line, &identities), &None, None).await.expect("delivery goes on");
    }

    /// The next piece of the page under way, or a page is asked for, of a state up to `ahead` newer than the stream.
    async fn list(&mut self, ahead: u64, fails: bool) {
        if self.tracker.list.page.is_none() {
            let Some(pass) = self.tracker.backfill.next() else { return };
            let second = pass.page.is_some();
            let at = (self.streamed + ahead).min(self.cluster.end());
            self.tracker.ask_page(&self.ctx);
            let head = PageHead {
                index: RaftIndex(at),
                next_page: (!second).then(|| "second".to_owned()),
                known_leader: true,
                last_contact: Duration::ZERO,
                server: String::new(),
            };
            let elements = self.cluster.page(second, at).into_iter();
            self.pieces = vec![if fails { PagePiece::Failed(failure()) } else { PagePiece::End }];
            self.pieces.extend(elements.map(|element| PagePiece::Elements(vec![element], None)));
            self.pieces.push(PagePiece::Head(head));
        } else {
            let piece = self.pieces.pop();
            self.tracker.take_piece(&self.ctx, piece).await.expect("delivery goes on");
        }
    }
}

fn failure() -> nomad::Error {
    nomad::Error::Broken { address: String::new(), what: String::new(), reason: String::new() }
}

/// What was delivered of each object, in order.
async fn run(cluster: Cluster, start: u64, steps: &[(bool, u64, bool)]) -> BTreeMap<String, Vec<u64>> {
    let (ctx, delivered) = context();
    let kind = cluster.kind;
    let ledger = Ledger::new(Arc::new(Switch::default()), Checkpoint::default());
    let topics = vec![Topic::all(kind.topic().expect("no raw events"))];
    let tracker = Tracker::new(kind, topics, "*".into(), ledger);
    let occurrences = Occurrences::default();
    let mut scene = Scene { cluster, ctx, tracker, occurrences, streamed: start, pieces: Vec::new() };
    for (list, ahead, fails) in steps {
        if *list { scene.list(*ahead, *fails).await } else { scene.stream().await }
    }
    // Then all the rest.
    while scene.streamed < scene.cluster.end() {
        scene.stream().await;
        scene.list(0, false).await;
    }
    while !scene.tracker.backfill.is_empty() || scene.tracker.list.page.is_some() {
        scene.list(0, false).await;
    }
    scene.ctx.delivery.drain().await.expect("delivery goes on");
    let mut objects: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in delivered.lock().expect("no panic while locked").iter() {
        let (id, version) = match kind {
            Kind::Evaluations => (&record["ID"], &record["ModifyIndex"]),
            _ => (&record["AllocationID"], &record["TaskEvent"]["Time"]),
        };
        let id = id.as_str().expect("an id").to_owned();
        objects.entry(id).or_default().push(version.as_u64().expect("a number"));
    }
    objects
}

fn history() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(0..OBJECTS, 4..24)
}

fn steps() -> impl Strategy<Value = Vec<(bool, u64, bool)>> {
    prop::collection::vec((any::<bool>(), 0..6_u64, prop::bool::weighted(0.2)), 0..60)
}

/// What the stream began with, of a history that is a part of the way through.
fn start_of(history: &[u64], start: prop::sample::Index) -> u64 {
    start.index(history.len() - 1) as u64
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// The versions of each object arrive in order, each once, the newest at the end, and everything that the stream
    /// brought is among them.
    #[test]
    fn no_version_comes_after_a_newer_one(history in history(), start: prop::sample::Index, steps in steps()) {
        let start = start_of(&history, start);
        let cluster = || Cluster { kind: Kind::Evaluations, history: history.clone() };
        let delivered = runtime().block_on(run(cluster(), start, &steps));
        for object in 0..OBJECTS {
            let versions = cluster().versions(object, history.len() as u64);
            let got = delivered.get(&format!("object-{object}")).cloned().unwrap_or_default();
            prop_assert!(got.is_sorted_by(|a, b| a < b), "{object}: {got:?}");
            prop_assert_eq!(got.last(), versions.last());
            let streamed = |all: &[u64]| -> Vec<u64> { all.iter().copied().filter(|index| *index > start).collect() };
            prop_assert_eq!(streamed(&got), streamed(&versions));
        }
    }

    /// The events of each task arrive in order, each once, and none is missing if Nomad keeps ten.
    #[test]
    fn no_task_event_comes_again(history in history(), start: prop::sample::Index, steps in steps()) {
        let start = start_of(&history, start);
        let cluster = || Cluster { kind: Kind::Allocations, history: history.clone() };
        let delivered = runtime().block_on(run(cluster(), start, &steps));
        for object in 0..OBJECTS {
            let events = cluster().versions(object, history.len() as u64);
            let got = delivered.get(&format!("object-{object}")).cloned().unwrap_or_default();
            prop_assert!(got.is_sorted_by(|a, b| a < b), "{object}: {got:?}");
            prop_assert_eq!(got.last(), events.last());
            if events.len() <= 10 {
                prop_assert_eq!(got, events);
            }
        }
    }
}

/// A table that has moved on since its page was asked for, and an object that the stream has delivered meanwhile.
#[tokio::test]
async fn an_element_that_is_older_than_what_the_stream_delivered_is_dropped() {
    let cluster = Cluster { kind: Kind::Evaluations, history: vec![0, 1, 1, 0] };
    // One line arrives, the page is asked for, its answer begins, the other lines arrive, and then its elements.
    let step = |list| (list, 0, false);
    let steps = [step(false), step(true), step(true), step(false), step(true), step(true)];
    let delivered = run(cluster, 2, &steps).await;
    assert_eq!(delivered["object-0"], [4]);
    assert_eq!(delivered["object-1"], [3]);
}

/// If a server keeps failing, the status shows it after a minute, and the list is asked for less and less often.
#[tokio::test(start_paused = true)]
async fn a_list_that_fails_for_a_minute_is_shown() {
    let (ctx, _) = context();
    let ledger = Ledger::new(Arc::new(Switch::default()), Checkpoint::default());
    let mut tracker = Tracker::new(Kind::Evaluations, vec![Topic::all("Evaluation")], "*".into(), ledger);
    tracker.backfill.add(Pass { ranges: vec![Gap { until: RaftIndex(9), ..Gap::default() }], ..Pass::default() });
    for kind in [Kind::Evaluations, Kind::Allocations] {
        ctx.status.lease(kind, Leadership::Leading);
        ctx.status.source(kind, "*", SourceState::Streaming);
    }
    let (begun, mut tries) = (Instant::now(), 0);
    while begun.elapsed() < FAILING_AFTER {
        assert!(ctx.status.is_ready(), "after {:?}", begun.elapsed());
        tracker.ask_page(&ctx);
        let turn = tracker.take_piece(&ctx, Some(PagePiece::Failed(failure()))).await.expect("delivery goes on");
        assert_eq!(turn, PageOutcome::Failed);
        tries += 1;
        tokio::time::sleep_until(tracker.page_due().expect("a page is due")).await;
    }
    assert!((5..=12).contains(&tries), "{tries}");
    tracker.ask_page(&ctx);
    tracker.take_piece(&ctx, Some(PagePiece::Failed(failure()))).await.expect("delivery goes on");
    assert!(!ctx.status.is_ready());
    assert!(ctx.metrics.encode().expect("text").contains("nomad_firehose_list_failures_total"));
}
