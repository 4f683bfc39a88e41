//! Real files and real locks. `flock` belongs to the open file, so two coordinators in one process exclude each other
//! as two processes do.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::{
    checkpoint::{Anchor, Gap, Pass, StreamProgress, VERSION},
    cluster,
    delivery::testing::with_small_files,
    position::{Identity, Position, RaftIndex},
    task_cursors::{EventHash, TaskCursor, TaskCursors, TaskKey},
};

const SOON: Duration = Duration::from_secs(120);

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

async fn lease(directory: &Path, kind: Kind) -> Arc<dyn Lease> {
    let acquire = Directory::new(directory).acquire(kind).await;
    acquire.expect("nobody else has it")
}

fn is_held(lease: &dyn Lease) -> bool {
    lease.lease_state() == LeaseState::Held
}

fn checkpoint(value: u64) -> Checkpoint {
    Checkpoint { version: VERSION, value, ..Checkpoint::default() }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_next_holder_loads_what_the_last_one_saved() {
    let directory = directory();
    let path = directory.path().join("new/data");
    let first = lease(&path, Kind::JobListStubs).await;
    assert_eq!(fs::metadata(&path).expect("made").permissions().mode() & 0o777, 0o700);
    assert_eq!(first.load().await.expect("a first start"), None);
    for value in [1, 2] {
        // Whatever layout it had, it is stored in ours.
        let saved = Checkpoint { version: 0, ..checkpoint(value) };
        first.save(&saved).await.expect("there is room");
    }
    first.release().await.expect("it was ours");
    let second = lease(&path, Kind::JobListStubs).await;
    assert_eq!(second.load().await.expect("whole"), Some(checkpoint(2)));
    assert_eq!(names(&path), ["jobliststub.json", "jobliststub.lock"]);
    let mode = fs::metadata(path.join("jobliststub.json")).expect("saved").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_second_holder_waits_until_the_first_ends() {
    let directory = directory();
    let first = lease(directory.path(), Kind::Jobs).await;
    let other_kind = lease(directory.path(), Kind::Nodes).await;
    assert!(is_held(&*other_kind));
    for _ in 0..2 {
        let waiting = timeout(POLL * 3, lease(directory.path(), Kind::Jobs));
        assert!(waiting.await.is_err(), "two holders");
    }
    let signed = fs::read_to_string(directory.path().join("jobs.lock")).expect("signed");
    assert_eq!(signed, format!("pid {}\n", std::process::id()));
    drop(first);
    timeout(SOON, lease(directory.path(), Kind::Jobs)).await.expect("the abandoned waits left nothing behind");
}

#[tokio::test]
async fn a_standby_takes_over_at_once() {
    let directory = directory();
    for is_released in [true, false] {
        let first = lease(directory.path(), Kind::Jobs).await;
        let path = directory.path().to_owned();
        let standby = tokio::spawn(async move { lease(&path, Kind::Jobs).await });
        tokio::task::yield_now().await;
        let ended = tokio::time::Instant::now();
        if is_released {
            first.release().await.expect("it was ours");
        } else {
            drop(first);
        }
        let second = timeout(SOON, standby).await.expect("taken over").expect("no panic");
        assert!(is_held(&*second));
        assert!(ended.elapsed() < SOON / 2);
    }
}

#[tokio::test]
async fn a_replaced_lock_file_ends_the_lease_before_it_can_save() {
    let directory = directory();
    let first = lease(directory.path(), Kind::Jobs).await;
    first.save(&checkpoint(1)).await.expect("ours");
    fs::remove_file(directory.path().join("jobs.lock")).expect("somebody cleans up");
    let second = lease(directory.path(), Kind::Jobs).await;
    second.save(&checkpoint(2)).await.expect("ours");
    assert!(is_held(&*first), "not noticed yet");
    let error = first.save(&checkpoint(3)).await.expect_err("not ours any more");
    assert!(error.to_string().contains("replaced while it was locked"), "{error}");
    assert!(!is_held(&*first));
    timeout(SOON, first.lost()).await.expect("told");
    assert_eq!(second.load().await.expect("whole"), Some(checkpoint(2)));
}

#[tokio::test]
async fn a_standby_waits_for_a_leader_whose_lock_file_was_removed() {
    let directory = directory();
    let first = lease(directory.path(), Kind::Jobs).await;
    let coordinator = Directory::new(directory.path());
    let mut standby = coordinator.acquire(Kind::Jobs);
    assert!(timeout(5 * POLL, &mut standby).await.is_err(), "it is held");
    for _ in 0..2 {
        fs::remove_file(directory.path().join("jobs.lock")).expect("somebody cleans up");
        assert!(timeout(5 * POLL, &mut standby).await.is_err(), "two leaders");
        assert!(is_held(&*first));
    }
    drop(first);
    let second = timeout(SOON, standby).await.expect("soon").expect("it is free");
    assert!(is_held(&*second));
}

#[tokio::test]
async fn an_abandoned_save_is_done_before_the_next_holder_loads() {
    let directory = directory();
    for round in 0..50 {
        let first = lease(directory.path(), Kind::Jobs).await;
        let newest = checkpoint(round * 2 + 1);
        let save = first.save(&newest);
        // Polled once: the write is under way, and its caller no longer waits.
        assert!(timeout(Duration::ZERO, save).await.is_ok_and(|result| result.is_ok()) || is_held(&*first));
        drop(first);
        let second = timeout(SOON, lease(directory.path(), Kind::Jobs)).await.expect("given back");
        let loaded = second.load().await.expect("whole").map(|checkpoint| checkpoint.value);
        second.save(&checkpoint(round * 2 + 2)).await.expect("ours");
        let kept = second.load().await.expect("whole").map(|checkpoint| checkpoint.value);
        assert!(loaded == Some(round * 2 + 1) || loaded == (round > 0).then_some(round * 2), "{loaded:?}");
        assert_eq!(kept, Some(round * 2 + 2), "overwritten by the old holder");
    }
}

#[tokio::test]
async fn what_stands_in_the_way_of_the_new_checkpoint_leaves_the_old_one_whole() {
    let directory = directory();
    let lease = lease(directory.path(), Kind::Jobs).await;
    lease.save(&checkpoint(1)).await.expect("there is room");
    let temporary = directory.path().join("jobs.json.tmp");
    fs::create_dir(&temporary).expect("a directory");
    let error = lease.save(&checkpoint(2)).await.expect_err("a directory is in its place");
    assert!(error.to_string().contains("jobs.json: "), "{error}");
    assert_eq!(lease.load().await.expect("whole"), Some(checkpoint(1)));
    assert!(is_held(&*lease));
    fs::remove_dir(&temporary).expect("it is empty");
    lease.save(&checkpoint(3)).await.expect("it is gone");
    assert_eq!(lease.load().await.expect("whole"), Some(checkpoint(3)));
}

#[tokio::test]
async fn nothing_is_written_through_a_link() {
    let directory = directory();
    let (victim, temporary) = (directory.path().join("victim"), directory.path().join("jobs.json.tmp"));
    fs::write(&victim, "precious").expect("writable");
    let lease = lease(directory.path(), Kind::Jobs).await;
    symlink(&victim, &temporary).expect("a link");
    lease.save(&checkpoint(1)).await.expect("the link is removed");
    fs::hard_link(&victim, &temporary).expect("a second name");
    lease.save(&checkpoint(2)).await.expect("the name is removed");
    assert_eq!(lease.load().await.expect("whole"), Some(checkpoint(2)));
    drop(lease);
    fs::remove_file(directory.path().join("jobs.lock")).expect("it is free");
    fs::hard_link(&victim, directory.path().join("jobs.lock")).expect("a second name");
    drop(self::lease(directory.path(), Kind::Jobs).await);
    assert_eq!(fs::read_to_string(&victim).expect("there"), "precious");
}

#[test]
fn a_write_that_fails_half_way_leaves_the_old_checkpoint_whole() {
    if !with_small_files("coordinator::file::tests::a_write_that_fails_half_way_leaves_the_old_checkpoint_whole") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let directory = directory();
        let lease = lease(directory.path(), Kind::Allocations).await;
        lease.save(&checkpoint(1)).await.expect("it is small");
        let mut large = checkpoint(2);
        for task in 0_u64..100_000 {
            let task_cursor = TaskCursor::new(EventHash(task), RaftIndex(task), false);
            large.task_cursors.set(TaskKey::new(&task.to_string(), "task"), task_cursor);
        }
        let error = lease.save(&large).await.expect_err("it is larger than a file may be");
        assert!(error.to_string().contains("File too large"), "{error}");
        assert_eq!(names(directory.path()), ["allocations.json", "allocations.lock"]);
        assert_eq!(lease.load().await.expect("whole"), Some(checkpoint(1)));
    });
}

