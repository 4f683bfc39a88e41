//! Why records are not written, and what to fix.

use std::{error::Error as _, io};

use rustls::InvalidMessage;
use tokio_postgres::{Error, error::DbError};

use super::config::VARIABLES;
use crate::{
    redact::{WORDS, shown},
    sink::{ErrorClass, Outcome},
    tls::{self, Words},
};

/// Why records are not known to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// [`ErrorClass::Rejected`]: about the data of one of the records. The connection is whole.
    pub(super) class: ErrorClass,
    pub(super) reason: String,
    /// The server's own words, where it has refused something.
    said: String,
}

impl Fault {
    pub(super) fn new(class: ErrorClass, reason: impl Into<String>) -> Self {
        Fault { class, reason: reason.into(), said: String::new() }
    }

    /// The connection did not come about.
    pub(super) fn of_io(error: &io::Error, server: &str) -> Self {
        match tls::cause(error) {
            Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                Fault::new(ErrorClass::Tls, format!("TLS with {server} failed: the server does not speak TLS"))
            }
            Some(error) => {
                let Words { why, fix } = tls::words(error, &VARIABLES);
                Fault::new(ErrorClass::Tls, format!("TLS with {server} failed: {why}; {fix}"))
            }
            None => Fault::new(
                ErrorClass::Connection,
                format!("connection to {server}: {}", shown(error.to_string(), WORDS)),
            ),
        }
    }

    /// The server offers no TLS.
    pub(super) fn without_tls(server: &str) -> Self {
        let fix = "turn on ssl in postgresql.conf, or write ?sslmode=disable behind the database in SINK_POSTGRES_URL";
        Fault::new(ErrorClass::Tls, format!("{server} offers no TLS; {fix}"))
    }

    /// What the client says: an answer of the server, or that the connection is gone.
    pub(super) fn of_client(error: &Error, server: &str, table: Option<&str>) -> Self {
        if let Some(error) = error.as_db_error() {
            return Fault::of_answer(error, server, table);
        }
        // A server that refuses our certificate says so in place of its first answer.
        let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        if let Some(io) = io {
            return Fault::of_io(io, server);
        }
        let words = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        if words.contains("password missing") {
            let text = format!("{server} wants a password; set SINK_POSTGRES_PASSWORD or SINK_POSTGRES_PASSWORD_FILE");
            return Fault::new(ErrorClass::Refused, text);
        }
        Fault::new(ErrorClass::Connection, format!("connection to {server} broke: {}", shown(words, WORDS)))
    }

    /// The server has refused something.
    fn of_answer(error: &DbError, server: &str, table: Option<&str>) -> Self {
        let code = error.code().code();
        let Told { class, what, fix } = told(code, is_about_size(error.message(), error.file()));
        let fix = fix.replace("{table}", table.unwrap_or("the table"));
        // Details can hold the record. This one is always the same, and says what the message does not.
        let detail = error.detail().filter(|_| code == "22P05").map(|detail| format!(" {detail}")).unwrap_or_default();
        let words = shown(format!("{}{detail}", error.message()), WORDS);
        let said = format!("({server} says: {words}, SQLSTATE {code})");
        Fault { class, reason: format!("{what}; {fix} {said}"), said }
    }

    /// No answer came in time.
    pub(super) fn late(server: &str, what: &str, within: std::time::Duration) -> Self {
        let fix = "check the server, its locks and its disk, or raise SINK_POSTGRES_TIMEOUT";
        Fault::new(ErrorClass::Timeout, format!("{server} did not {what} within {within:?}; {fix}"))
    }

    /// The lease has ended.
    pub(super) fn unheld() -> Self {
        Fault::new(ErrorClass::Unsent, "the lease is not held any more")
    }

    /// The same fault where no value of a record was sent: whatever the server refuses then, it is not a record.
    pub(super) fn without_records(self) -> Self {
        match self.class {
            ErrorClass::Rejected => {
                let fix = "see what it says, and the options in SINK_POSTGRES_URL";
                Fault::new(ErrorClass::Refused, format!("PostgreSQL refuses the session; {fix} {}", self.said))
            }
            _ => self,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self.class {
            ErrorClass::Rejected => Outcome::Reject { reason: self.reason.clone() },
            class => Outcome::failed(class, &*self.reason),
        }
    }
}

