use super::*;
use crate::{http::Tls, settings::testing, sink::dial::Place};

const URL: &str = "SINK_POSTGRES_URL";

#[track_caller]
fn postgres(given: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, given, |reader| read(reader, &|_| Vec::new())).expect("valid settings").0
}

#[track_caller]
fn problem(given: &[(&str, &str)]) -> String {
    testing::read(SETTINGS, given, |reader| read(reader, &|_| Vec::new())).expect_err("problems").join("\n")
}

fn tcp(host: &str, port: u16) -> Place {
    Place::Tcp { host: host.to_owned(), port }
}

#[test]
fn an_address_is_enough() {
    let read = postgres(&[(URL, "postgres://writer:hush@db/nomad")]);
    assert_eq!((&read.servers[..], read.secure), (&[tcp("db", 5432)][..], true));
    assert_eq!((read.user.as_str(), read.database.as_str()), ("writer", "nomad"));
    assert_eq!(read.password, Password::Text(Secret::new("hush")));
    assert_eq!(read.tables.of(crate::kind::Kind::Jobs), "\"nomad_jobs\"");
    assert_eq!((read.creates, read.timeout, &read.tls), (true, Duration::from_secs(30), &Tls::default()));
    assert!(!format!("{read:?}").contains("hush"));
    // As PostgreSQL's own tools: without a name, the database of the user.
    assert_eq!(postgres(&[(URL, "postgresql://writer@db")]).database, "writer");
}

#[test]
fn everything_else_can_be_said() {
    let read = postgres(&[
        (
            URL,
            "postgres://u:hush@a:1,[::1]:2/d?sslmode=disable&options=-c%20geqo%3Doff&target_session_attrs=read-write",
        ),
        ("SINK_POSTGRES_USERNAME", "other"),
        ("SINK_POSTGRES_PASSWORD_FILE", "/password"),
        ("SINK_POSTGRES_DATABASE", "events"),
        ("SINK_POSTGRES_TABLE", "audit.all"),
        ("SINK_POSTGRES_CREATE_TABLES", "false"),
        ("SINK_POSTGRES_TIMEOUT", "5s"),
        ("SINK_POSTGRES_CACERT", "/ca"),
        ("SINK_POSTGRES_CLIENT_CERT", "/cert"),
        ("SINK_POSTGRES_CLIENT_KEY", "/key"),
    ]);
    assert_eq!((&read.servers[..], read.secure), (&[tcp("a", 1), tcp("::1", 2)][..], false));
    assert_eq!((read.user.as_str(), read.database.as_str()), ("other", "events"));
    assert_eq!((read.password, read.options.as_deref()), (Password::File("/password".into()), Some("-c geqo=off")));
    assert_eq!(read.tables.of(crate::kind::Kind::Jobs), "\"audit\".\"all\"");
    assert_eq!((read.creates, read.timeout), (false, Duration::from_secs(5)));
    let tls = read.tls;
    assert_eq!([tls.ca_cert, tls.client_cert, tls.client_key], ["/ca", "/cert", "/key"].map(|path| Some(path.into())));
}

#[cfg(unix)]
#[test]
fn a_socket_is_named_by_its_directory() {
    let read = postgres(&[(URL, "postgres:///d?host=/run/postgresql&user=u")]);
    assert_eq!(read.servers, [Place::Path("/run/postgresql/.s.PGSQL.5432".into())]);
}

#[test]
fn what_is_wrong_is_named_without_the_password() {
    let good = (URL, "postgres://u:hush@h/d");
    for (given, parts) in [
        (&[][..], &["SINK_POSTGRES_URL", "needs its server"][..]),
        (&[(URL, "mysql://u:hush@h/d")], &["SINK_POSTGRES_URL", "begin with postgres://"]),
        (&[(URL, "postgres://u:hush@h/d?sslmode=prefer")], &["sslmode is verify-full", "disable"]),
        (&[(URL, "postgres://u:hu?sh=hush@h/d")], &["percent-encode the password"]),
        (&[(URL, "postgres://u:hush@h:port/d")], &["not an address"]),
        (&[(URL, "postgres:///d?user=hush")], &["the host is missing"]),
        (&[(URL, "postgres://h/d")], &["SINK_POSTGRES_USERNAME", "needs a user"]),
        (&[good, ("SINK_POSTGRES_TABLE", "t_{JobID}")], &["SINK_POSTGRES_TABLE", "only {Kind}"]),
        (&[good, ("SINK_POSTGRES_CREATE_TABLES", "maybe")], &["SINK_POSTGRES_CREATE_TABLES"]),
        (&[good, ("SINK_POSTGRES_TIMEOUT", "10ms")], &["SINK_POSTGRES_TIMEOUT"]),
        (&[good, ("SINK_POSTGRES_CLIENT_CERT", "/c")], &["SINK_POSTGRES_CLIENT_KEY", "needs its key"]),
        (
            &[good, ("SINK_POSTGRES_PASSWORD", "hush"), ("SINK_POSTGRES_PASSWORD_FILE", "/p")],
            &["SINK_POSTGRES_PASSWORD_FILE", "set one of them"],
        ),
        (
            &[good, ("SINK_POSTGRES_TABLE", "a.b.c"), ("SINK_POSTGRES_TIMEOUT", "1h")],
            &["SINK_POSTGRES_TABLE", "SINK_POSTGRES_TIMEOUT"],
        ),
    ] {
        let told = problem(given);
        assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        assert!(!told.contains("hush"), "{told}");
    }
}
