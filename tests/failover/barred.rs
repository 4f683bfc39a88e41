//! A replica that cannot lead, whoever else is there: `/readyz` says so, with the reason, and the log says it once.

use std::time::{Duration, Instant};

use reqwest::Method;
use tokio::time::sleep;

use crate::{
    common::{
        consul::Options,
        ports::Ports,
        probe::{readiness, until_ready},
        truth::ALL,
        until,
    },
    replicas::{Replica, Scene},
    rival::key,
};

const POLICY: &str = include_str!("../../deploy/policies/consul.hcl");
/// Sessions can be made, and keys can be read only.
const READ_ONLY: &str = r#"key_prefix "nomad-firehose/" { policy = "read" } session_prefix "" { policy = "write" }"#;

fn replica(scene: &mut Scene, token: &str, ports: &Ports) -> Replica {
    let (url, listen) = (scene.consul.url(), format!("127.0.0.1:{}", ports.base));
    scene.replica_with(|setup| {
        let setup = setup.env("CONSUL_HTTP_ADDR", url).env("CONSUL_HTTP_TOKEN", token);
        setup.env("NOMAD_FIREHOSE_LISTEN", listen)
    })
}

/// For some seconds it is not ready, whenever it is asked.
async fn stays_barred(port: u16, reason: &str) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let (is_ready, said) = readiness(port).await.expect("it listens");
        assert!(!is_ready && said.contains("blocked") && said.contains(reason), "{said}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_may_only_read_bars_it_until_it_may_write() {
    let mut scene = Scene::quiet(Options { acls: true, ..Options::default() }).await;
    scene.consul.set_policy("nomad-firehose", READ_ONLY).await;
    let token = scene.consul.create_token("nomad-firehose").await;
    let ports = [Ports::reserve(), Ports::reserve()];
    let replicas = ports.each_ref().map(|ports| replica(&mut scene, &token, ports));
    for (ports, replica) in ports.iter().zip(&replicas) {
        until_ready(ports.base, false, "key_prefix").await;
        stays_barred(ports.base, "key_prefix").await;
        for words in ["operation failing", "operation recovered", "ERROR"] {
            assert!(replica.logged(words) <= 1, "{words}: {}", replica.log());
        }
        assert_eq!(replica.logged("key_prefix"), 1, "{}", replica.log());
    }
    scene.consul.set_policy("nomad-firehose", POLICY).await;
    let leads = || replicas.iter().map(|replica| replica.logged("became leader")).sum::<usize>();
    until("all kinds are led", || leads() == ALL.len()).await;
    for ports in &ports {
        until_ready(ports.base, true, "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_lock_bars_its_kind_until_it_is_gone() {
    let mut scene = Scene::quiet(Options::default()).await;
    let (lock, ports) = (key("jobs", "lock"), Ports::reserve());
    scene.consul.put(&lock, "a note of somebody's").await;
    let replica = replica(&mut scene, "", &ports);
    until_ready(ports.base, false, &lock).await;
    stays_barred(ports.base, &lock).await;
    let (_, said) = readiness(ports.base).await.expect("it listens");
    let blocked: Vec<_> = said.lines().filter(|line| line.contains("blocked")).collect();
    assert!(matches!(blocked[..], [line] if line.starts_with("jobs") && line.contains("not a lock")), "{said}");
    assert_eq!(replica.logged("not a lock"), 1, "{}", replica.log());
    assert_eq!(scene.consul.request(Method::DELETE, &format!("kv/{lock}"), "").await.0, 200);
    until_ready(ports.base, true, "").await;
}
