//! The status page in a real browser: what it says in each situation, and that no text from outside becomes markup.
//!
//! All situations share one browser. `PICTURES=DIR` keeps a picture of each.

#[path = "../common/mod.rs"]
mod common;

mod browser;

use std::path::Path;

use browser::{Browser, Tab};
use common::{
    Process, Setup, Signal,
    consul::{Consul, Options},
    fixture, made,
    ports::Ports,
    server::{Reply, Server},
};
use nomad_sim::Sim;
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

const WIDE: (u32, u32) = (1180, 900);

fn listen(setup: Setup, port: u16) -> Setup {
    setup.env("NOMAD_FIREHOSE_LISTEN", format!("127.0.0.1:{port}"))
}

fn open(browser: &mut Browser, port: u16) -> Tab {
    let tab = browser.open(&format!("http://127.0.0.1:{port}/"));
    browser.show(&tab, WIDE.0, WIDE.1, false);
    tab
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_what_is_the_matter() {
    let mut browser = Browser::start();
    start_and_load(&mut browser).await;
    hostile_names(&mut browser).await;
    sink_down(&mut browser).await;
    fail_over(&mut browser).await;
    gap(&mut browser).await;
    // The one that hostile_names provokes.
    let complaints = browser.complaints();
    assert!(complaints.len() == 1 && complaints[0].contains("TrustedHTML"), "{complaints:?}");
}

/// From the first answer to a page full of records, which can be searched.
async fn start_and_load(browser: &mut Browser) {
    let sim = Sim::builder().recording(fixture("stream-complete.ndjson")).buffer(1_000).start().await.expect("starts");
    let ports = Ports::reserve();
    let setup = Setup::new(&["run", "--resources", "all"], &sim.url(0)).env("NOMAD_FIREHOSE_CLUSTER", "blue");
    let process = listen(setup, ports.base).spawn();
    process.until_logged("became leader").await;
    let tab = open(browser, ports.base);
    browser
        .until(&tab, "#sentence", "All is well: this replica leads allocations, nodes, evaluations and 4 more")
        .await;
    assert_eq!(browser.text(&tab, "#link"), "live");
    assert!(browser.text(&tab, "#about").contains("cluster blue · process "));
    assert_eq!(browser.text(&tab, "#count"), "No record yet.");
    assert_eq!(browser.value(&tab, "document.querySelectorAll('#pipelines tbody tr').length"), 7);

    sim.play_all().await;
    // How many are shown depends on how fast they come.
    browser.until_true(&tab, "document.querySelectorAll('#records li').length >= 50").await;
    let count = browser.text(&tab, "#count");
    let shown: u64 = count.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
    assert!(count.starts_with(&format!("{shown} of the last {shown} records. Bodies are left out.")), "{count}");
    let all = "[...document.querySelectorAll('#records li')].filter(li => !li.hidden).length";
    assert!(browser.value(&tab, all).as_u64() >= Some(shown));
    type_into(browser, &tab, "#search", "no such record");
    assert_eq!(browser.value(&tab, all), 0);
    type_into(browser, &tab, "#search", "");
    browser
        .until_true(&tab, "[...document.querySelector('#kind').options].some(it => it.value === 'evaluations')")
        .await;
    type_into(browser, &tab, "#kind", "evaluations");
    let kinds = "[...new Set([...document.querySelectorAll('#records li')].filter(li => !li.hidden).map(li => li.children[1].textContent))]";
    assert_eq!(browser.value(&tab, kinds), json!(["evaluations"]));
    type_into(browser, &tab, "#kind", "");
    browser.until(&tab, "#pipelines tbody tr td[data-label=Leader]", "this replica").await;
    browser.picture(&tab, "status-page");
    browser.show(&tab, WIDE.0, WIDE.1, true);
    browser.picture(&tab, "status-page-dark");
    browser.show(&tab, 390, 844, false);
    let overflow = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    assert_eq!(browser.value(&tab, overflow), true, "it fits a phone");
    browser.picture(&tab, "status-page-phone");

    // Its end is said, and is not taken for silence.
    process.stop().await;
    browser.until(&tab, "#sentence", "Not connected since ").await;
    browser.until(&tab, "#link", "not connected since ").await;
    browser.close(&tab);
}

fn type_into(browser: &mut Browser, tab: &Tab, selector: &str, text: &str) {
    let (selector, text) = (json!(selector), json!(text));
    browser.value(
        tab,
        &format!(
            "(it => {{ it.value = {text}; it.dispatchEvent(new Event('input')); }})(document.querySelector({selector}))"
        ),
    );
}

/// Names of jobs and namespaces that would run if they became markup.
async fn hostile_names(browser: &mut Browser) {
    const NAMES: [&str; 4] = [
        "</script><script>window.stolen=1</script>",
        "<img src=x onerror=window.stolen=1>",
        "\"'><svg onload=window.stolen=1>",
        "abc\u{202e}def\u{2066}ghi\u{200f}",
    ];
    let sim = Sim::builder().start().await.expect("starts");
    let ports = Ports::reserve();
    let process = listen(Setup::new(&["run", "--resources", "jobs,events"], &sim.url(0)), ports.base).spawn();
    process.until_logged("became leader").await;
    let lines = NAMES.iter().zip(20..).map(|(name, index)| made::hostile_job(index, name));
    sim.append_lines(lines.collect::<Vec<_>>()).await.expect("lines");
    let tab = open(browser, ports.base);
    browser.until(&tab, "#count", "of the last 8 records").await;
    let shown = browser.text(&tab, "#records");
    for name in &NAMES[..3] {
        assert!(shown.contains(name), "{name} is not shown as it is: {shown}");
    }
    assert!(!shown.contains(['\u{202e}', '\u{2066}', '\u{200f}']), "{shown}");
    assert_eq!(browser.value(&tab, "window.stolen === undefined"), true);
    assert_eq!(browser.value(&tab, "document.querySelectorAll('script').length"), 1);
    assert_eq!(browser.value(&tab, "document.querySelectorAll('img, svg, iframe, object').length"), 0);
    let escape = "try { document.body.innerHTML = '<b>x</b>'; 'markup' } catch (refused) { 'refused' }";
    assert_eq!(browser.value(&tab, escape), "refused", "even a mistake of ours makes no markup");
    browser.close(&tab);
    process.stop().await;
}

/// The sink answers with errors, and comes back.
async fn sink_down(browser: &mut Browser) {
    let sim = Sim::builder().start().await.expect("starts");
    sim.append_lines((20..30).map(|index| made::evaluation(index, index)).collect::<Vec<_>>()).await.expect("lines");
    let is_down = Arc::new(AtomicBool::new(true));
    let down = Arc::clone(&is_down);
    let server = Server::start(move |_| match down.load(Ordering::Relaxed) {
        true => Reply::Status(503),
        false => Reply::Take,
    })
    .await;
    let ports = Ports::reserve();
    let setup = Setup::new(&["evaluations"], &sim.url(0))
        .env("SINK_TYPE", "http")
        .env("SINK_HTTP_ADDRESS", server.url())
        .env("NOMAD_FIREHOSE_RETRY_MAX", "1s");
    let process = listen(setup, ports.base).spawn();
    // A browser does not try again by itself.
    process.until_logged("delivery failed").await;
    let tab = open(browser, ports.base);
    let said = browser.until(&tab, "#sentence", "The sink http takes no records of evaluations: ").await;
    assert!(said.contains("503"), "{said}");
    assert_eq!(browser.value(&tab, "document.querySelector('#verdict').className"), "bad");
    browser.until(&tab, "#since", "Since ").await;
    browser.until(&tab, "#fix", "Fix the sink").await;
    browser.until(&tab, ".sink", "Sink http: retrying").await;
    browser.until(&tab, ".errors", "delivery failed").await;
    browser.until(&tab, "#log", "delivery failed").await;
    browser.until(&tab, ".window", "in flight, of 32 MiB").await;
    browser.picture(&tab, "status-page-sink-down");
    is_down.store(false, Ordering::Relaxed);
    browser.until(&tab, "#sentence", "All is well").await;
    browser.until(&tab, ".sink", "Sink http: flowing").await;
    browser.close(&tab);
    process.stop().await;
}

/// A leader dies, and a standby takes over: both pages say so.
async fn fail_over(browser: &mut Browser) {
    let (sim, consul) = (Sim::builder().start().await.expect("starts"), Consul::start(Options::default()).await);
    let replica = |port| {
        let setup = Setup::new(&["run", "--resources", "evaluations,nodes"], &sim.url(0))
            .env("NOMAD_FIREHOSE_COORDINATOR", "consul")
            .env("CONSUL_HTTP_ADDR", consul.url())
            .env("NOMAD_FIREHOSE_LEASE", "1s");
        listen(setup, port).spawn()
    };
    let ports = Ports::reserve();
    let leader = replica(ports.base);
    leader.until_logged("became leader").await;
    let standby = replica(ports.base + 1);
    standby.until_logged("standing by").await;
    let (one, two) = (open(browser, ports.base), open(browser, ports.base + 1));
    browser.until(&one, "#sentence", "All is well: this replica leads").await;
    let named = format!("process {} on ", leader.id());
    let said = browser.until(&two, "#sentence", "All is well: this replica stands by. ").await;
    assert!(said.contains(&named), "{said}");
    browser.until(&two, "#pipelines tbody tr td[data-label=Leader]", &named).await;
    browser.until(&two, "#leases", "standing by").await;
    browser.picture(&two, "status-page-standby");

    let killed = leader.end_by(Signal::KILL).await;
    assert!(!killed.status.success());
    browser.until(&one, "#sentence", "Not connected since ").await;
    assert_eq!(browser.value(&one, "document.body.className"), "stale");
    browser.until(&two, "#sentence", "All is well: this replica leads").await;
    browser.until(&two, "#leases", &format!("leases taken over from {named}")).await;
    browser.until(&two, "#leases", "became leader").await;
    browser.picture(&two, "status-page-fail-over");
    browser.picture(&one, "status-page-lost");

    // The page finds its way back by itself.
    let back = replica(ports.base);
    browser.until(&one, "#sentence", "All is well: this replica stands by. ").await;
    assert_eq!(browser.value(&one, "document.body.className"), "");
    browser.close(&one);
    browser.close(&two);
    back.stop().await;
    standby.stop().await;
}

/// Nomad's buffer turned over while nobody read.
async fn gap(browser: &mut Browser) {
    let sim = Sim::builder().recording(fixture("stream-complete.ndjson")).buffer(70).preload(59);
    let sim = sim.start().await.expect("starts");
    let (directory, ports) = (tempfile::tempdir().expect("a directory"), Ports::reserve());
    let run = || {
        let setup = Setup::new(&["run", "--resources", "allocations,nodes"], &sim.url(0)).data_dir(directory.path());
        listen(setup, ports.base).verbose().spawn()
    };
    let process: Process = run();
    process.until("the lists are read", || process.logged("backfill finished") == 2).await;
    process.stop().await;
    sim.play_to(180).await;
    let process = run();
    process.until_logged("gap detected").await;
    let tab = open(browser, ports.base);
    browser.until(&tab, "#sentence", "may be missing, raft indexes ").await;
    assert_eq!(browser.value(&tab, "document.querySelector('#verdict').className"), "warning");
    browser.until(&tab, "#fix", "event_buffer_size").await;
    browser.until(&tab, ".gaps", "raft indexes ").await;
    browser.picture(&tab, "status-page-gap");
    browser.close(&tab);
    process.stop().await;
}

#[test]
fn pictures_of_the_page_are_small() {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
    for entry in std::fs::read_dir(images).into_iter().flatten() {
        let entry = entry.expect("an entry");
        let bytes = entry.metadata().expect("it is there").len();
        assert!(bytes < 150_000, "{} has {bytes} bytes", entry.path().display());
    }
}
