//! The leader is killed at random moments while it writes to PostgreSQL: each id is there once, and none is missing.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use tokio_postgres::Client;

use crate::{
    common::{
        PATIENCE, Setup, Signal,
        postgres::{Postgres, WRITER},
        seed,
        truth::{ALL, assert_exactly, expected, seen},
        until,
    },
    replicas::{Replica, Scene, rounds},
};

const LED: &str = "became leader";

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_in_its_table_once_however_often_the_leader_is_killed() {
    let mut random = fastrand::Rng::with_seed(seed());
    let postgres = Postgres::start().await;
    let client = postgres.client().await;
    create_tables(&client).await;
    let mut scene = Scene::busy().await;
    let consul = scene.consul.url();
    let to_postgres = |setup: Setup| {
        let setup = setup.env("CONSUL_HTTP_ADDR", consul.clone()).env("SINK_TYPE", "postgres");
        setup.env("SINK_POSTGRES_URL", postgres.url())
    };
    let mut replicas = vec![scene.leader_with(to_postgres).await];
    let mut leader = replicas[0].number;
    replicas.extend([scene.replica_with(to_postgres), scene.replica_with(to_postgres)]);
    let kills = rounds(3);
    for _ in 0..kills {
        for replica in replicas.iter().filter(|replica| replica.number != leader) {
            scene.until_held_by(replica).await;
        }
        // The moment of the kill is what is random, so this one does sleep.
        sleep(Duration::from_millis(random.u64(500..3000))).await;
        let at = replicas.iter().position(|replica| replica.number == leader).expect("it runs");
        let mut killed = replicas.remove(at);
        let before: Vec<usize> = replicas.iter().map(|replica| replica.logged(LED)).collect();
        killed.signal(Signal::KILL);
        killed.end().await;
        let has_led = |(replica, before): (&Replica, &usize)| replica.logged(LED) > *before;
        until("another replica leads", || replicas.iter().zip(&before).any(has_led)).await;
        let next = replicas.iter().zip(&before).find(|pair| has_led(*pair)).expect("just found");
        leader = next.0.number;
        replicas.push(scene.replica_with(to_postgres));
    }
    let lines = scene.rest().await;
    let mut repeats = 0;
    let mut records = 0;
    for kind in ALL {
        let due = expected(kind, &lines);
        let deadline = Instant::now() + PATIENCE;
        // More than there can be would be seen as well.
        while count(&client, kind).await.0 < due.len() && Instant::now() < deadline {
            sleep(Duration::from_millis(50)).await;
        }
        let (rows, ids, tried) = count(&client, kind).await;
        let bodies = client
            .query(&format!("SELECT body::text FROM nomad_{kind} ORDER BY nomad_index, (body->'TaskEvent'->>'Time')::numeric, id"), &[])
            .await
            .expect("rows");
        let found: Vec<_> = bodies.iter().map(|row| seen(row.get(0))).collect();
        assert_exactly(&found, &due);
        assert_eq!((rows, ids), (due.len(), due.len()), "{kind}");
        repeats += tried - rows;
        records += rows;
    }
    println!("{records} records once each after {kills} kills of the leader; {repeats} came again and were dropped");
    for replica in &replicas {
        assert_eq!(replica.logged("gap detected"), 0, "{}", replica.log());
    }
}

/// As the sink would create them, with a column that counts what was tried: a row that is not taken has a number as well.
async fn create_tables(client: &Client) {
    for kind in ALL {
        let create = format!(
            "SET ROLE {WRITER}; CREATE TABLE nomad_{kind} (id text PRIMARY KEY, key text NOT NULL, kind text NOT NULL, cluster text, \
             namespace text, job_id text, node_name text, nomad_index bigint NOT NULL, time timestamptz, body jsonb NOT NULL, \
             tried bigserial); RESET ROLE"
        );
        client.batch_execute(&create).await.expect("a table");
    }
}

/// How many rows there are, how many ids, and how many were tried.
async fn count(client: &Client, kind: &str) -> (usize, usize, usize) {
    let counts = format!(
        "SELECT count(*), count(DISTINCT id), (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM nomad_{kind}_tried_seq) FROM nomad_{kind}"
    );
    let row = client.query_one(&counts, &[]).await.expect("counts");
    let of = |column: usize| usize::try_from(row.get::<_, i64>(column)).expect("a count");
    (of(0), of(1), of(2))
}
