//! The settings of the syslog sink: the variables of the original program with their meanings, and further ones.

use std::path::PathBuf;

use super::{Config, Format, Framing, Target};
use crate::{
    settings::{
        Broken, ByteSize, Reader, Setting, TlsSettings, between,
        http::{self, plain},
        settings,
    },
    sink::{Definition, dial::Place},
    sys::sockets::HAVE_PATHS,
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a syslog server",
    settings: SETTINGS,
    log: &[],
    is_for_people: false,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "Syslog sink";

settings! {
    pub(super) SETTINGS:

    PROTO = Setting::new(HEADING, "sink-syslog-proto", "SINK_SYSLOG_PROTO", "NAME",
        "How messages travel: tcp, tls, udp, unix (a stream) or unixgram (datagrams). Without it, to the local logger: /dev/log, /var/run/syslog or /var/run/log");
    ADDR = Setting::new(HEADING, "sink-syslog-addr", "SINK_SYSLOG_ADDR", "HOST:PORT",
        "Server, or path of the socket for unix and unixgram. Ignored without SINK_SYSLOG_PROTO");
    TAG = Setting::new(HEADING, "sink-syslog-tag", "SINK_SYSLOG_TAG", "NAME",
        "Name of the application in each message (1–48 visible characters)").default("nomad-firehose");
    FORMAT = Setting::new(HEADING, "sink-syslog-format", "SINK_SYSLOG_FORMAT", "NAME",
        "Format of a message: rfc5424 (with id, key and kind as structured data), rfc3164 (time, tag and record). By default rfc5424, and rfc3164 to the local logger and to sockets with a path");
    FRAMING = Setting::new(HEADING, "sink-syslog-framing", "SINK_SYSLOG_FRAMING", "NAME",
        "How messages of tcp, tls and unix are told apart: octets (their length before each), lines (a line break behind each, as the original program). By default octets, and lines for unix");
    FACILITY = Setting::new(HEADING, "sink-syslog-facility", "SINK_SYSLOG_FACILITY", "NAME",
        "Facility of each message: kern (as the original program), user, mail, daemon, auth, syslog, lpr, news, uucp, cron, authpriv, ftp, local0 to local7").default("kern");
    SEVERITY = Setting::new(HEADING, "sink-syslog-severity", "SINK_SYSLOG_SEVERITY", "NAME",
        "Severity of each message: emerg, alert, crit, err, warning, notice, info or debug").default("notice");
    HOSTNAME = Setting::new(HEADING, "sink-syslog-hostname", "SINK_SYSLOG_HOSTNAME", "NAME",
        "Name of the machine in each message (1–255 visible characters). Without it, this machine's name");
    MAX_SIZE = Setting::new(HEADING, "sink-syslog-max-size", "SINK_SYSLOG_MAX_SIZE", "SIZE",
        "The most bytes of a message (480–64MiB). Larger ones are rejected. Set it to what your server takes: most cut what is longer, silently. Without it, the limit of datagrams");
    CACERT = Setting::new(HEADING, "sink-syslog-cacert", "SINK_SYSLOG_CACERT", "FILE",
        "PEM file with the certificate authority that signed the server's certificate. Without it, the authorities of the system").renewed();
    CLIENT_CERT = Setting::new(HEADING, "sink-syslog-client-cert", "SINK_SYSLOG_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to the server. Requires the key").renewed();
    CLIENT_KEY = Setting::new(HEADING, "sink-syslog-client-key", "SINK_SYSLOG_CLIENT_KEY", "FILE",
        "PEM file with the key of that certificate").secret_file().renewed();
}

static TLS: TlsSettings = TlsSettings {
    ca_cert: &CACERT,
    ca_path: None,
    client_cert: &CLIENT_CERT,
    client_key: &CLIENT_KEY,
    server_name: None,
};

const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

const SEVERITIES: [(&str, u8); 8] =
    [("emerg", 0), ("alert", 1), ("crit", 2), ("err", 3), ("warning", 4), ("notice", 5), ("info", 6), ("debug", 7)];

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    let proto = reader.optional(&PROTO, proto);
    let addr = match (reader.text(&PROTO).is_some(), reader.text(&ADDR).is_some()) {
        (true, false) => {
            reader.missing(&ADDR, "SINK_SYSLOG_PROTO is set and needs it; write HOST:PORT, or the path of a socket");
            None
        }
        (true, true) => proto.and_then(|proto| reader.optional(&ADDR, |text| proto.target(text))),
        (false, _) => Some(Target::Local),
    };
    let tag = reader.value(&TAG, visible(48));
    let format = reader.optional(&FORMAT, one_of(&[("rfc5424", Format::Rfc5424), ("rfc3164", Format::Rfc3164)]));
    let framing = reader.optional(&FRAMING, one_of(&[("octets", Framing::Octets), ("lines", Framing::Lines)]));
    let facility = reader.value(&FACILITY, one_of(&FACILITIES));
    let severity = reader.value(&SEVERITY, one_of(&SEVERITIES));
    let hostname = reader.optional(&HOSTNAME, visible(255));
    let max_size = reader.optional(&MAX_SIZE, between(ByteSize::new(480), ByteSize::new(64 << 20)));
    let tls = http::tls(reader, &TLS);
    let target = addr.ok_or(Broken)?;
    let is_of_machine = target.is_of_this_machine();
    Ok(Config {
        format: format.unwrap_or(if is_of_machine { Format::Rfc3164 } else { Format::Rfc5424 }),
        target,
        framing: framing.unwrap_or(if is_of_machine { Framing::Lines } else { Framing::Octets }),
        tag: tag?,
        hostname,
        priority: facility? * 8 + severity?,
        max_size: max_size.map(|size| usize::try_from(size.bytes()).unwrap_or(usize::MAX)),
        tls,
    })
}

