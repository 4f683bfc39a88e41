use super::*;
use crate::{http::Tls, settings::testing};

const NEEDED: [(&str, &str); 2] =
    [("SINK_REDIS_URL", "redis://user:hush@redis:6379/0"), ("SINK_REDIS_KEY", "nomad:{Kind}")];

/// The required variables, with these added or in their place.
fn with<'a>(further: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let kept = NEEDED.into_iter().filter(|(name, _)| !further.iter().any(|(given, _)| given == name));
    kept.chain(further.iter().copied()).collect()
}

#[track_caller]
fn redis(further: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, &with(further), read).expect("valid settings").0
}

#[track_caller]
fn problem(further: &[(&str, &str)]) -> String {
    testing::read(SETTINGS, &with(further), read).expect_err("problems").join("\n")
}

#[test]
fn the_originals_variables_are_enough() {
    let read = redis(&[]);
    assert_eq!((read.mode, read.max_length, read.wait, &read.tls), (Mode::List, None, None, &Tls::default()));
    assert_eq!(read.key.to_string(), "nomad:{Kind}");
    assert_eq!(read.server.place, Place::Tcp { host: "redis".to_owned(), port: 6379 });
    assert!(!format!("{read:?}").contains("hush"));
}

#[test]
fn everything_else_can_be_said() {
    let read = redis(&[
        ("SINK_REDIS_URL", "rediss://redis/2"),
        ("SINK_REDIS_MODE", "stream"),
        ("SINK_REDIS_MAX_LENGTH", "1000000"),
        ("SINK_REDIS_WAIT_REPLICAS", "2"),
        ("SINK_REDIS_WAIT_TIMEOUT", "500ms"),
        ("SINK_REDIS_CACERT", "/ca"),
        ("SINK_REDIS_CLIENT_CERT", "/cert"),
        ("SINK_REDIS_CLIENT_KEY", "/key"),
    ]);
    assert_eq!((read.mode, read.max_length), (Mode::Stream, Some(1_000_000)));
    assert_eq!(read.wait, Some(Wait { replicas: 2, timeout: Duration::from_millis(500) }));
    assert_eq!((read.server.secure, read.server.database), (true, 2));
    let tls = read.tls;
    assert_eq!([tls.ca_cert, tls.client_cert, tls.client_key], ["/ca", "/cert", "/key"].map(|path| Some(path.into())));
}

#[test]
fn what_is_wrong_is_named_without_the_password() {
    for (further, parts) in [
        (&[("SINK_REDIS_URL", "")][..], &["SINK_REDIS_URL", "needs its server"][..]),
        (&[("SINK_REDIS_URL", "http://user:hush@redis")], &["begin with redis://"]),
        (&[("SINK_REDIS_KEY", "")], &["SINK_REDIS_KEY", "needs the key"]),
        (&[("SINK_REDIS_KEY", "a{b")], &["SINK_REDIS_KEY", "a { has no }"]),
        (&[("SINK_REDIS_MODE", "set")], &["SINK_REDIS_MODE", "list, stream or channel"]),
        (&[("SINK_REDIS_MAX_LENGTH", "5")], &["SINK_REDIS_MAX_LENGTH", "SINK_REDIS_MODE=stream"]),
        (&[("SINK_REDIS_MODE", "stream"), ("SINK_REDIS_MAX_LENGTH", "0")], &["SINK_REDIS_MAX_LENGTH", "from 1"]),
        (&[("SINK_REDIS_WAIT_REPLICAS", "101")], &["SINK_REDIS_WAIT_REPLICAS", "from 0 to 100"]),
        (&[("SINK_REDIS_WAIT_TIMEOUT", "1m")], &["SINK_REDIS_WAIT_TIMEOUT", "from 10ms to 30s"]),
        (&[("SINK_REDIS_CLIENT_CERT", "/cert")], &["SINK_REDIS_CLIENT_KEY", "set both or neither"]),
    ] {
        let problem = problem(further);
        assert!(parts.iter().all(|part| problem.contains(part)), "{further:?}: {problem}");
        assert!(!problem.contains("hush"), "{problem}");
    }
}

#[test]
fn all_problems_come_at_once() {
    let all = problem(&[("SINK_REDIS_URL", "x"), ("SINK_REDIS_KEY", "{"), ("SINK_REDIS_WAIT_REPLICAS", "x")]);
    assert_eq!(all.lines().count(), 3, "{all}");
}

#[test]
fn an_address_is_read_as_the_original_and_the_tools_of_redis_read_it() {
    for (text, shown) in [
        ("redis://localhost", "localhost:6379 - - 0"),
        ("redis://127.0.0.1:6380/3", "127.0.0.1:6380 - - 3"),
        ("redis://:p%2Fw@[::1]", "[::1]:6379 - p/w 0"),
        ("redis://u%40x:pw@h:1/", "h:1 u@x pw 0"),
        ("redis:///5", "localhost:6379 - - 5"),
        ("redis://:p@:1/5", "localhost:1 - p 5"),
        ("rediss://h", "h:6379 - - 0"),
        ("unix:///run/redis.sock", "/run/redis.sock - - 0"),
        ("unix:///run/redis.sock?db=7&user=u&password=p%26w", "/run/redis.sock u p&w 7"),
    ] {
        let Server { place, user, password, database, .. } =
            server(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let user = user.as_deref().unwrap_or("-");
        let password = password.as_ref().map_or("-", Secret::expose);
        assert_eq!(format!("{place} {user} {password} {database}"), shown, "{text}");
    }
}

#[test]
fn what_is_no_address_is_refused_without_its_password() {
    for (text, part) in [
        ("localhost:6379", "begin with"),
        ("http://u:hush@host", "begin with"),
        ("redis://u:hush@host:x", "port"),
        ("redis://u:hush@host/x", "database"),
        ("redis://u:hush@host/-1", "database"),
        ("redis://u:hush@host/0?db=1", "must not have ?"),
        ("unix://u:hush@host/path", "not absolute"),
        ("unix:///path?password=hush&dbx=1", "only user, password and db"),
    ] {
        let error = server(text).expect_err(text);
        assert!(error.contains(part) && !error.contains("hush"), "{text}: {error}");
    }
}

/// The original program logs in only with a password.
#[test]
fn a_user_without_a_password_is_not_used() {
    for url in ["redis://hush@h/0", "redis://hush:@h/0", "unix:///path?user=hush"] {
        let variables = [("SINK_REDIS_URL", url), ("SINK_REDIS_KEY", "k")];
        let (read, warnings) = testing::read(SETTINGS, &variables, read).expect("valid settings");
        assert_eq!((&read.server.user, read.server.password.is_none()), (&None, true), "{url}");
        assert!(matches!(warnings[..], [Warning::Unused { setting: "SINK_REDIS_URL", .. }]), "{warnings:?}");
    }
}
