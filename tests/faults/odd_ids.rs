//! Jobs whose IDs end like paths of the API, and single objects that cannot be read: none falsifies or holds up a list.

use nomad_sim::Sim;
use serde_json::{Value, json};

use crate::common::{Process, Setup, made};
use crate::support::*;

/// Of each of these, Nomad's `/v1/job/ID` gives something else than the job, or nothing (2.0.5); but for the last four.
const IDS: [&str; 16] = [
    "db/plan",
    "web/deployment",
    "ci/scale",
    "etl/services",
    "etl/submission",
    "etl/actions",
    "x/summary",
    "x/versions",
    "x/allocations",
    "x/tag",
    "s/evaluate",
    "p/periodic/force",
    "aaa",
    "web",
    "zzz",
    "api/v1",
];

fn job(index: u64, id: &str) -> String {
    let object = json!({"ID": id, "Namespace": "default", "Name": id, "Type": "service", "TaskGroups": null,
                        "Status": "running", "CreateIndex": index, "ModifyIndex": index});
    let event = json!({"Topic": "Job", "Type": "JobRegistered", "Key": id, "Namespace": "default", "FilterKeys": null,
                       "Index": index, "Payload": {"Job": object}});
    json!({"Index": index, "Events": [event]}).to_string()
}

/// A cluster whose buffer has only the last of these jobs.
async fn cluster(ids: &[&str]) -> Sim {
    let sim = Sim::builder().buffer(1).start().await.expect("starts");
    let jobs = ids.iter().enumerate().map(|(n, id)| job(10 + n as u64, id));
    sim.append_lines(jobs.collect::<Vec<_>>()).await.expect("lines");
    let web = made::deployment(100, 1).replace("\"JobID\":\"job\"", "\"JobID\":\"web\"");
    sim.append_lines([web, job(101, "last")]).await.expect("lines");
    sim
}

/// The IDs of the printed records, jobs and stubs apart.
fn printed(process: &Process) -> [Vec<String>; 2] {
    let records = process.printed();
    let records = records.iter().map(|record| serde_json::from_str::<Value>(record).expect("JSON"));
    let (stubs, jobs): (Vec<Value>, Vec<Value>) = records.partition(|record| record.get("JobSummary").is_some());
    let ids = |records: Vec<Value>| {
        let mut ids: Vec<_> = records.iter().map(|record| record["ID"].as_str().expect("an ID").to_owned()).collect();
        ids.sort_unstable();
        ids
    };
    [ids(jobs), ids(stubs)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_id_ends_like_a_path_comes_as_itself() {
    let sim = cluster(&IDS).await;
    let process = Setup::new(&["run", "--resources", "jobs,jobliststubs"], &sim.url(0)).verbose().spawn();
    process.until_printed(2 * (IDS.len() + 1)).await;
    process.until("both lists are read", || process.logged("backfill finished") == 2).await;
    let mut all: Vec<String> = IDS.iter().chain(&["last"]).map(|id| id.to_string()).collect();
    all.sort_unstable();
    assert_eq!(printed(&process), [all.clone(), all]);
    assert_eq!(process.logged("cannot read the list"), 0, "{}", process.log());
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_has_no_path_is_named_in_the_dead_letters_and_holds_up_nothing() {
    let sim = cluster(&["..", "zzz"]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("dead.ndjson");
    let ports = Ports::reserve();
    let setup = Setup::new(&["run", "--resources", "jobs,jobliststubs"], &sim.url(0)).verbose();
    let setup = setup.env("NOMAD_FIREHOSE_LISTEN", ports.address());
    let process = setup.env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display())).spawn();
    process.until("both lists are read", || process.logged("backfill finished") == 2).await;
    process.until_printed(5).await;
    let letters = std::fs::read_to_string(&file).expect("a dead letter");
    assert_eq!(letters.lines().count(), 1, "{letters}");
    for part in ["jobs", "\\\"..\\\"", "default", "at index 10", "no path for this ID"] {
        assert!(letters.contains(part), "{part} is missing: {letters}");
    }
    let metrics = get(&format!("http://{}/metrics", ports.address())).await;
    assert!(metrics.contains(r#"dead_letters_total{kind="jobs",reason="input"} 1"#), "{metrics}");
    // The list of jobs itself has the stub.
    assert_eq!(
        printed(&process),
        [["last", "zzz"].map(str::to_owned).to_vec(), ["..", "last", "zzz"].map(str::to_owned).to_vec()]
    );
    // A purge would need no path; a new version needs the summary, which its stub in the list has.
    sim.append_line(job(200, "..")).await.expect("a line");
    process.until_printed(7).await;
    process.stop().await;
}

/// Neither the jobs nor the stubs of other jobs wait for it, whether they come from the list or from the stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_summary_fails_is_named_in_the_dead_letters_and_holds_up_nothing() {
    let sim = cluster(&["bad", "zzz"]).await;
    sim.server(0).break_summary(Some("bad"));
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("dead.ndjson");
    let setup = Setup::new(&["run", "--resources", "jobs,jobliststubs"], &sim.url(0));
    let process = setup.env("NOMAD_FIREHOSE_DEAD_LETTER", format!("file:{}", file.display())).spawn();
    process.until_printed(5).await;
    sim.append_line(job(200, "bad")).await.expect("a line");
    process.until_printed(6).await;
    sim.append_line(job(201, "zzz")).await.expect("a line");
    process.until_printed(8).await;
    let named = || std::fs::read_to_string(&file).is_ok_and(|letters| letters.contains("bad"));
    process.until("a dead letter names the job", named).await;
    let all = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let mut printed = printed(&process);
    printed[1].retain(|id| id != "bad");
    assert_eq!(printed, [all(&["bad", "bad", "last", "zzz", "zzz"]), all(&["last", "zzz", "zzz"])]);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_whose_pages_repeat_is_not_taken_for_read() {
    let sim = Sim::builder().buffer(10).start().await.expect("starts");
    append_evaluations(&sim, 10..=1_709).await;
    sim.server(0).cycle_pages(true);
    let process = Setup::new(&["evaluations"], &sim.url(0)).verbose().spawn();
    process.until("the second page names itself", || process.logged("the list has no end") >= 2).await;
    // The first page, the second one, and that again after each time it is found out: looked at in this order, a busy
    // machine makes the pages fewer and the times more.
    let pages = full_lists(&sim).len();
    let times = process.logged("the list has no end");
    assert!((3..=times + 2).contains(&pages), "{pages} pages were asked for, found out {times} times");
    assert_eq!(process.logged("backfill finished"), 0);
    sim.server(0).cycle_pages(false);
    process.until_printed(1_700).await;
    process.until_logged("backfill finished").await;
    let printed = crate::common::truth::all_seen(&process.stop().await);
    assert_no_repeats(&printed);
    assert_eq!(printed.len(), 1_700);
}
