//! Coordinators: rights that are tried and leave nothing behind, leaders, and the state of another cluster.

use nomad_sim::Sim;
use reqwest::Method;

use crate::{
    NOWHERE, check,
    common::{
        Setup,
        consul::{Consul, Options},
        made,
    },
};

const SESSIONS: &str = "session_prefix \"\" { policy = \"write\" }";
const KEYS: &str = "key_prefix \"nomad-firehose/\" { policy = \"write\" }";

async fn cluster() -> Sim {
    let sim = Sim::builder().region("eu").start().await.expect("the simulator starts");
    sim.append_line(made::job(40, 40, 1)).await.expect("a line");
    sim
}

fn with(setup: Setup, consul: &Consul) -> Setup {
    setup.env("NOMAD_FIREHOSE_COORDINATOR", "consul").env("CONSUL_HTTP_ADDR", consul.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_are_tried_and_nothing_stays_behind() {
    let consul = Consul::start(Options { acls: true, ..Options::default() }).await;
    let policies =
        [("all", format!("{SESSIONS} {KEYS}")), ("keys", KEYS.to_owned()), ("sessions", SESSIONS.to_owned())];
    for (name, rules) in policies {
        consul.set_policy(name, &rules).await;
        let token = consul.create_token(name).await;
        let said = check(with(Setup::new(&["check", "jobs"], NOWHERE), &consul).env("CONSUL_HTTP_TOKEN", token)).await;
        match name {
            "all" => {
                said.is_well_without_nomad();
                assert!(said.about("consul keys")["text"].as_str().expect("text").contains("locked"), "{}", said.text);
                assert!(
                    said.about("consul jobs")["text"].as_str().expect("text").contains("no replica leads"),
                    "{}",
                    said.text
                );
            }
            "keys" => {
                said.fails("consul session", "cannot create a session", SESSIONS);
                assert_eq!(said.failed(), ["consul session"], "{}", said.text);
            }
            _ => {
                said.fails("consul keys", "Permission denied", KEYS);
                said.fails("consul jobs", "Permission denied", KEYS);
            }
        }
        assert_eq!(consul.sessions().await, Vec::<serde_json::Value>::new(), "{name}");
        let (_, keys) = consul.request(Method::GET, "kv/?keys", "").await;
        assert!(keys.is_empty() || keys == "[]", "{name}: {keys}");
    }
    let said = check(with(Setup::new(&["check", "jobs"], NOWHERE), &consul)).await;
    said.fails("consul session", "cannot create a session", "set CONSUL_HTTP_TOKEN to a token whose policy has");
    let said = check(
        with(Setup::new(&["check", "jobs"], NOWHERE), &consul)
            .env("CONSUL_HTTP_TOKEN", "22222222-2222-2222-2222-222222222222"),
    )
    .await;
    said.fails("consul session", "does not accept the token", "CONSUL_HTTP_TOKEN");
    consul.pause();
    let said = check(with(Setup::new(&["check", "jobs"], NOWHERE), &consul)).await;
    said.fails(&format!("consul {}", consul.url()), "did not answer within", "CONSUL_HTTP_ADDR");
    consul.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_is_named_and_keeps_its_lease() {
    let (consul, sim) = (Consul::start(Options::default()).await, cluster().await);
    let leader = with(Setup::new(&["jobs"], &sim.url(0)), &consul).spawn();
    leader.until_printed(1).await;
    let lock = consul.holder("nomad-firehose/jobs.lock").await.expect("it leads");
    let said = check(with(Setup::new(&["check", "jobs"], &sim.url(0)), &consul)).await;
    said.is_well();
    let text = said.about("consul jobs")["text"].as_str().expect("text").to_owned();
    assert!(
        text.contains(&format!("process {} on", leader.id())) && text.contains("leads, next heartbeat after"),
        "{text}"
    );
    assert_eq!(consul.holder("nomad-firehose/jobs.lock").await, Some(lock));
    leader.signal(crate::common::Signal::STOP);
    let said =
        check(with(Setup::new(&["check", "jobs"], &sim.url(0)), &consul).env("NOMAD_FIREHOSE_LEASE", "1s")).await;
    leader.signal(crate::common::Signal::CONT);
    let found = said.about("consul jobs");
    assert_eq!(found["state"], "warning", "{}", said.text);
    assert!(found["text"].as_str().expect("text").contains("wrote no heartbeat"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_another_cluster_is_named() {
    let consul = Consul::start(Options::default()).await;
    let data = tempfile::tempdir().expect("a directory");
    let (eu, us) = (cluster().await, Sim::builder().region("us").start().await.expect("the simulator starts"));
    us.append_line(made::job(50, 50, 1)).await.expect("a line");
    for is_consul in [true, false] {
        let with = |setup: Setup| if is_consul { with(setup, &consul) } else { setup.data_dir(data.path()) };
        let process = with(Setup::new(&["jobs"], &eu.url(0)).env("NOMAD_REGION", "eu")).spawn();
        process.until_printed(1).await;
        process.stop().await;
        let (what, variable) = match is_consul {
            true => ("consul jobs", "NOMAD_FIREHOSE_CONSUL_PREFIX"),
            false => ("file jobs", "NOMAD_FIREHOSE_DATA_DIR"),
        };
        let (said, own) = tokio::join!(
            check(with(Setup::new(&["check", "jobs"], &us.url(0)))),
            check(with(Setup::new(&["check", "jobs"], &eu.url(0)))),
        );
        said.fails(what, "belongs to another cluster: its region is \"eu\"", variable);
        assert!(said.about(what)["fix"].as_str().expect("a fix").contains("nomad-firehose state reset jobs"));
        own.is_well();
        assert!(own.about(what)["text"].as_str().expect("text").contains("* at 40"), "{}", own.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let said = check(Setup::new(&["check", "jobs"], NOWHERE).data_dir(file.path())).await;
    assert_eq!(said.code, Some(2), "a run would not start: {}", said.text);
    assert_eq!(said.about("data directory")["state"], "failed");
    let said = check(Setup::new(&["check", "jobs"], NOWHERE).data_dir("/proc/nowhere".as_ref())).await;
    said.fails("data directory", "cannot write a file in /proc", "NOMAD_FIREHOSE_DATA_DIR");
}
