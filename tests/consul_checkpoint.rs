//! Checkpoints in a real Consul: what is stored is what is loaded, and a large cluster costs few bytes.

mod common;

use std::{sync::Arc, time::Duration};

use common::{
    consul::{self, Consul as Agent},
    gate::Gate,
};
use nomad_firehose::{
    checkpoint::{Anchor, Checkpoint},
    consul::{Client, Config, TokenSource},
    coordinator::{
        Coordinator,
        consul::{Consul, Options},
    },
    kind::Kind,
    lease::{Error, Lease, LeaseState, Progress},
    ledger::{Effect, Ledger},
    position::{Identity, RaftIndex},
    task_cursors::{EventHash, TaskCursor, TaskKey},
    telemetry::{Metrics, Status},
};

const PREFIX: &str = "some/folder";
/// What marks a lock, in a query.
const FLAGS: &str = "flags=3304740253564472344";

/// One that keeps its lease however busy the machine is.
fn coordinator(address: &str) -> Consul {
    coordinator_with(address, Duration::from_secs(60))
}

fn coordinator_with(address: &str, lease: Duration) -> Consul {
    let client = Client::new(Config {
        address: address.parse().expect("an address"),
        token: TokenSource::None,
        basic_auth: None,
        namespace: None,
        partition: None,
        datacenter: None,
        tls: Default::default(),
        folder: PREFIX.to_owned(),
    });
    let (metrics, status) = (Metrics::new(&[]), Status::new(&[]));
    Consul::start(client.expect("nothing to read"), options(lease), metrics, status)
}

fn options(lease: Duration) -> Options {
    Options {
        prefix: PREFIX.to_owned(),
        lease,
        session_ttl: 3 * lease,
        node_checks: false,
        session_name: "test".to_owned(),
        turns: None,
        holder: "a test".to_owned(),
        cluster: nomad_firehose::cluster::Known::nothing(),
    }
}

fn task(number: u64) -> TaskKey {
    TaskKey::new("allocation", &number.to_string())
}

/// A line that sets these marks.
fn line(index: u64, task_cursors: impl Iterator<Item = u64>) -> Effect {
    let task_cursor = TaskCursor::new(EventHash(index), RaftIndex(index), false);
    Effect {
        stream: "*".into(),
        line: Some((RaftIndex(index), vec![Identity(index)])),
        anchor: Some(Anchor { topic: "Allocation".to_owned(), index: RaftIndex(index) }),
        task_cursors: task_cursors.map(|number| (task(number), task_cursor)).collect(),
        value: Some(index),
        ..Effect::default()
    }
}

async fn lead(coordinator: &Consul) -> (Arc<dyn Lease>, Arc<Ledger>) {
    let acquired = tokio::time::timeout(common::PATIENCE, coordinator.acquire(Kind::Allocations)).await;
    let lease = acquired.expect("in time").expect("it is free");
    let loaded = tokio::time::timeout(common::PATIENCE, lease.load()).await.expect("in time");
    let checkpoint = loaded.expect("it is whole").unwrap_or_default();
    (Arc::clone(&lease), Ledger::new(lease, checkpoint))
}

/// What a replica that leads from now on has loaded.
async fn next_holder_loads(agent: &Agent) -> Checkpoint {
    let next = coordinator(&agent.url());
    let (_, loaded) = lead(&next).await;
    next.close().await;
    loaded.acknowledged()
}

