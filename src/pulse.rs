//! Whether the runtimes of the process make progress.
//!
//! Each runtime beats twice: on the thread that runs its main task, and as a task of its own among all others. A thread that is stuck
//! lets one of them miss, whatever the other threads do.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// How often each thread beats.
const EVERY: Duration = Duration::from_millis(500);

static RUNTIMES: Mutex<Vec<Weak<Runtime>>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Runtime {
    name: Arc<str>,
    since: Instant,
    /// When it beat last, in milliseconds since then.
    main: AtomicU64,
    tasks: AtomicU64,
}

impl Runtime {
    fn beat(&self, on: &AtomicU64) {
        on.store(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago it beat on its slower thread.
    fn silence(&self) -> Duration {
        let last = self.main.load(Ordering::Relaxed).min(self.tasks.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(Duration::from_millis(last))
    }
}

/// Runs the main task of a runtime, which beats until the end of the task. Call it within the runtime.
pub(crate) async fn during<T>(name: Arc<str>, task: impl Future<Output = T>) -> T {
    let runtime = Arc::new(Runtime { name, since: Instant::now(), main: 0.into(), tasks: 0.into() });
    register(&runtime);
    let own = Arc::downgrade(&runtime);
    tokio::spawn(async move {
        while let Some(runtime) = own.upgrade() {
            runtime.beat(&runtime.tasks);
            drop(runtime);
            sleep(EVERY).await;
        }
    });
    let beats = async {
        loop {
            runtime.beat(&runtime.main);
            sleep(EVERY).await;
        }
    };
    tokio::select! {
        output = task => output,
        () = beats => unreachable!("it never ends"),
    }
}

fn register(runtime: &Arc<Runtime>) {
    let mut runtimes = lock();
    runtimes.retain(|known| known.strong_count() > 0);
    runtimes.push(Arc::downgrade(runtime));
}

/// A runtime that has not beaten for longer than `limit`, and for how long: its name is that of its pipeline, and empty for the one
/// of the process.
pub(crate) fn stuck(limit: Duration) -> Option<(Arc<str>, Duration)> {
    let runtimes: Vec<_> = lock().iter().filter_map(Weak::upgrade).collect();
    let silent = runtimes.iter().map(|runtime| (Arc::clone(&runtime.name), runtime.silence()));
    silent.filter(|(_, silence)| *silence > limit).max_by_key(|(_, silence)| *silence)
}

fn lock() -> MutexGuard<'static, Vec<Weak<Runtime>>> {
    // A panic elsewhere leaves plain data behind.
    RUNTIMES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;
    use crate::process;

    /// Waits until the runtime of this name is stuck, or is not.
    fn until(name: &str, wanted: bool) {
        let until = Instant::now() + Duration::from_secs(60);
        while stuck(EVERY * 3).is_some_and(|(found, _)| *found == *name) != wanted {
            assert!(Instant::now() < until, "{name}: {wanted}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_thread_that_is_stuck_is_noticed_whichever_it_is() {
        for is_main in [true, false] {
            let name: &str = if is_main { "stuck-main" } else { "stuck-task" };
            let (free, blocked) = mpsc::channel::<()>();
            let (end, ended) = tokio::sync::oneshot::channel::<()>();
            let running = thread::spawn(move || {
                process::block_on_for(Some(&name.parse().expect("a name")), async move {
                    if is_main {
                        blocked.recv().ok();
                    } else {
                        tokio::spawn(async move { blocked.recv().ok() });
                    }
                    ended.await.ok();
                })
            });
            until(name, true);
            free.send(()).expect("it waits");
            until(name, false);
            end.send(()).expect("it waits");
            running.join().expect("no panic").expect("a runtime");
            assert!(!lock().iter().filter_map(Weak::upgrade).any(|runtime| *runtime.name == *name));
        }
    }
}
