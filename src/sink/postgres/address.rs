//! The address of the server, as PostgreSQL's own tools take it: `postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?sslmode=…`.

use tokio_postgres::config::Host;

use crate::{
    http::Secret,
    sink::dial::Place,
    sys::sockets::{self, HAVE_PATHS},
};

const EXAMPLE: &str = "write postgres://USER@HOST:5432/DATABASE";

/// What an address says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) servers: Vec<Place>,
    pub(super) secure: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: Option<String>,
    pub(super) options: Option<String>,
}

impl Address {
    /// Reads it. No message shows any of it, because a password that is not percent-encoded can be anywhere.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(format!("begin with postgres:// or postgresql://; {EXAMPLE}"));
        }
        let (front, query) = text.split_once('?').unwrap_or((text, ""));
        let mut secure = true;
        let mut kept = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match (name, value) {
                ("sslmode", "disable") => secure = false,
                ("sslmode", "require" | "verify-ca" | "verify-full") => secure = true,
                ("sslmode", _) => {
                    return Err(
                        "sslmode is verify-full, which is the default and always verifies the server, or disable; \
                                write one of them"
                            .to_owned(),
                    );
                }
                // What it says is so anyway, or is said by another setting.
                ("target_session_attrs", "read-write" | "primary") => {}
                ("host" | "port" | "user" | "password" | "dbname" | "options", _) => kept.push(parameter),
                _ => {
                    return Err(
                        "of the parameters behind ?, there are sslmode, host, port, user, password, dbname, options \
                                and target_session_attrs=read-write; leave out others, and percent-encode the password"
                            .to_owned(),
                    );
                }
            }
        }
        let rest = if kept.is_empty() { front.to_owned() } else { format!("{front}?{}", kept.join("&")) };
        let wrong = || format!("not an address; {EXAMPLE}, and percent-encode the password");
        let parsed: tokio_postgres::Config = rest.parse().map_err(|_| wrong())?;
        let (hosts, ports) = (parsed.get_hosts(), parsed.get_ports());
        if hosts.is_empty() {
            return Err(format!("the host is missing; {EXAMPLE}"));
        }
        let port = |number: usize| match ports {
            [] => Some(5432),
            [port] => Some(*port),
            ports => ports.get(number).copied(),
        };
        let servers: Option<Vec<Place>> =
            hosts.iter().enumerate().map(|(number, host)| Some(place(host, port(number)?))).collect();
        let servers = servers.ok_or("as many ports as hosts are needed, or one for all")?;
        if !HAVE_PATHS && servers.iter().any(|server| matches!(server, Place::Path(_))) {
            return Err("this system has no sockets that are named by a path; write HOST:PORT".to_owned());
        }
        let password = parsed.get_password().map(|password| str::from_utf8(password).map(Secret::new));
        Ok(Address {
            servers,
            secure,
            user: parsed.get_user().map(str::to_owned),
            password: password.transpose().map_err(|_| wrong())?,
            database: parsed.get_dbname().map(str::to_owned),
            options: parsed.get_options().map(str::to_owned),
        })
    }
}

fn place(host: &Host, port: u16) -> Place {
    match sockets::host_or_directory(host) {
        Ok(host) => Place::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port },
        Err(directory) => Place::Path(directory.join(format!(".s.PGSQL.{port}"))),
    }
}
