use super::*;
use crate::settings::testing;

const NEEDED: [(&str, &str); 3] = [
    ("SINK_MONGODB_CONNECTION", "mongodb://foo:hush@localhost:27017"),
    ("SINK_MONGODB_DATABASE", "nomad"),
    ("SINK_MONGODB_COLLECTION", "events"),
];

/// The required variables, with these added or in their place.
fn with<'a>(further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = NEEDED.into_iter().filter(|(name, _)| !further.iter().any(|(given, _)| given == name));
    kept.chain(further.iter().copied()).collect()
}

#[track_caller]
fn mongodb(further: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, &with(further), read).expect("valid settings").0
}

#[track_caller]
fn problem(further: &[(&str, &str)]) -> String {
    testing::read(SETTINGS, &with(further), read).expect_err("problems").join("\n")
}

#[test]
fn the_originals_variables_are_enough() {
    let read = mongodb(&[]);
    assert_eq!((read.shown.as_str(), read.database.as_str()), ("mongodb://localhost:27017", "nomad"));
    assert_eq!((read.collection.as_str(), read.workers, read.timeout), ("events", 1, Duration::from_secs(30)));
    assert_eq!((&read.ca_cert, &read.client_cert), (&None, &None));
    assert!(!format!("{read:?}").contains("hush"));
}

#[test]
fn everything_else_can_be_said() {
    let read = mongodb(&[
        ("SINK_MONGODB_CONNECTION", "mongodb://a:1,b:2/?replicaSet=rs&tls=true"),
        ("SINK_MONGODB_COLLECTION", "nomad_{Kind}"),
        ("SINK_MONGODB_WORKERS", "4"),
        ("SINK_MONGODB_TIMEOUT", "5s"),
        ("SINK_MONGODB_CACERT", "/ca"),
        ("SINK_MONGODB_CLIENT_CERT", "/cert"),
    ]);
    assert_eq!((read.shown.as_str(), read.workers), ("mongodb://a:1,b:2", 4));
    assert_eq!((read.collection_of(Kind::Jobs).as_str(), read.timeout), ("nomad_jobs", Duration::from_secs(5)));
    assert_eq!([read.ca_cert, read.client_cert], ["/ca", "/cert"].map(|path| Some(path.into())));
}

#[test]
fn what_is_wrong_is_named_without_the_password() {
    for (further, parts) in [
        (&[("SINK_MONGODB_CONNECTION", "")][..], &["SINK_MONGODB_CONNECTION", "needs its servers"][..]),
        (&[("SINK_MONGODB_CONNECTION", "http://user:hush@h")], &["not a connection string"]),
        (&[("SINK_MONGODB_CONNECTION", "mongodb://u:hu/sh@h")], &["percent-encode the password"]),
        (
            &[("SINK_MONGODB_CONNECTION", "mongodb://u:hush@h/?w=1&wTimeout=5")],
            &["option wtimeout", "write wtimeoutMS"],
        ),
        (&[("SINK_MONGODB_CONNECTION", "mongodb://u:hush@h/?connect=direct")], &["directConnection=true"]),
        (&[("SINK_MONGODB_CONNECTION", "mongodb+srv://u:hush@h")], &["mongodb+srv:// is not supported"]),
        (&[("SINK_MONGODB_DATABASE", "")], &["SINK_MONGODB_DATABASE", "needs a database"]),
        (&[("SINK_MONGODB_DATABASE", "a.b")], &["SINK_MONGODB_DATABASE", "not the name"]),
        (&[("SINK_MONGODB_COLLECTION", "")], &["SINK_MONGODB_COLLECTION", "needs a collection"]),
        (&[("SINK_MONGODB_COLLECTION", "a_{JobID}")], &["SINK_MONGODB_COLLECTION", "only {Kind}"]),
        (&[("SINK_MONGODB_COLLECTION", "system.a")], &["SINK_MONGODB_COLLECTION", "not the name"]),
        (&[("SINK_MONGODB_WORKERS", "0")], &["SINK_MONGODB_WORKERS", "from 1 to 64"]),
        (&[("SINK_MONGODB_TIMEOUT", "1h")], &["SINK_MONGODB_TIMEOUT"]),
    ] {
        let told = problem(further);
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        assert!(!told.contains("hush"), "{told}");
    }
}
