//! What the token has to be allowed, and what is said where it is not.

use nomad_sim::{Policy, Sim};

use crate::{common::Setup, in_variables};

#[tokio::test(flavor = "multi_thread")]
async fn check_writes_a_variable_of_its_own_and_names_a_missing_right() {
    let sim = Sim::builder().token("all", Policy::management()).token("none", Policy::default());
    let sim = sim.start().await.expect("the simulator starts");
    let check = |token: &str| {
        let setup =
            Setup::bare(&["check", "--resources", "all"]).env("NOMAD_ADDR", sim.url(0)).env("NOMAD_TOKEN", token);
        in_variables(setup).output()
    };
    let (_, said, log) = check("all");
    let line = said.lines().find(|line| line.contains("nomad variables")).unwrap_or_default();
    assert!(line.contains("nomad-firehose in namespace default can be written"), "{said}{log}");
    assert!(said.contains("variable allocations"), "{said}");
    let (code, said, _) = check("none");
    assert_ne!(code, Some(0));
    assert!(said.contains(r#"variables { path "nomad-firehose/*""#), "{said}");
    // It leaves nothing behind.
    let left = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .expect("a client")
        .get(format!("{}/v1/vars", sim.url(0)))
        .header("X-Nomad-Token", "all");
    let left = left.send().await.expect("an answer").bytes().await.expect("a body");
    assert_eq!(&left[..], b"[]");
}
