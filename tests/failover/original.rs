//! Replicas of the original program beside ours: on each lock one program at a time, and each goes on from what the
//! other has stored.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    common::{
        Signal,
        consul::Options,
        truth::{ALL, OBJECTS, Seen, assert_exactly, expected, original_value, seen},
        until,
    },
    journal::assert_one_at_a_time,
    replicas::{BUFFER, Replica, Scene, is_chaos, next_leader, rounds},
    rival::{LOCK_DELAY, Original, key},
};

/// Longer than our lease and all margins.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(7);
/// From the return of a lock to the next holder: not by the end of a lease.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Of a lease of 4 s.
const TWO_HEARTBEATS: Duration = Duration::from_millis(2 * 4000 / 3);
/// So many transactions bring something of every kind, and are fewer than the server keeps.
const STRETCH: usize = 60;
/// What is logged of a lock that an original has.
const WITHOUT_HEARTBEATS: &str = "standing by for a program without heartbeats";
/// Kinds whose values mean three different things.
const THREE: [&str; 3] = ["allocations", "evaluations", "jobs"];

async fn quiet() -> Scene {
    Scene::quiet(Options::default()).await
}

async fn happen(scene: &Scene, transactions: usize) {
    for _ in 0..transactions {
        scene.one_more().await;
    }
}

/// What has happened so far.
fn history(scene: &Scene) -> Vec<String> {
    scene.sim.truth().iter().map(|line| String::from_utf8(line.raw.to_vec()).expect("UTF-8")).collect()
}

/// What has arrived of a kind, from the record of this number on.
fn arrived(scene: &Scene, kind: &str, from: usize) -> Vec<Seen> {
    let all = scene.journal.all();
    all[from..].iter().map(|arrival| seen(&arrival.record)).filter(|seen| seen.kind == kind).collect()
}

/// What these lines bring and their first so many do not: an allocation names its old events again.
fn brought(kind: &str, lines: &[String], behind: usize) -> Vec<Seen> {
    let known: BTreeSet<_> = expected(kind, &lines[..behind]).into_iter().collect();
    expected(kind, lines).into_iter().filter(|seen| !known.contains(seen)).collect()
}

/// Waits until all that the lines behind the first so many bring has come for these kinds, from the record of this
/// number on.
async fn until_come(scene: &Scene, kinds: &[&str], lines: &[String], behind: usize, from: usize) {
    for kind in kinds {
        let wanted: BTreeSet<_> = brought(kind, lines, behind).into_iter().collect();
        let mut count = usize::MAX;
        until(&format!("all {kind} arrive"), || {
            // Parsing is dear: only what changed is looked at.
            let is_new = std::mem::replace(&mut count, scene.journal.len()) != scene.journal.len();
            is_new && wanted.is_subset(&arrived(scene, kind, from).into_iter().collect())
        })
        .await;
    }
}

/// What a program brings that goes on from the original's value, of what happened after it was stored. The original
/// sends the evaluations of an index only with the next change.
fn owed(kind: &str, value: u64, lines: &[String]) -> Vec<Seen> {
    let from = if kind == "evaluations" { value } else { value + 1 };
    let lines: Vec<_> = lines.iter().filter(|line| index_of(line) >= from).collect();
    expected(kind, &lines)
}

fn index_of(line: &str) -> u64 {
    let line: serde_json::Value = serde_json::from_str(line).expect("a line of the stream is JSON");
    line["Index"].as_u64().expect("an index")
}

/// Holds what came since an original had stored `value` to what it left.
fn assert_went_on(kind: &'static str, value: u64, came: &[Seen], before: &[String], lines: &[String]) {
    if kind != "allocations" {
        return assert_exactly(came, &owed(kind, value, lines));
    }
    // All times of this cluster lie within the overlap, so that those before may come again, but no other twice.
    let known: BTreeSet<_> = expected(kind, before).into_iter().collect();
    let fresh: Vec<_> = came.iter().filter(|seen| !known.contains(*seen)).cloned().collect();
    assert_exactly(&fresh, &brought(kind, lines, before.len()));
}