/// Ends the lease of whoever leads from outside, as if it had been given back: nobody waits for the rest of it.
async fn end_lease(agent: &Agent) {
    for session in agent.sessions().await {
        let id = session["ID"].as_str().expect("an id");
        let key = format!("kv/{PREFIX}/allocations.lock?release={id}&{FLAGS}");
        agent.request(reqwest::Method::PUT, &key, "").await;
    }
    agent.request(reqwest::Method::DELETE, &format!("kv/{PREFIX}/allocations.heartbeat"), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_live_tasks_cost_few_bytes() {
    const TASKS: u64 = 100_000;
    // A third of the lease, and 1 % of the tasks every ten seconds.
    const A_SAVE: Duration = Duration::from_nanos(4_000_000_000 / 3);
    const CHANGED: u64 = 134;
    let agent = Agent::start(consul::Options::default()).await;
    let gate = Gate::start(&agent.url().replace("http://", "")).await;
    let first = coordinator(&gate.url());
    let (lease, ledger) = lead(&first).await;
    assert!(ledger.enter(line(1, 0..TASKS), 0, None).is_none());
    lease.save(&*ledger).await.expect("stored");
    // Until the first fold is over: from then on it is the usual state.
    for index in 2..60 {
        assert!(ledger.enter(line(index, [index].into_iter()), 0, None).is_none());
        lease.save(&*ledger).await.expect("stored");
    }
    let ten_minutes = usize::try_from(600 * 1_000 / A_SAVE.as_millis()).expect("some hundreds");
    let mut sent = vec![gate.sent()];
    for number in 0..2 * ten_minutes as u64 {
        let changed = (number * CHANGED..(number + 1) * CHANGED).map(|task| task % TASKS);
        assert!(ledger.enter(line(100 + number, changed), 0, None).is_none());
        lease.save(&*ledger).await.expect("stored");
        sent.push(gate.sent());
    }
    let worst = sent.windows(ten_minutes + 1).map(|window| window[ten_minutes] - window[0]).max().expect("two windows");
    let every_ten_seconds = worst / 60;
    println!("{every_ten_seconds} bytes every ten seconds, averaged over the worst ten minutes");
    assert!(every_ten_seconds < 256 << 10, "{every_ten_seconds}");
    assert!(every_ten_seconds > 10 << 10, "that is less than the marks alone: {every_ten_seconds}");
    lease.release().await.expect("Consul is there");
    first.close().await;
    assert_eq!(next_holder_loads(&agent).await, Checkpoint { version: 1, ..ledger.acknowledged() });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_what_the_next_holder_loads_whatever_was_cut_off() {
    let agent = Agent::start(consul::Options::default()).await;
    let mut random = fastrand::Rng::with_seed(common::seed());
    let mut stored = Checkpoint::default();
    let mut index = 1;
    for round in 0..12 {
        let gate = Gate::start(&agent.url().replace("http://", "")).await;
        let coordinator = coordinator(&gate.url());
        let (lease, ledger) = lead(&coordinator).await;
        assert_eq!(ledger.acknowledged(), stored, "round {round}");
        // Enough for several logs, and for folds that take several saves.
        for _ in 0..random.usize(1..20) {
            index += 1;
            let first = random.u64(0..20_000);
            assert!(ledger.enter(line(index, first..first + random.u64(0..6_000)), 0, None).is_none());
            lease.save(&*ledger).await.expect("stored");
            stored = Checkpoint { version: 1, ..ledger.acknowledged() };
        }
        if random.bool() {
            ledger.start_over("*");
            lease.save(&*ledger).await.expect("stored");
            stored = Checkpoint { version: 1, ..ledger.acknowledged() };
            assert!(stored.task_cursors.is_empty());
        }
        // A save that gets half-way at most: the gate is shut in the midst of it. It is stored whole or not at all.
        let before = stored.clone();
        index += 1;
        assert!(ledger.enter(line(index, 0..30_000), 0, None).is_none());
        let shut = async {
            tokio::time::sleep(Duration::from_micros(random.u64(0..30_000))).await;
            gate.shut();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            saved = lease.save(&*ledger) => saved.expect("the gate was open"),
            () = shut => unreachable!("it has no end"),
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
        let after = Checkpoint { version: 1, ..ledger.acknowledged() };
        drop((lease, coordinator, gate));
        end_lease(&agent).await;
        let coordinator = self::coordinator(&agent.url());
        let (lease, loaded) = lead(&coordinator).await;
        stored = loaded.acknowledged();
        assert!(stored == before || stored == after, "round {round}: neither the old nor the new one");
        lease.release().await.expect("Consul is there");
        coordinator.close().await;
    }
}

/// The pages of a fold are counted when it begins, and each save writes one.
#[tokio::test(flavor = "multi_thread")]
async fn marks_that_multiply_while_they_are_folded_are_stored() {
    let agent = Agent::start(consul::Options::default()).await;
    let first = coordinator(&agent.url());
    let (lease, ledger) = lead(&first).await;
    for (index, tasks) in [(1, 8_000), (2, 1), (3, 30_000), (4, 1), (5, 200_000)] {
        assert!(ledger.enter(line(index, 0..tasks), 0, None).is_none());
        lease.save(&*ledger).await.expect("it fits");
    }
    lease.release().await.expect("Consul is there");
    first.close().await;
    assert!(next_holder_loads(&agent).await == Checkpoint { version: 1, ..ledger.acknowledged() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_taken_away_is_led_by_nobody_before_the_lease_is_over() {
    let agent = Agent::start(consul::Options::default()).await;
    for way in ["release", "delete"] {
        let gate = Gate::start(&agent.url().replace("http://", "")).await;
        let first = coordinator_with(&gate.url(), Duration::from_secs(4));
        let (old, _) = lead(&first).await;
        // From here on it hears nothing of what happens to its lock.
        gate.shut();
        let lock = format!("{PREFIX}/allocations.lock");
        let holder = agent.holder(&lock).await.expect("it is held");
        let (method, path) = match way {
            "release" => (reqwest::Method::PUT, format!("kv/{lock}?release={holder}&{FLAGS}")),
            _ => (reqwest::Method::DELETE, format!("kv/{lock}")),
        };
        agent.request(method, &path, "").await;
        assert_eq!(agent.holder(&lock).await, None);
        let second = coordinator(&agent.url());
        let (new, _) = lead(&second).await;
        assert_eq!((old.lease_state(), new.lease_state()), (LeaseState::Suspended, LeaseState::Held), "after a {way}");
        new.release().await.expect("Consul is there");
        second.close().await;
    }
}

/// The answer to a read of all keys together would be longer than the client takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_million_live_tasks_are_loaded() {
    const TASKS: u64 = 1_000_000;
    let agent = Agent::start(consul::Options::default()).await;
    let first = coordinator(&agent.url());
    let (lease, ledger) = lead(&first).await;
    assert!(ledger.enter(line(1, 0..TASKS), 0, None).is_none());
    lease.save(&*ledger).await.expect("stored");
    // The first of the saves that fold all of it into pages, and that write all of it again beside them.
    for index in 2..8 {
        let some = TASKS / 8 * (index - 1)..TASKS / 8 * index;
        assert!(ledger.enter(line(index, some), 0, None).is_none());
        lease.save(&*ledger).await.expect("stored");
    }
    lease.release().await.expect("Consul is there");
    first.close().await;
    assert!(next_holder_loads(&agent).await == Checkpoint { version: 1, ..ledger.acknowledged() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_checkpoint_that_is_cut_off_is_no_damage() {
    let agent = Agent::start(consul::Options::default()).await;
    let mut random = fastrand::Rng::with_seed(common::seed());
    let mut cut_off = 0;
    for round in 0..8 {
        let (gate, key) = (Gate::start(&agent.url().replace("http://", "")).await, format!("kv/{PREFIX}?recurse"));
        agent.request(reqwest::Method::DELETE, &key, "").await;
        let first = coordinator(&gate.url());
        let (lease, ledger) = lead(&first).await;
        assert!(ledger.enter(line(1, 0..50_000), 0, None).is_none());
        let bytes = gate.sent() + random.u64(100_000..1_500_000);
        let is_under_way = async {
            while gate.sent() < bytes {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            saved = lease.save(&*ledger) => saved.expect("the gate was open"),
            () = is_under_way => cut_off += 1,
        }
        gate.shut();
        drop((lease, first, gate));
        end_lease(&agent).await;
        let second = coordinator(&agent.url());
        let (lease, loaded) = lead(&second).await;
        let loaded = loaded.acknowledged();
        assert!(
            loaded.task_cursors.is_empty() && loaded.streams.is_empty()
                || loaded.task_cursors == ledger.acknowledged().task_cursors
        );
        lease.release().await.expect("Consul is there");
        second.close().await;
        println!("round {round}: {} marks", loaded.task_cursors.len());
    }
    assert!(cut_off > 0, "none was cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_ends_while_it_takes_a_lease_leaves_no_lock_delay_behind() {
    let agent = Agent::start(consul::Options::default()).await;
    let mut random = fastrand::Rng::with_seed(common::seed());
    for round in 0..60 {
        let ended = coordinator(&agent.url());
        {
            let acquired = ended.acquire(Kind::Allocations);
            // Making the session, and then taking the lock, take some milliseconds.
            let enough = tokio::time::sleep(Duration::from_micros(random.u64(0..25_000)));
            tokio::select! {
                lease = acquired => drop(lease.expect("it is free")),
                () = enough => {}
            }
        }
        ended.close().await;
        // Consul gives the lock to another session at once, which it does not while a lock-delay lasts.
        let (_, made) = agent.request(reqwest::Method::PUT, "session/create", r#"{"TTL":"600s"}"#).await;
        let made: serde_json::Value = serde_json::from_str(&made).expect("a session");
        let id = made["ID"].as_str().expect("an id");
        let lock = format!("kv/{PREFIX}/allocations.lock");
        let (_, taken) = agent.request(reqwest::Method::PUT, &format!("{lock}?acquire={id}&{FLAGS}"), "").await;
        assert_eq!(taken.trim(), "true", "round {round}");
        agent.request(reqwest::Method::PUT, &format!("{lock}?release={id}&{FLAGS}"), "").await;
        agent.request(reqwest::Method::PUT, &format!("session/destroy/{id}"), "").await;
        let next = coordinator(&agent.url());
        let (lease, _) = lead(&next).await;
        lease.release().await.expect("Consul is there");
        next.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_cannot_write() {
    let agent = Agent::start(consul::Options::default()).await;
    let first = coordinator(&agent.url());
    let (old, ledger) = lead(&first).await;
    assert!(ledger.enter(line(5, 0..3), 0, None).is_none());
    old.save(&*ledger).await.expect("stored");
    assert!(agent.holder(&format!("{PREFIX}/allocations.lock")).await.is_some(), "it is held");
    end_lease(&agent).await;
    let second = coordinator(&agent.url());
    let (new, newer) = lead(&second).await;
    assert!(newer.enter(line(9, 0..5), 0, None).is_none());
    new.save(&*newer).await.expect("stored");
    assert!(ledger.enter(line(7, 0..9), 0, None).is_none());
    assert!(matches!(old.save(&*ledger).await, Err(Error::Lost)));
    assert_eq!((old.lease_state(), new.lease_state()), (LeaseState::Lost, LeaseState::Held));
    let value = agent.get(&format!("{PREFIX}/allocations.value")).await;
    assert_eq!(value.as_deref(), Some(&b"9"[..]));
    second.close().await;
    let third = coordinator(&agent.url());
    let (_, loaded) = lead(&third).await;
    assert_eq!(loaded.acknowledged(), Checkpoint { version: 1, ..newer.acknowledged() });
    // What it could not store is offered again.
    assert!(ledger.is_changed() && ledger.changes().is_some());
    third.close().await;
    first.close().await;
}
