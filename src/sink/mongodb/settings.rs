//! The settings of the MongoDB sink: the variables of the original program with their meanings, and further ones.

use std::{path::PathBuf, time::Duration};

use ::mongodb::options::{ConnectionString, HostInfo, ServerAddress};

use super::{Config, config::KIND};
use crate::{
    http::Secret,
    kind::Kind,
    redact,
    settings::{Broken, Reader, Setting, duration, http::plain, number, settings},
    sink::Definition,
};

pub(in crate::sink) static DEFINITION: Definition = Definition {
    about: "a collection of MongoDB, each record once",
    settings: SETTINGS,
    // The client logs nothing without a feature that is off.
    log: &[],
    is_for_people: false,
    has_headers: false,
    read: |reader, _| Ok(Box::new(read(reader)?)),
};

const HEADING: &str = "MongoDB sink";

settings! {
    pub(super) SETTINGS:

    CONNECTION = Setting::new(HEADING, "sink-mongodb-connection", "SINK_MONGODB_CONNECTION", "URL",
        "Connection string: mongodb://USER:PASSWORD@HOST:27017,HOST:27017/?replicaSet=NAME&authSource=admin, with &tls=true for TLS. mongodb+srv:// is not supported").secret();
    DATABASE = Setting::new(HEADING, "sink-mongodb-database", "SINK_MONGODB_DATABASE", "NAME",
        "Database to write to");
    COLLECTION = Setting::new(HEADING, "sink-mongodb-collection", "SINK_MONGODB_COLLECTION", "NAME",
        "Collection to write to. {Kind} stands for the kind of the record; no other field can be in it");
    WORKERS = Setting::new(HEADING, "sink-mongodb-workers", "SINK_MONGODB_WORKERS", "COUNT",
        "How many batches may be under way at a time, never two with records of one key (1–64)").default("1");
    TIMEOUT = Setting::new(HEADING, "sink-mongodb-timeout", "SINK_MONGODB_TIMEOUT", "DURATION",
        "How long a majority of the servers may take for a batch before its records are sent again (1s–5m)").default("30s");
    CACERT = Setting::new(HEADING, "sink-mongodb-cacert", "SINK_MONGODB_CACERT", "FILE",
        "PEM file with the certificate authority that signed the servers' certificates. Turns TLS on. Without it, the authorities of the system");
    CLIENT_CERT = Setting::new(HEADING, "sink-mongodb-client-cert", "SINK_MONGODB_CLIENT_CERT", "FILE",
        "PEM file with the certificate to present to the servers, and its key. Turns TLS on").secret_file();
}

fn read(reader: &mut Reader<'_>) -> Result<Config, Broken> {
    reader.require(&[
        (
            &CONNECTION,
            "the mongodb sink needs its servers; write a connection string such as mongodb://USER@HOST:27017",
        ),
        (&DATABASE, "the mongodb sink needs a database; write its name"),
        (&COLLECTION, "the mongodb sink needs a collection; write its name, or one with {Kind} in it"),
    ]);
    let path = |text: &str| Ok::<_, String>(PathBuf::from(text));
    let connection = reader.optional(&CONNECTION, connection);
    let database = reader.optional(&DATABASE, database);
    let collection = reader.optional(&COLLECTION, collection);
    let workers = reader.value(&WORKERS, number(1, 64));
    let timeout = reader.value(&TIMEOUT, duration(Duration::from_secs(1), Duration::from_secs(300)));
    let ca_cert = reader.optional(&CACERT, path);
    let client_cert = reader.optional(&CLIENT_CERT, path);
    let (workers, timeout) = (workers?, timeout?);
    let (connection, shown) = connection.ok_or(Broken)?;
    let (database, collection) = (database.ok_or(Broken)?, collection.ok_or(Broken)?);
    Ok(Config { connection, shown, database, collection, workers, timeout, ca_cert, client_cert })
}

/// The string, and its hosts. No message shows any of it: a password that is not percent-encoded can be anywhere.
fn connection(text: &str) -> Result<(Secret, String), String> {
    if text.starts_with("mongodb+srv://") {
        return Err("mongodb+srv:// is not supported; write the servers themselves: mongodb://HOST:27017,HOST:27017/?replicaSet=NAME&tls=true"
            .to_owned());
    }
    let parsed = ConnectionString::parse(text).map_err(|_| match of_go(text) {
        Some((option, instead)) => format!("the option {option} is one of Go's driver; {instead}"),
        None => "not a connection string, or an option that this driver does not know; percent-encode the password"
            .to_owned(),
    })?;
    if let Some(password) = parsed.credential.as_ref().and_then(|credential| credential.password.as_deref()) {
        redact::keep(password);
    }
    let HostInfo::HostIdentifiers(hosts) = &parsed.host_info else { return Err("the host is missing".to_owned()) };
    let shown: Vec<String> = hosts.iter().map(ServerAddress::to_string).collect();
    Ok((Secret::new(text), format!("mongodb://{}", shown.join(","))))
}

/// Options that the original program's driver takes or ignores, and this one refuses, with what does the same.
const OF_GO: [(&str, &str); 11] = [
    ("connect", "write directConnection=true for connect=direct, or leave it out"),
    ("sslcertificateauthorityfile", "set SINK_MONGODB_CACERT"),
    ("sslclientcertificatekeyfile", "set SINK_MONGODB_CLIENT_CERT"),
    ("sslclientcertificatekeypassword", "store the key without a password"),
    ("sslinsecure", "write tlsAllowInvalidCertificates=true"),
    ("wtimeout", "write wtimeoutMS"),
    ("heartbeatintervalms", "write heartbeatFrequencyMS"),
    ("maxidleconnsperhost", "leave it out"),
    ("maxstaleness", "write maxStalenessSeconds"),
    ("compressors", "leave it out: this program does not compress here"),
    ("zlibcompressionlevel", "leave it out: this program does not compress here"),
];

/// The first of these options in a connection string.
fn of_go(text: &str) -> Option<(&'static str, &'static str)> {
    let (_, options) = text.rsplit_once('?')?;
    let names = options.split('&').map(|option| option.split('=').next().unwrap_or_default().to_lowercase());
    names.flat_map(|name| OF_GO.iter().find(|(known, _)| *known == name)).next().copied()
}

/// <https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions>
fn database(text: &str) -> Result<String, String> {
    if text.contains(['/', '\\', '.', ' ', '"', '$']) || text.len() > 63 {
        return Err("not the name of a database; write at most 63 bytes without / \\ . \" $ and blanks".to_owned());
    }
    Ok(plain(text)?)
}

fn collection(text: &str) -> Result<String, String> {
    if text.replace(KIND, "").contains(['{', '}']) {
        return Err("of a record's fields, only {Kind} can stand in it; write nomad_{Kind}".to_owned());
    }
    let longest = text.replace(KIND, Kind::JobListStubs.name()).len();
    if text.contains('$') || text.starts_with("system.") || longest > 190 {
        return Err(
            "not the name of a collection; write at most 190 bytes without $, not beginning with system.".to_owned()
        );
    }
    Ok(plain(text)?)
}

#[cfg(test)]
mod tests;
