//! A wrong configuration is refused whole: every problem is named at once, and nothing is started.

mod common;

use common::Setup;

#[test]
fn all_problems_are_reported_at_once_with_their_variables() {
    let wrong = [
        ("NOMAD_ADDR", "ftp://nomad"),
        ("NOMAD_FIREHOSE_COORDINATOR", "zookeeper"),
        ("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL", "10"),
        ("NOMAD_FIREHOSE_MAX_IN_FLIGHT", "much"),
        ("NOMAD_FIREHOSE_START", "yesterday"),
        ("NOMAD_FIREHOSE_SHUTDOWN_GRACE", "-1s"),
        ("NOMAD_FIREHOSE_DEAD_LETTER", "nowhere"),
        ("NOMAD_SKIP_VERIFY", "perhaps"),
        ("NOMAD_CLIENT_CERT", "/cert.pem"),
        ("SINK_TYPE", "pigeon"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ];
    let setup = wrong.iter().fold(Setup::bare(&["run"]), |setup, (name, value)| setup.env(name, value));
    let (code, printed, log) = setup.output();
    assert_eq!(code, Some(2), "{log}");
    assert_eq!(printed, "");
    for (name, _) in wrong {
        assert!(log.contains(name), "{name} is not named in:\n{log}");
    }
    assert!(log.contains("RESOURCES") || log.contains("--resources"), "what to carry is missing:\n{log}");
}

/// What Nomad or a sink would refuse for ever is refused before anything is started.
#[test]
fn what_can_never_work_ends_the_program_at_once() {
    for (arguments, variables, said) in [
        (&["events", "--topic", "Job:a:b"][..], &[][..], "one colon"),
        (&["jobs"], &[("NOMAD_ADDR", "http://h/nomad?x")], "before ? and #"),
        (&["jobs"], &[("NOMAD_ADDR", "\"http://h\"")], "without the quotes"),
        (
            &["jobs"],
            &[("SINK_TYPE", "http"), ("SINK_HTTP_ADDRESS", "http://h"), ("SINK_HTTP_HEADERS", "A: 1, 2")],
            "commas separate",
        ),
    ] {
        let setup = Setup::bare(arguments).env("NOMAD_FIREHOSE_COORDINATOR", "none");
        let setup = variables.iter().fold(setup, |setup, (name, value)| setup.env(name, value));
        let (code, printed, log) = setup.output();
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{log}");
        assert!(log.contains(said), "{log}");
    }
}

#[test]
fn the_file_coordinator_needs_a_directory() {
    let (code, _, log) = Setup::bare(&["jobs"]).env("NOMAD_FIREHOSE_COORDINATOR", "file").output();
    assert_eq!(code, Some(2));
    assert!(log.contains("NOMAD_FIREHOSE_DATA_DIR"), "{log}");
}

#[test]
fn a_secret_in_a_wrong_place_is_not_printed() {
    let setup = Setup::bare(&["jobs"]).env("NOMAD_TOKEN", "very-secret").env("NOMAD_HTTP_AUTH", "me:also-secret");
    let (code, printed, log) = setup.env("LOG_LEVEL", "loud").output();
    assert_eq!(code, Some(2));
    assert!(!printed.contains("secret") && !log.contains("secret"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_variable_is_warned_of_with_the_nearest_name() {
    let setup = Setup::new(&["jobs"], "http://127.0.0.1:1").env("NOMAD_FIREHOSE_CHECKPOINT_INTERVALL", "1s");
    let process = setup.spawn();
    process
        .until("the warning comes", || {
            process.logged("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL\"")
                + process.logged("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL ")
                > 0
                || process.log().lines().any(|line| line.ends_with("NOMAD_FIREHOSE_CHECKPOINT_INTERVAL"))
        })
        .await;
    assert_eq!(process.logged("NOMAD_FIREHOSE_CHECKPOINT_INTERVALL"), 1);
    process.stop().await;
}