#[tokio::test]
async fn what_is_no_checkpoint_is_never_a_first_start() {
    let directory = directory();
    let lease = lease(directory.path(), Kind::Jobs).await;
    let path = directory.path().join("jobs.json");
    lease.save(&checkpoint(1)).await.expect("there is room");
    let whole = fs::read_to_string(&path).expect("saved");
    let half = &whole[..whole.len() / 2];
    let newer = r#"{"version":3,"value":1,"lanes":{}}"#;
    let cases = [
        ("", "EOF"),
        (half, "EOF"),
        ("\0\0\0\0", "expected value"),
        ("[]", "invalid length"),
        ("{}", "missing field `version`"),
        (r#"{"version":1}"#, "missing field"),
        (r#"{"version":0,"value":1,"lanes":{}}"#, "it has layout 0, this program reads layouts 1 to 2"),
        (newer, "it has layout 3, this program reads layouts 1 to 2"),
    ];
    for (text, reason) in cases {
        fs::write(&path, text).expect("there is room");
        let error = lease.load().await.expect_err(text);
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains(reason) && told.contains("jobs.json"), "{text:?}: {told}");
        let reset =
            format!("state reset jobs --coordinator file --data-dir {}", path.parent().expect("it has one").display());
        assert!(told.ends_with(&reset), "{told}");
    }
    let next = r#"{"version":2,"value":7,"lanes":{"*":{"position":{"index":9,"new":[]}}},"later":{"a":1}}"#;
    fs::write(&path, next).expect("there is room");
    let loaded = lease.load().await.expect("one version ahead is readable").expect("there is one");
    assert_eq!((loaded.value, loaded.streams["*"].position.index), (7, RaftIndex(9)));
}

#[tokio::test]
async fn a_directory_that_cannot_be_is_an_error_that_names_it() {
    let directory = directory();
    let file = directory.path().join("file");
    fs::write(&file, "").expect("there is room");
    for (path, reason) in [
        (file.clone(), "open data directory"),
        (file.join("below"), "open data directory"),
        ("/proc/nothing/can/be/made/here".into(), "create data directory /proc/nothing"),
    ] {
        let error = Directory::new(&path).acquire(Kind::Jobs).await.expect_err("no directory");
        let told = error.to_string();
        assert!(told.contains(reason) && told.contains(&path.display().to_string()), "{told}");
    }
    // A directory in the lock's place; permissions alone would not stop a test that runs as root.
    fs::create_dir(directory.path().join("jobs.lock")).expect("there is room");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o500)).expect("ours");
    let error = Directory::new(directory.path()).acquire(Kind::Jobs).await.expect_err("no lock");
    assert!(error.to_string().contains("open lock"), "{error}");
}

fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
    let range =
        (any::<u64>(), any::<u64>(), prop::collection::vec(any::<u64>(), 0..3)).prop_map(|(from, until, known)| Gap {
            from: RaftIndex(from),
            until: RaftIndex(until),
            known: known.into_iter().map(Identity).collect(),
        });
    let text = || prop::option::of(".*");
    let pass = (prop::collection::vec(range, 0..3), any::<bool>(), any::<bool>(), text(), text()).prop_map(
        |(ranges, baseline, unreported, namespace, page)| Pass { ranges, baseline, unreported, namespace, page },
    );
    let stream =
        (any::<u64>(), prop::collection::vec(any::<u64>(), 0..50), any::<u64>(), prop::collection::vec(pass, 0..3))
            .prop_map(|(index, seen, namespaces, backfill)| {
                let seen = seen.into_iter().map(Identity).collect();
                let anchor =
                    backfill.len().is_multiple_of(2).then(|| Anchor { topic: "Job".into(), index: RaftIndex(index) });
                StreamProgress {
                    position: Position {
                        index: RaftIndex(index),
                        seen,
                        whole: namespaces % 2 == 0,
                        before: RaftIndex(0),
                    },
                    namespaces,
                    anchor,
                    backfill,
                    topics: (0..namespaces % 3).map(|n| format!("Job:{n}")).collect(),
                    delivered: (0..namespaces % 3).map(|n| (format!("Topic{n}"), RaftIndex(index))).collect(),
                    chosen: namespaces % 5 == 0,
                }
            });
    let task_cursor = (any::<u64>(), any::<u64>(), any::<bool>());
    (any::<u64>(), prop::collection::btree_map(".*", stream, 0..4), prop::collection::vec(task_cursor, 0..20)).prop_map(
        |(value, streams, tasks): (u64, BTreeMap<String, StreamProgress>, _)| {
            let region = (value % 2 == 0).then(|| value.to_string());
            let cluster = region.clone().map(|_| cluster::Identity { region, ..cluster::Identity::default() });
            let mut task_cursors = TaskCursors::default();
            for (event, index, finished) in tasks {
                task_cursors.set(
                    TaskKey::new(&event.to_string(), "t"),
                    TaskCursor::new(EventHash(event), RaftIndex(index), finished),
                );
            }
            Checkpoint { version: VERSION, cluster, value, streams, task_cursors, legacy: None }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_checkpoint_comes_back_and_half_of_it_does_not(checkpoint in any_checkpoint(), cut in 0.0..1.0) {
        let directory = directory();
        let path = directory.path().join("jobs.json");
        let mut pieces = checkpoint.task_cursors.iter().map(|task_cursor| store::CheckpointPart::TaskCursors(vec![task_cursor])).collect::<Vec<_>>().into_iter();
        let written = store::write(&path, &checkpoint, || Some(pieces.next().unwrap_or(store::CheckpointPart::End)));
        written.expect("there is room");
        // As the program wrote it before it wrote task cursors in parts.
        let text = fs::read(&path).expect("saved");
        prop_assert_eq!(&serde_json::from_slice::<Checkpoint>(&text).expect("an object"), &checkpoint);
        let cut_off = store::write(&path, &Checkpoint::default(), || None);
        prop_assert!(cut_off.is_err());
        prop_assert_eq!(store::read(Kind::Jobs, &path).expect("whole"), Some(checkpoint));
        let whole = fs::read(&path).expect("saved");
        // Except for the line break at the end, every byte matters.
        let half = &whole[..((whole.len() - 1) as f64 * cut) as usize];
        fs::write(&path, half).expect("there is room");
        let is_corrupt = matches!(store::read(Kind::Jobs, &path), Err(Error::Corrupt { .. }));
        prop_assert!(is_corrupt);
    }

    #[test]
    fn any_bytes_are_a_checkpoint_or_corrupt(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let directory = directory();
        let path = directory.path().join("jobs.json");
        fs::write(&path, bytes).expect("there is room");
        let is_told = matches!(store::read(Kind::Jobs, &path), Ok(Some(_)) | Err(Error::Corrupt { .. }));
        prop_assert!(is_told);
    }
}
