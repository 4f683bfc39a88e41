use super::*;
use crate::settings::testing;

#[track_caller]
fn syslog(variables: &[(&str, &str)]) -> Config {
    testing::read(SETTINGS, variables, read).expect("valid settings").0
}

#[track_caller]
fn problem(variables: &[(&str, &str)]) -> String {
    testing::read(SETTINGS, variables, read).expect_err("problems").join("\n")
}

#[test]
fn the_originals_variables_mean_what_they_meant() {
    let local = syslog(&[("SINK_SYSLOG_ADDR", "ignored")]);
    assert_eq!((&local.target, local.format, &*local.tag), (&Target::Local, Format::Rfc3164, "nomad-firehose"));
    // kern.notice.
    assert_eq!((local.priority, local.max_size), (5, None));
    let host = |host: &str| Place::Tcp { host: host.to_owned(), port: 514 };
    for (proto, addr, target) in [
        ("tcp", "h:514", Target::Stream(host("h"))),
        ("tcp6", "[::1]:514", Target::Stream(host("::1"))),
        ("tls", ":514", Target::Tls(host("localhost"))),
        ("udp", "192.168.1.100:514", Target::Udp("192.168.1.100".to_owned(), 514)),
        ("unix", "/dev/log", Target::Stream(Place::Path("/dev/log".into()))),
        ("unixgram", "/dev/log", Target::Datagram("/dev/log".into())),
    ] {
        let read = syslog(&[("SINK_SYSLOG_PROTO", proto), ("SINK_SYSLOG_ADDR", addr), ("SINK_SYSLOG_TAG", "a")]);
        // A logger of this machine reads what the C library writes.
        let format = if addr == "/dev/log" { Format::Rfc3164 } else { Format::Rfc5424 };
        assert_eq!((read.target, read.format, &*read.tag), (target, format, "a"), "{proto} {addr}");
    }
}

#[test]
fn everything_else_can_be_said() {
    let read = syslog(&[
        ("SINK_SYSLOG_FORMAT", "rfc5424"),
        ("SINK_SYSLOG_FRAMING", "lines"),
        ("SINK_SYSLOG_FACILITY", "local7"),
        ("SINK_SYSLOG_SEVERITY", "debug"),
        ("SINK_SYSLOG_HOSTNAME", "h"),
        ("SINK_SYSLOG_MAX_SIZE", "8KiB"),
        ("SINK_SYSLOG_CACERT", "/ca"),
    ]);
    assert_eq!((read.format, read.framing, read.priority), (Format::Rfc5424, Framing::Lines, 191));
    assert_eq!((read.hostname.as_deref(), read.max_size), (Some("h"), Some(8192)));
    assert_eq!(read.tls.ca_cert, Some("/ca".into()));
}

#[test]
fn all_problems_come_at_once_and_say_what_to_write() {
    for (variables, part) in [
        (&[("SINK_SYSLOG_PROTO", "tcp")][..], "SINK_SYSLOG_ADDR"),
        (&[("SINK_SYSLOG_PROTO", "sctp")], "tcp, tls, udp, unix or unixgram"),
        (&[("SINK_SYSLOG_PROTO", "tcp"), ("SINK_SYSLOG_ADDR", "h")], "HOST:PORT"),
        (&[("SINK_SYSLOG_PROTO", "udp"), ("SINK_SYSLOG_ADDR", "a:b:1")], "HOST:PORT"),
        (&[("SINK_SYSLOG_PROTO", "unix"), ("SINK_SYSLOG_ADDR", "log")], "not absolute"),
        (&[("SINK_SYSLOG_TAG", "a b")], "without blanks"),
        (&[("SINK_SYSLOG_FACILITY", "local8")], "local7"),
        (&[("SINK_SYSLOG_MAX_SIZE", "1")], "480"),
    ] {
        let problem = problem(variables);
        assert!(problem.contains(part), "{variables:?}: {problem}");
    }
    let all = problem(&[("SINK_SYSLOG_FORMAT", "x"), ("SINK_SYSLOG_SEVERITY", "x"), ("SINK_SYSLOG_FRAMING", "x")]);
    assert_eq!(all.lines().count(), 3, "{all}");
}