/// Waits until another session than the original's has the lock: when that was.
async fn until_ours(scene: &Scene, kind: &str, original: &str) -> Instant {
    let deadline = Instant::now() + crate::common::PATIENCE;
    loop {
        let holder = scene.consul.holder(&key(kind, "lock")).await;
        if holder.is_some_and(|holder| holder != original) {
            return Instant::now();
        }
        assert!(Instant::now() < deadline, "nobody of ours takes {kind}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn stored_value(scene: &Scene, kind: &str) -> u64 {
    let text = scene.consul.get(&key(kind, "value")).await.unwrap_or_default();
    String::from_utf8(text).expect("UTF-8").parse().unwrap_or(0)
}

/// Waits until the stored value is that of the original, who would have seen all these lines.
async fn until_stored(scene: &Scene, kind: &str, lines: &[String]) {
    let (wanted, begun) = (original_value(kind, lines), Instant::now());
    loop {
        let stored = stored_value(scene, kind).await;
        if stored == wanted {
            return;
        }
        assert!(begun.elapsed() < crate::common::PATIENCE, "{kind}: {stored} is stored, and not {wanted}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn stop(replica: &mut Replica) {
    replica.signal(Signal::TERM);
    assert_eq!(replica.end().await, Some(0), "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_lock_is_waited_for_and_its_progress_is_gone_on_from() {
    let mut scene = quiet().await;
    let mut originals = Vec::new();
    for kind in THREE {
        let original = Original::start(&scene.consul, kind, LOCK_DELAY).await;
        assert!(original.try_lock().await);
        originals.push(original);
    }
    let replicas = [scene.replica(), scene.replica()];
    for replica in &replicas {
        replica.until_logged(WITHOUT_HEARTBEATS, THREE.len()).await;
    }
    happen(&scene, STRETCH).await;
    let others: Vec<_> = ALL.into_iter().filter(|kind| !THREE.contains(kind)).collect();
    until_come(&scene, &others, &history(&scene), 0, 0).await;
    sleep(LONGER_THAN_A_LEASE).await;
    let before = history(&scene);
    for original in originals {
        let (kind, value) = (original.kind, original_value(original.kind, &before));
        assert_eq!(arrived(&scene, kind, 0), [], "the original leads {kind}");
        assert_eq!(scene.consul.holder(&key(kind, "lock")).await.as_deref(), Some(original.session()));
        original.store(value).await;
        let back = Instant::now();
        original.unlock().await;
        let took = until_ours(&scene, kind, original.session()).await.duration_since(back);
        println!("{kind}: {took:?} from the return of the lock to our lease");
        assert!(took <= AT_ONCE, "{took:?}");
    }
    happen(&scene, STRETCH).await;
    let lines = history(&scene);
    until_come(&scene, &ALL, &lines, before.len(), 0).await;
    sleep(Duration::from_millis(500)).await;
    for kind in ALL {
        let came = arrived(&scene, kind, 0);
        match THREE.contains(&kind) {
            true => assert_went_on(kind, original_value(kind, &before), &came, &before, &lines),
            false => assert_exactly(&came, &expected(kind, &lines)),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acquire_by_its_rules_is_refused_while_ours_leads_or_is_replaced_by_ours() {
    let mut scene = Scene::busy().await;
    let mut replicas = vec![scene.leader().await];
    let (_, mut leader) = next_leader(&scene, 0, Instant::now()).await;
    let (asked, got) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut rivals = Vec::new();
    for kind in THREE {
        // Something of every kind is led.
        until_ours(&scene, kind, "").await;
        let original = Original::start(&scene.consul, kind, LOCK_DELAY).await;
        let (asked, got) = (Arc::clone(&asked), Arc::clone(&got));
        rivals.push(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let locked = original.try_lock().await;
                asked.fetch_add(1, Ordering::SeqCst);
                got.fetch_add(usize::from(locked), Ordering::SeqCst);
                sleep(Duration::from_millis(25)).await;
            }
        })));
    }
    for _ in 0..rounds(1) {
        let next = scene.replica();
        scene.until_held_by(&next).await;
        let at = replicas.iter().position(|replica| replica.number == leader).expect("it runs");
        let mut killed = replicas.remove(at);
        replicas.push(next);
        let when = Instant::now();
        killed.signal(Signal::KILL);
        killed.end().await;
        let (took, next) = next_leader(&scene, leader, when).await;
        println!("{took:?} from the kill to the next record, with an original asking all the time");
        leader = next;
        sleep(Duration::from_secs(1)).await;
    }
    drop(rivals);
    let (asked, got) = (asked.load(Ordering::SeqCst), got.load(Ordering::SeqCst));
    println!("{asked} acquires, {got} of them successful");
    assert!(asked > 100, "{asked} acquires");
    assert_eq!(got, 0, "an original got a lock that ours had");
    scene.rest().await;
    assert_one_at_a_time(&scene.journal.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_originals_lock_is_taken_after_the_lock_delay_and_not_before() {
    let is_long = std::env::var_os("CHAOS").is_some();
    let lock_delay = if is_long { LOCK_DELAY } else { Duration::from_secs(3) };
    let mut scene = quiet().await;
    let original = Original::start(&scene.consul, "jobs", lock_delay).await;
    assert!(original.try_lock().await);
    let replica = scene.replica();
    replica.until_logged(WITHOUT_HEARTBEATS, 1).await;
    happen(&scene, STRETCH).await;
    let (session, mut ended) = (original.session().to_owned(), Instant::now());
    if is_long {
        // Consul finds out by itself.
        original.die();
        while scene.consul.holder(&key("jobs", "lock")).await.as_ref() == Some(&session) {
            ended = Instant::now();
            sleep(Duration::from_millis(10)).await;
        }
    } else {
        original.destroy().await;
    }
    let took = until_ours(&scene, "jobs", &session).await.duration_since(ended);
    println!("{took:?} from the end of its session to our lease, with a lock-delay of {lock_delay:?}");
    assert!(took >= lock_delay, "{took:?}");
    assert!(took <= lock_delay + Duration::from_secs(3), "{took:?}");
    let lines = history(&scene);
    // It had stored nothing.
    until_come(&scene, &["jobs"], &lines, 0, 0).await;
    assert_exactly(&arrived(&scene, "jobs", 0), &expected("jobs", &lines));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_until_a_dead_originals_lock_is_free_was_held_ready() {
    let mut scene = quiet().await;
    let original = Original::start(&scene.consul, "jobs", Duration::from_secs(3)).await;
    assert!(original.try_lock().await);
    let replica = scene.replica();
    replica.until_logged(WITHOUT_HEARTBEATS, 1).await;
    replica.until_ready().await;
    happen(&scene, STRETCH).await;
    let (before, session) = (history(&scene), original.session().to_owned());
    let value = original_value("jobs", &before);
    original.store(value).await;
    // More than the server keeps, until its lock can be taken.
    scene.go_on();
    original.destroy().await;
    until_ours(&scene, "jobs", &session).await;
    sleep(Duration::from_millis(500)).await;
    let lines = scene.rest().await;
    assert!(lines.len() > before.len() + BUFFER, "{} lines", lines.len());
    assert_eq!(replica.logged("gap detected"), 0, "{}", replica.log());
    until_come(&scene, &["jobs"], &lines, before.len(), 0).await;
    assert_went_on("jobs", value, &arrived(&scene, "jobs", 0), &before, &lines);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_is_what_it_would_have_written_within_two_heartbeats() {
    let mut scene = quiet().await;
    let replica = scene.replica();
    for _ in 0..3 {
        happen(&scene, STRETCH + 7).await;
        let (lines, last) = (history(&scene), Instant::now());
        for kind in OBJECTS {
            until_stored(&scene, kind, &lines).await;
        }
        println!("{:?} from the last event to the last value", last.elapsed());
        let longest = if is_chaos() { TWO_HEARTBEATS } else { 3 * TWO_HEARTBEATS };
        assert!(last.elapsed() <= longest, "{:?}\n{}", last.elapsed(), replica.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gets_the_lock_of_ours_that_stops_and_all_of_its_progress() {
    let mut scene = quiet().await;
    let mut replica = scene.replica();
    happen(&scene, STRETCH).await;
    until_come(&scene, &ALL, &history(&scene), 0, 0).await;
    let mut originals = Vec::new();
    for kind in OBJECTS {
        originals.push(Original::start(&scene.consul, kind, LOCK_DELAY).await);
        assert!(!originals.last().expect("just made").try_lock().await);
    }
    happen(&scene, STRETCH).await;
    let lines = history(&scene);
    until_come(&scene, &ALL, &lines, 0, 0).await;
    stop(&mut replica).await;
    for original in originals {
        let took = original.lock().await;
        assert!(took <= AT_ONCE, "{}: {took:?}", original.kind);
        assert_eq!(stored_value(&scene, original.kind).await, original_value(original.kind, &lines));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_did_in_between_is_taken_over_and_its_late_smaller_value_is_not() {
    let mut scene = quiet().await;
    let mut first = scene.replica();
    happen(&scene, STRETCH).await;
    until_come(&scene, &ALL, &history(&scene), 0, 0).await;
    stop(&mut first).await;
    // It leads, stores, and gives back.
    let mut originals = Vec::new();
    for kind in THREE {
        originals.push(Original::start(&scene.consul, kind, LOCK_DELAY).await);
        originals.last().expect("just made").lock().await;
    }
    let old = history(&scene);
    happen(&scene, STRETCH).await;
    let before = history(&scene);
    for original in &originals {
        original.store(original_value(original.kind, &before)).await;
        original.unlock().await;
    }
    happen(&scene, STRETCH / 2).await;
    let from = scene.journal.len();
    let mut second = scene.replica();
    second.until_logged("legacy value changed since the last checkpoint", THREE.len()).await;
    let lines = history(&scene);
    until_come(&scene, &ALL, &lines, before.len(), from).await;
    sleep(Duration::from_millis(500)).await;
    for kind in THREE {
        assert_went_on(kind, original_value(kind, &before), &arrived(&scene, kind, from), &before, &lines);
    }
    // Late, from one that was deposed: it is overwritten with the next change.
    for original in &originals {
        original.store(original_value(original.kind, &old)).await;
    }
    happen(&scene, 5).await;
    for kind in THREE {
        until_stored(&scene, kind, &history(&scene)).await;
    }
    stop(&mut second).await;
    // And between two of ours it is not looked at.
    for original in &originals {
        original.store(original_value(original.kind, &old)).await;
    }
    let (from, behind) = (scene.journal.len(), history(&scene).len());
    let third = scene.replica();
    happen(&scene, STRETCH / 2).await;
    let lines = history(&scene);
    until_come(&scene, &ALL, &lines, behind, from).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(third.logged("legacy value changed since the last checkpoint"), 0, "{}", third.log());
    for kind in ALL {
        assert_exactly(&arrived(&scene, kind, from), &brought(kind, &lines, behind));
    }
    for kind in THREE {
        until_stored(&scene, kind, &history(&scene)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_lock_is_refused_by_its_name_until_it_is_gone() {
    let mut scene = quiet().await;
    let lock = key("jobs", "lock");
    scene.consul.put(&lock, "a note of somebody's").await;
    let replica = scene.replica();
    replica.until_logged("key is not a lock", 1).await;
    let line = replica.log().lines().find(|line| line.contains("key is not a lock")).map(str::to_owned);
    let line = line.expect("just logged");
    assert!(line.contains("ERROR") && line.contains(&format!("key={lock}")) && line.contains("flags=0"), "{line}");
    happen(&scene, STRETCH).await;
    let others: Vec<_> = ALL.into_iter().filter(|kind| *kind != "jobs").collect();
    until_come(&scene, &others, &history(&scene), 0, 0).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(arrived(&scene, "jobs", 0), []);
    assert_eq!(scene.consul.get(&lock).await.as_deref(), Some(&b"a note of somebody's"[..]), "it is left alone");
    let gone = Instant::now();
    assert_eq!(scene.consul.request(Method::DELETE, &format!("kv/{lock}"), "").await.0, 200);
    let took = until_ours(&scene, "jobs", "").await.duration_since(gone);
    assert!(took <= AT_ONCE, "{took:?}");
    until_come(&scene, &["jobs"], &history(&scene), 0, 0).await;
    assert_exactly(&arrived(&scene, "jobs", 0), &expected("jobs", &history(&scene)));
}
