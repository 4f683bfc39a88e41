//! The whole program with a real PostgreSQL: whatever becomes of connections and server, every record is there, once. `RECORDS` says how
//! many; each test has its own number where it is unset.

#![cfg(feature = "postgres")]

mod common;

use std::time::{Duration, Instant};

use common::{
    PATIENCE, Process, Setup, Signal, cluster, fixture_lines, flood,
    gate::Gate,
    long_run::{self, Passed},
    made,
    ports::Ports,
    postgres::{self, PASSWORD, Postgres, WRITER},
    tls::Authority,
    truth::{assert_exactly, expected, seen},
};
use nomad_sim::Sim;
use tokio_postgres::Client;

fn setup(sim: &Sim, url: &str, resources: &str) -> Setup {
    Setup::new(&["run", "--resources", resources], &sim.url(0))
        .env("SINK_TYPE", "postgres")
        .env("SINK_POSTGRES_URL", url)
        .env("NOMAD_FIREHOSE_RETRY_MAX", "500ms")
}

/// How many rows a table has; none if it is missing.
async fn count(client: &Client, table: &str) -> u64 {
    let counted = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await;
    counted.map_or(0, |row| u64::try_from(row.get::<_, i64>(0)).expect("a count"))
}

/// Waits for so many evaluations, and holds them to be no more.
async fn until_rows(client: &Client, rows: u64, process: &Process) {
    process.until_exactly(rows, async || count(client, "nomad_evaluations").await).await;
}

