//! Nomad: addresses, tokens, streams, proxies.

use std::{net::TcpListener, sync::Arc, time::Duration};

use nomad_sim::{Broker, Policy, Sim};
use rcgen::date_time_ymd;

use crate::{
    Said, check,
    common::{Setup, made, nginx::Nginx, tls::Authority},
};

const TOKEN: &str = "11111111-1111-1111-1111-11111111hush";

const PIPELINES: &str = "\
[pipeline.a]
resources = [\"jobs\"]
[pipeline.b]
resources = [\"nodes\"]
sink-type = \"http\"
sink-http-address = \"http://127.0.0.1:9/\"
";

fn setup(sim: &Sim, resources: &str) -> Setup {
    Setup::new(&["check", "--resources", resources], &sim.url(0)).env("NOMAD_TOKEN", TOKEN)
}

async fn sim_with(policy: Policy) -> Sim {
    let sim = Sim::builder().token(TOKEN, policy).start().await.expect("the simulator starts");
    sim.append_lines((10..20).map(|index| made::evaluation(index, index))).await.expect("lines");
    sim
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_right_with_every_kind_and_form() {
    let sim = sim_with(Policy::management()).await;
    let (data, folder) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let file = folder.path().join("firehose.toml");
    std::fs::write(&file, PIPELINES).expect("writable");
    let of_file = |arguments: &[&str]| {
        let setup = Setup::new(&[&["check"], arguments].concat(), &sim.url(0));
        setup.env("NOMAD_TOKEN", TOKEN).env("NOMAD_FIREHOSE_CONFIG", &file)
    };
    let (all, jobs, one, both) = tokio::join!(
        check(setup(&sim, "all").data_dir(data.path())),
        check(Setup::new(&["check", "jobs"], &sim.url(0)).env("NOMAD_TOKEN", TOKEN)),
        check(of_file(&["--pipeline", "a"])),
        check(of_file(&[])),
    );
    all.is_well();
    let text = |said: &Said, what: &str| said.about(what)["text"].as_str().expect("text").to_owned();
    assert!(text(&all, &format!("nomad {}", sim.url(0))).contains("Nomad 2.0.5, region"), "{}", all.text);
    assert!(text(&all, "nomad stream of *").contains("10 lines"), "{}", all.text);
    assert!(text(&all, "nomad event buffer").contains("event_buffer_size 100"), "{}", all.text);
    assert_eq!(std::fs::read_dir(data.path()).expect("it is there").count(), 0, "nothing stays behind");
    jobs.is_well();
    assert_eq!(jobs.about("coordinator")["state"], "warning");
    one.is_well();
    one.about("[a] sink stdout");
    assert!(one.findings().all(|found| !found["what"].as_str().expect("a name").starts_with("[b]")));
    both.fails("[b] sink http", "Connection refused", "SINK_HTTP_ADDRESS");
    let (code, _, log) = of_file(&["--pipeline", "c"]).output();
    assert!(code == Some(2) && log.contains("choose one of a, b"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_of_the_configuration_is_named() {
    let setup =
        Setup::bare(&["check", "--resources", "jbos"]).env("NOMAD_ADDR", "ftp://nomad").env("SINK_TYPE", "pigeon");
    let (code, _, log) = setup.output();
    assert_eq!(code, Some(2), "{log}");
    for part in ["unknown scheme", "did you mean jobs?", "no such sink"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let setup = Setup::new(&["check", "jobs"], "https://127.0.0.1:9").env("NOMAD_CACERT", "/nowhere/ca.pem");
    let said = check(setup).await;
    assert_eq!(said.code, Some(2), "a run would not start: {}", said.text);
    assert!(said.text.contains("NOMAD_CACERT=/nowhere/ca.pem"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_nomad_is_named_and_another_one_stands_in() {
    let said = check(Setup::new(&["check", "jobs"], "http://127.0.0.1:9")).await;
    said.fails("nomad http://127.0.0.1:9", "Connection refused", "NOMAD_ADDR");
    assert_eq!(said.about("nomad rights")["state"], "skipped");
    let sim = sim_with(Policy::management()).await;
    let said = check(setup(&sim, "jobs").env("NOMAD_ADDR", format!("http://127.0.0.1:9,{}", sim.url(0)))).await;
    said.is_well();
    assert_eq!(said.about("nomad http://127.0.0.1:9")["state"], "warning");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_tried_and_the_missing_line_of_its_policy_named() {
    let sim = sim_with(Policy::read_jobs(&["*"])).await;
    let (well, nodes, raw, wrong, none, nowhere) = tokio::join!(
        check(setup(&sim, "allocations,evaluations,jobs,deployments")),
        check(setup(&sim, "allocations,nodes")),
        check(setup(&sim, "events")),
        check(setup(&sim, "jobs").env("NOMAD_TOKEN", "22222222-2222-2222-2222-222222222222")),
        check(setup(&sim, "jobs").without("NOMAD_TOKEN")),
        check(setup(&sim, "jobs").env("NOMAD_NAMESPACE", "nowhere")),
    );
    well.is_well();
    let fix = "add to the policy \"sim\" of the token: node { policy = \"read\" }";
    nodes.fails("nomad list of nodes", "permission denied", fix);
    nodes.fails("nomad stream of *", "the event stream of Node: permission denied", fix);
    raw.fails("nomad stream of *", "the event stream of *", "a management token");
    wrong.fails("nomad token", "does not accept the token", "NOMAD_TOKEN or NOMAD_TOKEN_FILE");
    none.fails("nomad list of jobs", "permission denied", "set NOMAD_TOKEN to a token whose policy has: namespace");
    nowhere.fails("nomad namespace nowhere", "there is no namespace \"nowhere\"", "NOMAD_NAMESPACE");
}

/// Nomad takes seconds to refuse the stream of `*`, and shows no namespace that the token may not see.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_the_token_cannot_see_is_no_buffering_proxy() {
    let refused = async |refusal: Duration| {
        let sim = Sim::builder().token(TOKEN, Policy::read_jobs(&["default"])).namespace("team-a", 1).refusal(refusal);
        let sim = sim.start().await.expect("the simulator starts");
        let one = setup(&sim, "jobs").env("NOMAD_NAMESPACE", "default");
        let (said, of_one) = tokio::join!(check(setup(&sim, "jobs")), check(one));
        said.fails("nomad stream of *", "", "NOMAD_NAMESPACE");
        assert!(!said.text.contains("proxy_buffering"), "{}", said.text);
        of_one.is_well();
    };
    tokio::join!(refused(Duration::from_millis(500)), refused(Duration::from_secs(60)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_off_is_named() {
    let sim = sim_with(Policy::management()).await;
    sim.set_broker(Broker::Disabled);
    let (jobs, raw) = tokio::join!(check(setup(&sim, "jobs")), check(setup(&sim, "events")));
    assert_eq!(jobs.about("nomad stream of *")["state"], "warning", "lists stand in: {}", jobs.text);
    assert!(jobs.text.contains("enable_event_broker = true"), "{}", jobs.text);
    raw.fails("nomad stream of *", "event broker is disabled", "enable_event_broker = true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_buffers_the_stream_is_named() {
    let behind_nginx = async |lines: u64| {
        let sim = Sim::builder().start().await.expect("the simulator starts");
        sim.append_lines((1_001..=1_000 + lines).map(|index| made::evaluation(index, index))).await.expect("lines");
        let mut nginx = Nginx::start(sim.addr(0), "").await;
        let behind = |nginx: &Nginx| Setup::new(&["check", "evaluations"], &nginx.url());
        let said = check(behind(&nginx)).await;
        said.fails("nomad stream of *", "a proxy", "proxy_buffering off");
        nginx.restart("proxy_buffering off;").await;
        check(behind(&nginx)).await.is_well();
    };
    // A little is held back whole; of much, the part that fills the buffer comes, and ends within a line.
    tokio::join!(behind_nginx(5), behind_nginx(90));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_buffer_that_is_too_small_for_the_cluster_is_a_warning_with_a_size() {
    let sim = Arc::new(Sim::builder().token(TOKEN, Policy::management()).start().await.expect("the simulator starts"));
    let writer = Arc::clone(&sim);
    let writing = tokio::spawn(async move {
        for index in 100.. {
            writer.append_line(made::evaluation(index, index % 7 + 1)).await.expect("a line");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let said = check(setup(&sim, "evaluations")).await;
    writing.abort();
    said.is_well();
    let found = said.about("nomad event buffer");
    assert_eq!(found["state"], "warning", "{}", said.text);
    let part = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    assert!(
        part("text").contains("event_buffer_size 100")
            && part("text").contains("transactions a second: covers an outage of"),
        "{}",
        said.text
    );
    assert!(part("fix").contains("covers 60 s"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_named() {
    let authority = Authority::new();
    let ca = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&ca, authority.pem()).expect("writable");
    let sim = sim_with(Policy::management()).await;
    let config = authority.server_until("localhost", date_time_ymd(2020, 1, 1));
    let front = crate::common::tls::Front::start(config, &sim.addr(0).to_string()).await;
    let url = format!("https://localhost:{}", front.address.port());
    let setup = setup(&sim, "jobs").env("NOMAD_ADDR", &url).env("NOMAD_CACERT", ca.path());
    let said = check(setup.clone()).await;
    said.fails(&format!("nomad {url}"), "expired", "");
    assert!(said.about(&format!("nomad {url}"))["fix"].is_string(), "{}", said.text);
    // One that is about to is a warning.
    let soon = time::OffsetDateTime::now_utc() + time::Duration::days(3);
    front.exchange(authority.server_until("localhost", soon));
    let said = check(setup).await;
    said.is_well();
    assert_eq!(said.about("certificate of nomad")["state"], "warning", "{}", said.text);
}

/// As a process that is stopped: the system takes the connection, and nothing is answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_a_finding_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    let setup = Setup::new(&["check", "jobs"], &url)
        .env("NOMAD_FIREHOSE_COORDINATOR", "consul")
        .env("CONSUL_HTTP_ADDR", &url)
        .env("SINK_TYPE", "amqp")
        .env("SINK_AMQP_CONNECTION", url.replace("http", "amqp"))
        .env("SINK_AMQP_EXCHANGE", "nomad")
        .env("SINK_AMQP_ROUTING_KEY", "x")
        .env("NOMAD_FIREHOSE_LISTEN", silent.local_addr().expect("bound").to_string());
    let said = check(setup).await;
    for what in [format!("nomad {url}"), format!("consul {url}"), "sink amqp".to_owned()] {
        said.fails(&what, "did not answer within", "check");
    }
    said.fails("listen address", "another program holds", "NOMAD_FIREHOSE_LISTEN");
}