/// The names that Go's network package has, which the original program passes on, and `tls`.
#[derive(Clone, Copy, Debug)]
enum Proto {
    Tcp,
    Tls,
    Udp,
    Unix,
    Unixgram,
}

fn proto(text: &str) -> Result<Proto, String> {
    let proto = match text {
        "tcp" | "tcp4" | "tcp6" => Proto::Tcp,
        "tls" => Proto::Tls,
        "udp" | "udp4" | "udp6" => Proto::Udp,
        "unix" => Proto::Unix,
        "unixgram" => Proto::Unixgram,
        _ => return Err("write tcp, tls, udp, unix or unixgram".to_owned()),
    };
    if matches!(proto, Proto::Unix | Proto::Unixgram) && !HAVE_PATHS {
        return Err("this system has no such sockets; write tcp, tls or udp".to_owned());
    }
    Ok(proto)
}

impl Proto {
    fn target(self, text: &str) -> Result<Target, String> {
        let tcp = || host_and_port(text).map(|(host, port)| Place::Tcp { host, port });
        Ok(match self {
            Proto::Tcp => Target::Stream(tcp()?),
            Proto::Tls => Target::Tls(tcp()?),
            Proto::Udp => {
                let (host, port) = host_and_port(text)?;
                Target::Udp(host, port)
            }
            Proto::Unix => Target::Stream(Place::Path(path(text)?)),
            Proto::Unixgram => Target::Datagram(path(text)?),
        })
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || "write HOST:PORT, such as 192.168.1.100:514".to_owned();
    let (host, port) =
        plain(text)?.rsplit_once(':').map(|(host, port)| (host.to_owned(), port.parse())).ok_or_else(wrong)?;
    let port = port.map_err(|_| wrong())?;
    let is_bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(['/', '@']) || (host.contains(':') && !is_bracketed) {
        return Err(wrong());
    }
    let host = host.trim_matches(['[', ']']);
    Ok((if host.is_empty() { "localhost".to_owned() } else { host.to_owned() }, port))
}

fn path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("the path is not absolute; write one such as /dev/log".to_owned()) }
}

/// One of these names.
fn one_of<T: Copy>(names: &[(&str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let found = names.iter().find(|(name, _)| *name == text);
        let all = || names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        found.map(|(_, value)| *value).ok_or_else(|| format!("write one of {}", all()))
    }
}

/// A name as RFC 5424 has them: visible ASCII.
fn visible(most: usize) -> impl Fn(&str) -> Result<String, String> {
    move |text| {
        if text.len() > most || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("write up to {most} visible ASCII characters, without blanks"));
        }
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests;
