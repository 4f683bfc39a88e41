//! How large what is released is: the binary with all sinks, stripped as the image has it.

use std::process::Command;

use crate::table::Table;

const WHAT: &str = "released binary, all sinks, stripped";

pub(crate) fn measure(table: &mut Table) {
    if !cfg!(all(feature = "amqp", feature = "kinesis")) {
        return table.skipped(WHAT, "not all sinks are built in");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (built, copy) = (env!("CARGO_BIN_EXE_nomad-firehose"), directory.path().join("stripped"));
    let stripped = Command::new("strip").arg("-o").arg(&copy).arg(built).status();
    if !stripped.is_ok_and(|status| status.success()) {
        return table.skipped(WHAT, "there is no strip");
    }
    let bytes = |path: &std::path::Path| std::fs::metadata(path).expect("it was written").len() as f64 / 1e6;
    let seen = format!("{:.0} MB with line tables", bytes(built.as_ref()));
    table.at_most(WHAT, bytes(&copy), 40.0, "MB", seen);
}
