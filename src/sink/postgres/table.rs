//! The tables: their names, their columns, and the statements that write to them.

use crate::kind::Kind;

/// The field that can stand in a table's name.
const KIND: &str = "{Kind}";

/// The most bytes of a name. PostgreSQL cuts longer ones (`NAMEDATALEN`).
const LONGEST: usize = 63;

/// The columns that are written, in their order.
pub(super) const COLUMNS: &str = "id, key, kind, cluster, namespace, job_id, node_name, nomad_index, time, body";

/// A table for each kind, or one for several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// A name, or a schema and a name. [`KIND`] stands for the kind.
    parts: Vec<String>,
}

impl Tables {
    /// Reads `NAME` or `SCHEMA.NAME`. Upper and lower case count, as in quoted names of SQL.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        if parts.len() > 2 {
            return Err("more than a schema and a name; write nomad_{Kind}, or SCHEMA.nomad_{Kind}".to_owned());
        }
        for part in &parts {
            if part.is_empty() || part.contains(char::is_control) {
                return Err("not the name of a table; write nomad_{Kind}, or SCHEMA.nomad_{Kind}".to_owned());
            }
            if part.replace(KIND, "").contains(['{', '}']) {
                return Err("of a record's fields, only {Kind} can stand in it; write nomad_{Kind}".to_owned());
            }
            if let Some(long) = Kind::ALL.iter().map(|kind| named(part, *kind)).find(|name| name.len() > LONGEST) {
                return Err(format!("PostgreSQL cuts names after {LONGEST} bytes, and {long} is longer"));
            }
        }
        Ok(Tables { parts })
    }

    /// The table of this kind, as it stands in SQL.
    pub(super) fn of(&self, kind: Kind) -> String {
        let quoted: Vec<String> = self.parts.iter().map(|part| quoted(&named(part, kind))).collect();
        quoted.join(".")
    }

    /// The statements for this kind.
    pub(super) fn statements(&self, kind: Kind) -> Statements {
        let table = self.of(kind);
        // Unlike any table's name, and in a schema of this session alone.
        let stage = quoted(&format!("nomad-firehose: {}", kind.name()));
        let create = format!(
            "CREATE TABLE IF NOT EXISTS {table} (\
             id text PRIMARY KEY, key text NOT NULL, kind text NOT NULL, cluster text, namespace text, job_id text, \
             node_name text, nomad_index bigint NOT NULL, time timestamptz, body jsonb NOT NULL, \
             inserted_at timestamptz NOT NULL DEFAULT now())"
        );
        // With the types that the table has.
        let stage_create = format!(
            "CREATE TEMPORARY TABLE {stage} ON COMMIT DELETE ROWS AS SELECT {COLUMNS} FROM {table} WITH NO DATA"
        );
        let copy = format!("COPY pg_temp.{stage} ({COLUMNS}) FROM STDIN");
        let insert = format!(
            "INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM pg_temp.{stage} ORDER BY id ON CONFLICT (id) DO NOTHING"
        );
        Statements { table, create, stage_create, copy, insert }
    }
}

/// What is said to the server for one kind.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) table: String,
    pub(super) create: String,
    /// Creates the temporary table that a batch is copied into.
    pub(super) stage_create: String,
    pub(super) copy: String,
    /// Moves what is not there yet. In the order of the ids, so that two leaders cannot wait for each other.
    pub(super) insert: String,
}

fn named(part: &str, kind: Kind) -> String {
    part.replace(KIND, kind.name())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_quoted_name_for_each_kind() {
        for (text, name) in [
            ("nomad_{Kind}", "\"nomad_jobs\""),
            ("Audit.events", "\"Audit\".\"events\""),
            ("{Kind}.a\"b", "\"jobs\".\"a\"\"b\""),
        ] {
            assert_eq!(Tables::parse(text).expect(text).of(Kind::Jobs), name);
        }
        for (text, part) in [
            ("a.b.c", "more than a schema"),
            ("", "not the name"),
            ("a.", "not the name"),
            ("nomad_{JobID}", "only {Kind}"),
            ("a{", "only {Kind}"),
            ("a23456789012345678901234567890123456789012345678901_{Kind}", "is longer"),
        ] {
            assert!(Tables::parse(text).expect_err(text).contains(part), "{text}");
        }
    }
}
