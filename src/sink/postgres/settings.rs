//! The settings of the PostgreSQL sink.

use std::{path::PathBuf, time::Duration};

use super::{Config, Password, address::Address, table::Tables};
use crate::{
    http::Secret,
    settings::{
        Broken, Form, Reader, Setting, TlsSettings, duration,
        http::{self, boolean},
        settings,
    },
    sink::{Definition, Kinds},
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "tables of PostgreSQL, each record once",
    settings: SETTINGS,
    // At lower levels the client logs statements.
    log: &[("tokio_postgres", tracing::level_filters::LevelFilter::WARN)],
    is_for_people: false,
    has_headers: false,
    read: |reader, kinds| Ok(Box::new(read(reader, kinds)?)),
};

const HEADING: &str = "PostgreSQL sink";

settings! {
    pub(super) SETTINGS:

    URL = Setting::new(HEADING, "sink-postgres-url", "SINK_POSTGRES_URL", "URL",
        "Server: postgres://USER:PASSWORD@HOST:5432/DATABASE. With several HOST:PORT,HOST:PORT, the first one that takes writes. TLS is required and the server's certificate verified, unless ?sslmode=disable follows. A socket is ?host=/run/postgresql").secret();
    USERNAME = Setting::new(HEADING, "sink-postgres-username", "SINK_POSTGRES_USERNAME", "NAME",
        "User to log in as, in place of the one in the address");
    PASSWORD = Setting::new(HEADING, "sink-postgres-password", "SINK_POSTGRES_PASSWORD", "TEXT",
        "Password of the user, in place of the one in the address").secret();
    PASSWORD_FILE = Setting::new(HEADING, "sink-postgres-password-file", "SINK_POSTGRES_PASSWORD_FILE", "FILE",
        "File with the password of the user. It is read for each connection").secret_file().renewed();
    DATABASE = Setting::new(HEADING, "sink-postgres-database", "SINK_POSTGRES_DATABASE", "NAME",
        "Database, in place of the one in the address. Without both, it has the name of the user");
    TABLE = Setting::new(HEADING, "sink-postgres-table", "SINK_POSTGRES_TABLE", "NAME",
        "Table, or schema and table, to write to. {Kind} stands for the kind of the record; no other field can be in it").default("nomad_{Kind}");
    CREATE_TABLES = Setting::new(HEADING, "sink-postgres-create-tables", "SINK_POSTGRES_CREATE_TABLES", "BOOL",
        "Create a table that is missing").default("true").form(Form::Switch);
    TIMEOUT = Setting::new(HEADING, "sink-postgres-timeout", "SINK_POSTGRES_TIMEOUT", "DURATION",
        "How long one step of a transaction may take before the connection ends and the records are sent again (1s–5m)").default("30s");
    CACERT = Setting::new(HEADING, "sink-postgres-cacert", "SINK_POSTGRES_CACERT", "FILE",
        "PEM file with the certificate authority that signed the server's certificate. Without it, the authorities of the system").renewed();
    CLIENT_CERT = Setting::new(HEADING, "sink-postgres-client-cert", "SINK_POSTGRES_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to the server. Requires the key").renewed();
    CLIENT_KEY = Setting::new(HEADING, "sink-postgres-client-key", "SINK_POSTGRES_CLIENT_KEY", "FILE",
        "PEM file with the key of that certificate").secret_file().renewed();
}

static TLS: TlsSettings = TlsSettings {
    ca_cert: &CACERT,
    ca_path: None,
    client_cert: &CLIENT_CERT,
    client_key: &CLIENT_KEY,
    server_name: None,
};

fn read(reader: &mut Reader<'_>, kinds: Kinds<'_>) -> Result<Config, Broken> {
    if reader.text(&URL).is_none() {
        reader.missing(&URL, "the postgres sink needs its server; write postgres://USER@HOST:5432/DATABASE");
    }
    let address = reader.optional(&URL, Address::parse);
    let text = |text: &str| Ok::<_, String>(text.to_owned());
    let user = reader.optional(&USERNAME, text);
    let password = password(reader);
    let database = reader.optional(&DATABASE, text);
    let tables = reader.value(&TABLE, Tables::parse);
    let creates = reader.value(&CREATE_TABLES, boolean);
    let timeout = reader.value(&TIMEOUT, duration(Duration::from_secs(1), Duration::from_secs(300)));
    let tls = http::tls(reader, &TLS);
    let kinds = kinds(reader);
    let Address { servers, secure, user: in_address, password: of_address, database: in_path, options } =
        address.ok_or(Broken)?;
    let Some(user) = user.or(in_address).filter(|user| !user.is_empty()) else {
        reader.missing(&USERNAME, "the postgres sink needs a user; write it into SINK_POSTGRES_URL, or here");
        return Err(Broken);
    };
    let database = database.or(in_path).filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone());
    let password = match (password, of_address) {
        (Password::None, Some(password)) => Password::Text(password),
        (password, _) => password,
    };
    let (tables, creates, timeout) = (tables?, creates?, timeout?);
    Ok(Config { servers, secure, user, password, database, options, tables, creates, timeout, kinds, tls })
}

/// The password, or the file that holds it.
fn password(reader: &mut Reader<'_>) -> Password {
    let text = reader.optional(&PASSWORD, |text| Ok::<_, String>(Secret::new(text)));
    let file = reader.optional(&PASSWORD_FILE, |text| Ok::<_, String>(PathBuf::from(text)));
    match (text, file) {
        (Some(_), Some(_)) => {
            let what = "SINK_POSTGRES_PASSWORD and SINK_POSTGRES_PASSWORD_FILE both say the password; set one of them";
            reader.wrong(&PASSWORD_FILE, what);
            Password::None
        }
        (Some(text), None) => Password::Text(text),
        (None, Some(file)) => Password::File(file),
        (None, None) => Password::None,
    }
}

#[cfg(test)]
mod tests;
