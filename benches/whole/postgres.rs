//! Transactions to a real PostgreSQL, against its own `psql` with `\copy` of the same rows into a table with the same index. `\copy` knows
//! no conflicts, and commits once: it is what the server can do at best.

use std::{
    process::{Command, Stdio},
    time::Instant,
};

use crate::{
    common::postgres::{ADMIN, DATABASE, Postgres, binaries},
    sink::{self, Ours, ROUNDS},
    table::{Table, median},
};

const WHAT: &str = "PostgreSQL with ON CONFLICT, of \\copy";

pub(crate) async fn measure(table: &mut Table) {
    let sim = sink::cluster().await;
    let (mut ratios, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        let postgres = Postgres::start_with(|_| ["fsync=on", "max_wal_size=4GB"].map(str::to_owned).into()).await;
        let url = postgres.url();
        let variables = [("SINK_TYPE", "postgres"), ("SINK_POSTGRES_URL", url.as_str())];
        let Ours { rate: ours, size, cost, .. } = sink::ours(&sim, &variables).await;
        let (theirs, rows) = theirs(&postgres).await;
        ratios.push(ours / theirs);
        last = format!("ours {ours:.0}/s, \\copy {theirs:.0}/s of {rows} rows, {size} bytes, {cost}");
    }
    table.at_least(WHAT, median(ratios), 0.4, last);
}

/// Rows a second of `\copy`, and how many they are: all that ours has written.
async fn theirs(postgres: &Postgres) -> (f64, u64) {
    let client = postgres.client().await;
    client.batch_execute("CREATE TABLE theirs (LIKE nomad_allocations INCLUDING ALL)").await.expect("a table");
    let file = postgres.directory().join("rows");
    psql(postgres, &format!("\\copy nomad_allocations TO '{}'", file.display()));
    // What ours has left for later is not theirs to do.
    client.batch_execute("TRUNCATE nomad_allocations; CHECKPOINT").await.expect("it is idle");
    let begun = Instant::now();
    psql(postgres, &format!("\\copy theirs FROM '{}'", file.display()));
    let took = begun.elapsed().as_secs_f64();
    let rows: i64 = client.query_one("SELECT count(*) FROM theirs", &[]).await.expect("a count").get(0);
    (rows as f64 / took, u64::try_from(rows).expect("a count"))
}

fn psql(postgres: &Postgres, what: &str) {
    let address = format!("postgres://{ADMIN}@{}/{DATABASE}", postgres.address());
    let output = Command::new(binaries().join("psql")).args([&address, "-c", what]).stdin(Stdio::null()).output();
    let output = output.expect("psql runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