/// What an error of the server means. `{table}` in the fix stands for the table.
struct Told {
    class: ErrorClass,
    what: &'static str,
    fix: &'static str,
}

/// By the SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn told(code: &str, is_about_size: bool) -> Told {
    use ErrorClass::{Refused, Rejected, Server, Throttled, Timeout};
    let told = |class, what, fix| Told { class, what, fix };
    match code {
        "22P05" => told(
            Rejected,
            "the record has a character that the column cannot hold",
            "jsonb has no \\u0000; to keep such records, ALTER TABLE {table} ALTER COLUMN body TYPE json",
        ),
        "23514" | "23P01" => told(Rejected, "a constraint of the table refuses the record", "change the constraint"),
        "54000" if !is_about_size => told(
            Server,
            "PostgreSQL has reached one of its own limits",
            "see what it says: VACUUM the databases if it runs out of transaction IDs, or let listeners read its NOTIFY queue",
        ),
        "54000" | "54001" | "54023" => {
            told(Rejected, "the record is too large or too deep for PostgreSQL", "see what it says")
        }
        _ if code.starts_with("22") => {
            told(Rejected, "PostgreSQL refuses a value of the record", "change the type of the column if you want it")
        }
        "23502" => told(
            Refused,
            "the table has a column that the sink does not fill",
            "give the column a default, or create the table as docs/configuration.md says",
        ),
        _ if code.starts_with("23") => {
            told(Refused, "a constraint of the table refuses records", "drop the constraint, or the rows it is about")
        }
        "28P01" | "28000" => told(
            Refused,
            "PostgreSQL refuses the login",
            "correct SINK_POSTGRES_USERNAME and its password, or pg_hba.conf of the server",
        ),
        "3D000" => told(Refused, "there is no such database", "correct the name in SINK_POSTGRES_URL, or create it"),
        "3F000" => told(Refused, "there is no such schema", "correct SINK_POSTGRES_TABLE, or create the schema"),
        "42501" => told(
            Refused,
            "the user lacks a right",
            "GRANT INSERT, SELECT ON {table}, TEMPORARY on the database, and CREATE on the schema unless the table is there",
        ),
        "42P01" => told(
            Refused,
            "the table is missing",
            "create it as docs/configuration.md says, correct SINK_POSTGRES_TABLE, or set SINK_POSTGRES_CREATE_TABLES=true",
        ),
        "42703" => told(
            Refused,
            "the table lacks a column",
            "add the column as docs/configuration.md says, or name another table in SINK_POSTGRES_TABLE",
        ),
        "42P10" => told(Refused, "the column id is not unique", "CREATE UNIQUE INDEX ON {table} (id)"),
        "25006" => {
            told(Refused, "the server takes no writes", "name the primary, or all servers, in SINK_POSTGRES_URL")
        }
        // Two that create the same table at once.
        "42P07" => told(Server, "the table was created by somebody else just now", "wait"),
        _ if code.starts_with("42") || code.starts_with("0A") => {
            told(Refused, "PostgreSQL cannot do this with the table", "create it as docs/configuration.md says")
        }
        "53300" => told(
            Throttled,
            "PostgreSQL takes no further connection",
            "raise its max_connections, or end connections that are not used",
        ),
        "53100" => told(Server, "the disk of PostgreSQL is full", "free some of it, or delete old rows"),
        _ if code.starts_with("53") => told(Throttled, "PostgreSQL is short of resources", "see its log"),
        "55P03" | "57014" => {
            told(Timeout, "PostgreSQL ended the transaction", "find what holds a lock on {table} in pg_locks")
        }
        "40001" | "40P01" => told(Server, "another transaction was in the way", "wait"),
        _ if code.starts_with("57") => told(Server, "PostgreSQL stops or starts", "wait until it is up"),
        _ => told(Server, "PostgreSQL refuses the transaction", "see what it says, and its log"),
    }
}

