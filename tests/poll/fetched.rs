//! Objects that are asked for one by one, of a leader that has not applied all that the one before it had listed.

use nomad_sim::{Broker, Lag, Sim};

use crate::common::{Process, Setup, made};
use crate::support::*;

/// Gives the line of a raft index that brings object number so-and-so.
type Line = fn(u64, u64) -> String;

/// One kind whose objects are asked for one by one, on a cluster whose last server stays where it is.
struct Scene {
    sim: Sim,
    process: Process,
    kind: &'static str,
    line: Line,
}

impl Scene {
    async fn new(kind: &'static str, line: Line) -> Self {
        let sim = Sim::builder().servers(2).start().await.expect("the simulator starts");
        sim.set_broker(Broker::Missing);
        sim.append_lines([line(100, 1), line(101, 2)]).await.expect("lines");
        sim.server(1).lag(Lag::At(101));
        let setup = Setup::new(&["run", "--resources", kind], &sim.url(0)).env("NOMAD_FIREHOSE_POLL_INTERVAL", "100ms");
        let process = setup.spawn();
        let scene = Scene { sim, process, kind, line };
        scene.until_shown().await;
        scene
    }

    /// Object `n` changes, or comes, and is given `times` as the server that lags has it.
    async fn change(&self, index: u64, n: u64, times: u32) {
        self.sim.server(0).lagging_objects(times);
        self.sim.append_line((self.line)(index, n)).await.expect("a line");
    }

    async fn until_shown(&self) {
        until_shown_of_kind(&self.sim, &self.process, self.kind).await;
    }

    fn asked(&self) -> usize {
        let single =
            |target: &str| ["/v1/allocation/", "/v1/job/", "/v1/node/"].iter().any(|path| target.starts_with(path));
        self.sim.requests().iter().filter(|request| single(&request.target)).count()
    }
}

fn allocation(index: u64, n: u64) -> String {
    made::allocation(index, n, 1..=index - 99)
}

fn job(index: u64, n: u64) -> String {
    made::job(index, n, 1)
}

const KINDS: [(&str, Line); 3] = [("allocations", allocation), ("jobs", job), ("nodes", made::node)];

/// What is changed so comes once, as it is in the end.
async fn comes_all_the_same(index: u64, n: u64, times: u32) {
    for (kind, line) in KINDS {
        let scene = Scene::new(kind, line).await;
        scene.change(index, n, times).await;
        scene.until_shown().await;
        let printed = versions(&scene.process.stop().await);
        assert_no_repeats(&printed);
        assert_true(&scene.sim, &printed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_older_than_its_list_is_asked_for_again() {
    comes_all_the_same(105, 2, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_listed_and_not_found_is_asked_for_again() {
    comes_all_the_same(105, 3, 1).await;
}

/// What is not found again is gone, and everything else goes on.
#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_found_again_holds_up_nothing() {
    for (kind, line) in KINDS {
        let scene = Scene::new(kind, line).await;
        let before = scene.asked();
        scene.change(105, 3, 2).await;
        scene.process.until("it is asked for twice", || scene.asked() == before + 2).await;
        scene.change(106, 3, 0).await;
        scene.until_shown().await;
        assert_eq!(scene.process.logged("cannot read the list"), 1, "{}", scene.process.log());
        scene.process.stop().await;
    }
}