/// Holds the evaluations to be those of these indexes, each once.
async fn assert_indexes(client: &Client, indexes: std::ops::Range<u64>) {
    let rows = client.query("SELECT nomad_index FROM nomad_evaluations ORDER BY 1", &[]).await.expect("rows");
    let found: Vec<u64> = rows.iter().map(|row| u64::try_from(row.get::<_, i64>(0)).expect("an index")).collect();
    assert_eq!(found, indexes.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_of_a_recording_is_a_row_with_its_columns() {
    let postgres = Postgres::start().await;
    let client = postgres.client().await;
    let stream = fixture_lines("stream-complete.ndjson");
    let sim = cluster(&stream).await;
    let due: Vec<_> = common::truth::ALL.iter().flat_map(|kind| expected(kind, &stream)).collect();
    client.batch_execute(&format!("CREATE SCHEMA \"Audit\" AUTHORIZATION {WRITER}")).await.expect("a schema");
    let process = setup(&sim, &postgres.url(), "all")
        .env("NOMAD_FIREHOSE_CLUSTER", "prod")
        .env("SINK_POSTGRES_TABLE", "Audit.nomad_{Kind}")
        .spawn();
    let (mut rows, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while rows.len() < due.len() {
        assert!(Instant::now() < deadline, "{} of {} rows; the log:\n{}", rows.len(), due.len(), process.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
        rows.clear();
        for kind in common::truth::ALL {
            let columns = "kind, body::text, cluster, namespace, key, nomad_index, time IS NULL, id LIKE 'prod/%' AND inserted_at > now() - interval '1h', job_id, node_name";
            let of_kind = client
                .query(&format!("SELECT {columns} FROM \"Audit\".nomad_{kind} ORDER BY nomad_index, time, id"), &[])
                .await;
            rows.extend(of_kind.unwrap_or_default());
        }
    }
    process.stop().await;
    let all: Vec<_> = rows.iter().map(|row| seen(row.get(1))).collect();
    assert_exactly(&all, &due);
    for (row, seen) in rows.iter().zip(&all) {
        assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(2)), (seen.kind, "prod"));
        let is_without = seen.kind == "nodes" || seen.key.contains("  ");
        assert_eq!(row.get::<_, Option<&str>>(3).is_none(), is_without, "{seen:?}");
        assert!(!row.get::<_, &str>(4).is_empty() && row.get::<_, i64>(5) > 0 && row.get::<_, bool>(7));
        let of_job = matches!(seen.kind, "jobs" | "allocations" | "evaluations" | "deployments");
        assert!(!of_job || row.get::<_, Option<&str>>(8).is_some(), "{seen:?}");
        assert!(!matches!(seen.kind, "allocations" | "evaluations" | "jobs") || !row.get::<_, bool>(6), "{seen:?}");
    }
}

/// What no `jsonb` can hold is refused alone, with what to do about it, and is taken once that is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_null_character_is_refused_alone_and_taken_by_a_column_of_json() {
    let postgres = Postgres::start().await;
    let client = postgres.client().await;
    let mut all = made::evaluations(10..110, 7);
    all[50] = all[50].replace("\"TriggeredBy\":\"", "\"TriggeredBy\":\"\\u0000 \\ud800 ");
    let sim = cluster(&all).await;
    let process = setup(&sim, &postgres.url(), "evaluations").spawn();
    process.until_logged("pipeline held by a rejected record").await;
    process.until_logged("ALTER COLUMN body TYPE json").await;
    // All others but those behind it under its key.
    until_rows(&client, 100 - (60..110).filter(|index| index % 7 == 60 % 7).count() as u64, &process).await;
    client.batch_execute("ALTER TABLE nomad_evaluations ALTER COLUMN body TYPE json").await.expect("a type");
    until_rows(&client, 100, &process).await;
    process.stop().await;
    assert_indexes(&client, 10..110).await;
    let there = client.query_one("SELECT body::text FROM nomad_evaluations WHERE nomad_index = 60", &[]).await;
    assert!(there.expect("a row").get::<_, &str>(0).contains("\\u0000 \\ud800"));
}

/// What only people can fix is waited for, with what to fix, once, and without the password.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_to_fix_and_are_waited_for() {
    let postgres = Postgres::start().await;
    let sim = cluster(&made::evaluations(10..60, 7)).await;
    let admin = postgres.client().await;
    let run = async |statement: &str| admin.batch_execute(statement).await.expect(statement);
    run(&format!("ALTER USER {WRITER} PASSWORD 'other'")).await;
    run(&format!("REVOKE ALL ON SCHEMA public FROM PUBLIC; ALTER SCHEMA public OWNER TO {}", postgres::ADMIN)).await;
    run(&format!("GRANT USAGE ON SCHEMA public TO {WRITER}")).await;
    let process = setup(&sim, &postgres.url(), "evaluations").spawn();
    process.until_logged("PostgreSQL refuses the login; correct SINK_POSTGRES_USERNAME").await;
    run(&format!("ALTER USER {WRITER} PASSWORD '{PASSWORD}' CONNECTION LIMIT 0")).await;
    process.until_logged("PostgreSQL takes no further connection; raise its max_connections").await;
    run(&format!("ALTER USER {WRITER} CONNECTION LIMIT -1")).await;
    process.until_logged("the user lacks a right; GRANT INSERT, SELECT ON").await;
    run("CREATE TABLE nomad_evaluations (id text)").await;
    run(&format!("GRANT ALL ON nomad_evaluations TO {WRITER}")).await;
    process.until_logged("the table lacks a column; add the column as docs/configuration.md says").await;
    run("ALTER TABLE nomad_evaluations ADD key text, ADD kind text, ADD cluster text, ADD namespace text, ADD job_id text, \
         ADD node_name text, ADD nomad_index bigint, ADD time timestamptz, ADD body jsonb")
    .await;
    process.until_logged("the column id is not unique; CREATE UNIQUE INDEX ON").await;
    // A disk that is full, as the server would say it.
    run("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$; \
         CREATE TRIGGER full_disk BEFORE INSERT ON nomad_evaluations EXECUTE FUNCTION full_disk(); \
         CREATE UNIQUE INDEX ON nomad_evaluations (id)")
    .await;
    process.until_logged("the disk of PostgreSQL is full; free some of it").await;
    run("DROP TRIGGER full_disk ON nomad_evaluations").await;
    until_rows(&admin, 50, &process).await;
    process.until_logged("delivery recovered").await;
    assert_eq!(process.logged("postgres refuses access"), 1, "{}", process.log());
    assert!(!process.log().contains(PASSWORD));
    process.stop().await;
    assert_indexes(&admin, 10..60).await;
    // A database and a schema that are missing, and no password.
    for (from, to, told) in [
        ("/nomad?", "/other?", "there is no such database; correct the name in SINK_POSTGRES_URL"),
        (":hush-hush@", "@", "wants a password; set SINK_POSTGRES_PASSWORD"),
        ("?sslmode=disable", "", "offers no TLS; turn on ssl in postgresql.conf, or write ?sslmode=disable"),
        // A value, but of no record: none of them is to blame for it.
        (
            "?sslmode=disable",
            "?sslmode=disable&options=-c%20work_mem%3Dnone",
            "PostgreSQL refuses the session; see what it says, and the options in SINK_POSTGRES_URL",
        ),
    ] {
        let process = setup(&sim, &postgres.url().replace(from, to), "evaluations").spawn();
        process.until_logged(told).await;
        process.end_by(Signal::KILL).await;
    }
    let process = setup(&sim, &postgres.url(), "evaluations").env("SINK_POSTGRES_TABLE", "none.t").spawn();
    process.until_logged("there is no such schema; correct SINK_POSTGRES_TABLE").await;
    process.end_by(Signal::KILL).await;
    let process = setup(&sim, &postgres.url(), "jobs").env("SINK_POSTGRES_CREATE_TABLES", "false").spawn();
    sim.append_lines(vec![made::job(100, 1, 10)]).await.expect("a line");
    process.until_logged("the table is missing; create it as docs/configuration.md says").await;
    process.end_by(Signal::KILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_client_certificate_and_over_a_socket() {
    let files = tempfile::tempdir().expect("a directory");
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    let (client_certificate, client_key) = authority.issue(WRITER);
    let file = |name: &str, text: String| {
        let path = files.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let ca = file("ca", authority.pem());
    let (client_certificate, client_key) =
        (file("client", client_certificate.pem()), file("client-key", client_key.serialize_pem()));
    let postgres = Postgres::start_with(|directory| {
        let file = |name: &str, text: String| {
            use std::os::unix::fs::PermissionsExt as _;
            let path = directory.join(name);
            std::fs::write(&path, text).expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
            postgres::own(&path);
            path.display().to_string()
        };
        let access = "local all all trust\nhostnossl all admin 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n";
        file("data/pg_hba.conf", access.to_owned());
        vec![
            "ssl=on".to_owned(),
            format!("ssl_ca_file={}", file("ca", authority.pem())),
            format!("ssl_cert_file={}", file("cert", certificate.pem())),
            format!("ssl_key_file={}", file("key", key.serialize_pem())),
        ]
    })
    .await;
    let client = postgres.client().await;
    let sim = cluster(&made::evaluations(10..60, 7)).await;
    let url = postgres.url().replace("127.0.0.1", "localhost").replace("?sslmode=disable", "");
    let setup_tls = setup(&sim, &url, "evaluations");
    // Neither side trusts an unknown one.
    let process = setup_tls.spawn();
    process.until_logged("signed by an unknown authority").await;
    process.end_by(Signal::KILL).await;
    let setup_tls = setup_tls.env("SINK_POSTGRES_CACERT", ca);
    let process = setup_tls.spawn();
    process.until_logged("PostgreSQL refuses the login").await;
    process.end_by(Signal::KILL).await;
    let process = setup_tls
        .env("SINK_POSTGRES_CLIENT_CERT", client_certificate)
        .env("SINK_POSTGRES_CLIENT_KEY", client_key)
        .spawn();
    until_rows(&client, 50, &process).await;
    process.stop().await;
    // The parts in variables of their own, the password in a file.
    let password = file("password", format!("{PASSWORD}\n"));
    let port = postgres.address().rsplit_once(':').expect("a port").1.to_owned();
    let url = format!("postgres:///?host={}&port={port}", postgres.directory().display());
    sim.append_lines(made::evaluations(60..70, 7)).await.expect("lines of a stream");
    let process = setup(&sim, &url, "evaluations")
        .env("SINK_POSTGRES_USERNAME", WRITER)
        .env("SINK_POSTGRES_PASSWORD_FILE", password)
        .env("SINK_POSTGRES_DATABASE", postgres::DATABASE)
        .spawn();
    until_rows(&client, 60, &process).await;
    process.stop().await;
    assert_indexes(&client, 10..70).await;
}

/// The primary is lost, its standby becomes the primary: of what counts as delivered, all is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_passed_over_until_it_is_promoted() {
    let mut primary = Postgres::start().await;
    let standby = primary.standby().await;
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    primary.execute("SELECT pg_reload_conf()").await;
    let sim = cluster(&made::evaluations(10..60, 7)).await;
    let only_standby = setup(&sim, &standby.url(), "evaluations").spawn();
    only_standby
        .until_logged("is a standby, which takes no writes; name the primary, or all servers, in SINK_POSTGRES_URL")
        .await;
    only_standby.end_by(Signal::KILL).await;
    let both = format!("{},{}", standby.address(), primary.address());
    let process = setup(&sim, &postgres::url(&both), "evaluations").spawn();
    until_rows(&primary.client().await, 50, &process).await;
    primary.crash();
    sim.append_lines(made::evaluations(60..70, 7)).await.expect("lines of a stream");
    process.until_logged("delivery failed").await;
    let client = standby.client().await;
    client.query("SELECT pg_promote()", &[]).await.expect("it is promoted");
    until_rows(&client, 60, &process).await;
    process.stop().await;
    assert_indexes(&client, 10..70).await;
}

/// Two that both believe to lead write the same records at once.
#[tokio::test(flavor = "multi_thread")]
async fn two_writers_of_the_same_records_leave_each_once() {
    let postgres = Postgres::start().await;
    let client = postgres.client().await;
    let all = made::evaluations(10..5_010, 7);
    let sim = cluster(&all).await;
    let ports = [Ports::reserve(), Ports::reserve()];
    let process = |ports: &Ports| {
        setup(&sim, &postgres.url(), "evaluations").env("NOMAD_FIREHOSE_LISTEN", ports.address()).spawn()
    };
    let both = [process(&ports[0]), process(&ports[1])];
    for (process, ports) in both.iter().zip(&ports) {
        process.until_logged("subscribed to the event stream").await;
        flood::until_count(process, 5_000, async || flood::delivered(ports.base).await).await;
    }
    for process in both {
        process.stop().await;
    }
    assert_indexes(&client, 10..5_010).await;
}

/// A lock that somebody holds is waited for in bounds, and nothing of what was given up is written behind its end twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_of_somebody_else_is_named_and_waited_for() {
    let postgres = Postgres::start().await;
    let (client, other) = (postgres.client().await, postgres.client().await);
    let sim = cluster(&made::evaluations(10..60, 7)).await;
    let process = setup(&sim, &postgres.url(), "evaluations").env("SINK_POSTGRES_TIMEOUT", "1s").spawn();
    until_rows(&client, 50, &process).await;
    other.batch_execute("BEGIN; LOCK TABLE nomad_evaluations IN SHARE MODE").await.expect("a lock");
    sim.append_lines(made::evaluations(60..70, 7)).await.expect("lines of a stream");
    process.until_logged("delivery failed").await;
    let log = process.log();
    assert!(log.contains("in pg_locks") || log.contains("did not insert within 1s"), "{log}");
    other.batch_execute("COMMIT").await.expect("no lock");
    until_rows(&client, 60, &process).await;
    process.until_logged("delivery recovered").await;
    process.stop().await;
    assert_indexes(&client, 10..70).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tries_login_tables_and_rights_without_writing() {
    let postgres = Postgres::start().await;
    let client = postgres.client().await;
    let said = async |url: String, further: Vec<(&'static str, String)>| {
        let setup = Setup::new(&["check", "jobs"], "http://127.0.0.1:9")
            .env("SINK_TYPE", "postgres")
            .env("SINK_POSTGRES_URL", url);
        let setup = further.into_iter().fold(setup, |setup, (name, value)| setup.env(name, value));
        tokio::task::spawn_blocking(move || setup.output().1).await.expect("no panic")
    };
    let text = said(postgres.url(), vec![]).await;
    for part in
        ["logged in as \"writer\", database \"nomad\"", "does not exist yet; the user may create it and write to it"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let tables = client.query("SELECT 1 FROM pg_tables WHERE tablename LIKE 'nomad%'", &[]).await.expect("tables");
    assert!(tables.is_empty(), "something was written");
    client.batch_execute("CREATE TABLE nomad_jobs (id text PRIMARY KEY)").await.expect("a table");
    let text = said(postgres.url(), vec![]).await;
    assert!(text.contains("the table lacks a column") && text.contains("SINK_POSTGRES_TABLE"), "{text}");
    let columns = "ADD key text, ADD kind text, ADD cluster text, ADD namespace text, ADD job_id text, ADD node_name text, ADD nomad_index bigint, \
                   ADD time timestamptz, ADD body jsonb";
    client.batch_execute(&format!("ALTER TABLE nomad_jobs {columns}")).await.expect("columns");
    let text = said(postgres.url(), vec![]).await;
    assert!(text.contains("the user lacks a right") && text.contains("GRANT INSERT, SELECT"), "{text}");
    client.batch_execute(&format!("ALTER TABLE nomad_jobs OWNER TO {WRITER}")).await.expect("an owner");
    let text = said(postgres.url(), vec![]).await;
    assert!(text.contains("has the columns, and the user may write to it"), "{text}");
    let text = said(postgres.url().replace(PASSWORD, "wrong-one"), vec![]).await;
    assert!(text.contains("refuses the login") && !text.contains("wrong-one"), "{text}");
    let text = said("postgres://u@127.0.0.1:9/d?sslmode=disable".to_owned(), vec![]).await;
    assert!(text.contains("check that PostgreSQL runs there"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make chaos goes through it"]
async fn restarts_cuts_and_slowness_leave_each_record_once() {
    let mut postgres = Postgres::start().await;
    let gate = Gate::start(&postgres.address()).await;
    let records = flood::records(20_000);
    let set = |sim: &Sim| setup(sim, &postgres::url(&gate.addr().to_string()), "evaluations");
    let passed = long_run::through_restarts(records, &gate, set, async || postgres.restart().await).await;
    let Passed { took, peak } = passed;
    let client = postgres.client().await;
    let row = client.query_one(
        "SELECT count(*), count(DISTINCT nomad_index), min(nomad_index), max(nomad_index), count(DISTINCT id) FROM nomad_evaluations",
        &[],
    );
    let row = row.await.expect("counts");
    let [rows, indexes, least, most, ids] = [0, 1, 2, 3, 4].map(|column| row.get::<_, i64>(column));
    println!("{records} records, {} repeats, {} MiB, {took:?}", rows - indexes, peak >> 20);
    // As many as there are, of as many indexes as there are: none is missing, and none is there twice.
    let all = i64::try_from(records).expect("a count");
    assert_eq!([rows, indexes, ids, most - least + 1], [all; 4]);
    assert!(peak < 96 << 20, "{peak} bytes");
}