/// Whether a 54000 is about the size of a value. The same code says that the whole database takes no commands for fear of a wraparound
/// of transaction IDs (`varsup.c`), and that the queue of NOTIFY is full (`async.c`): what is not known here is no fault of a record.
fn is_about_size(words: &str, file: Option<&str>) -> bool {
    // Words can be translated (`lc_messages`), names of source files are not.
    const FILES: [&str; 14] = [
        "brin_pageops.c",
        "ginentrypage.c",
        "gist.c",
        "hashinsert.c",
        "hio.c",
        "indextuple.c",
        "jsonb.c",
        "jsonb_util.c",
        "nbtinsert.c",
        "nbtutils.c",
        "spgdoinsert.c",
        "stringinfo.c",
        "tsvector.c",
        "varlena.c",
    ];
    const WORDS: [&str; 4] = ["index row", "row is too big", "jsonb", "exceeds the maximum"];
    file.is_some_and(|file| FILES.contains(&file)) || WORDS.iter().any(|about| words.contains(about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_server_has_its_class_and_says_what_to_fix() {
        for (code, class, fix) in [
            ("22P05", "rejected", "TYPE json"),
            ("22P02", "rejected", "type of the column"),
            ("22021", "rejected", "type of the column"),
            ("23514", "rejected", "constraint"),
            ("54001", "rejected", "what it says"),
            ("54023", "rejected", "what it says"),
            ("23502", "refused", "default"),
            ("23503", "refused", "constraint"),
            ("28P01", "refused", "pg_hba.conf"),
            ("3D000", "refused", "SINK_POSTGRES_URL"),
            ("3F000", "refused", "SINK_POSTGRES_TABLE"),
            ("42501", "refused", "GRANT INSERT"),
            ("42P01", "refused", "SINK_POSTGRES_CREATE_TABLES"),
            ("42703", "refused", "column"),
            ("42P10", "refused", "UNIQUE INDEX"),
            ("25006", "refused", "primary"),
            ("42P07", "server", "wait"),
            ("42804", "refused", "docs/configuration.md"),
            ("53300", "throttled", "max_connections"),
            ("53100", "server", "free"),
            ("53200", "throttled", "log"),
            ("55P03", "timeout", "pg_locks"),
            ("57014", "timeout", "pg_locks"),
            ("40001", "server", "wait"),
            ("40P01", "server", "wait"),
            ("57P01", "server", "wait"),
            ("57P03", "server", "wait"),
            ("XX000", "server", "its log"),
            ("P0001", "server", "its log"),
        ] {
            let told = told(code, false);
            assert_eq!(told.class.name(), class, "{code}");
            assert!(told.fix.contains(fix), "{code}: {}", told.fix);
        }
    }

    #[test]
    fn a_limit_of_the_database_is_not_the_fault_of_a_record() {
        let class = |words, file| told("54000", is_about_size(words, file)).class;
        for (words, file) in [
            ("database is not accepting commands to avoid wraparound data loss in database \"nomad\"", "varsup.c"),
            ("database is not accepting commands that assign new XIDs to avoid wraparound data loss", "varsup.c"),
            ("too many notifications in the NOTIFY queue", "async.c"),
            ("cannot have more than 2^32-2 commands in a transaction", "xact.c"),
        ] {
            assert_eq!(
                (class(words, Some(file)), class(words, None)),
                (ErrorClass::Server, ErrorClass::Server),
                "{words}"
            );
        }
        for words in [
            "index row size 2736 exceeds btree version 4 maximum 2704 for index \"nomad_jobs_key\"",
            "index row requires 12000 bytes, maximum size is 8191",
            "total size of jsonb array elements exceeds the maximum of 268435455 bytes",
            "number of jsonb object pairs exceeds the maximum allowed (268435455)",
            "string too long to represent as jsonb string",
            "row is too big: size 9000, maximum size 8160",
        ] {
            assert_eq!(class(words, None), ErrorClass::Rejected, "{words}");
        }
        assert_eq!(class("Indexzeile ist zu groß", Some("nbtutils.c")), ErrorClass::Rejected);
    }
}
