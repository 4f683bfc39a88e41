//! The sink `redis`: a user and keys of their own for each check, on one server.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use ::redis::{Connection, Value, from_redis_value};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    common::{
        gate::Gate,
        order::Leaps,
        redis::{Reader, Redis, execute},
    },
    rig::{Cause, Rig, suffer_at},
};

const SECRET: &str = "hush-hush";

/// The server that checks share as long as any of them runs.
static SERVER: Mutex<Weak<Redis>> = Mutex::const_new(Weak::new());

async fn server() -> Arc<Redis> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Redis::start().await);
    *shared = Arc::downgrade(&server);
    server
}

/// What the key names, and which keys there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Stream,
    List,
    /// A stream for each mark.
    Marks,
}

/// A server behind a gate, and a consumer that does not go through it.
struct Rigged {
    keys: Keys,
    gate: Gate,
    /// The name of the user, and the beginning of its keys.
    name: String,
    readers: Vec<Reader>,
    /// Takes the right to write away and gives it back, over and over.
    flapping: Option<AbortOnDropHandle<()>>,
    server: Arc<Redis>,
}

impl Rigged {
    async fn start(keys: Keys) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server().await;
        let name = format!("check-{}", COUNT.fetch_add(1, Ordering::SeqCst));
        let gate = Gate::start(&server.address()).await;
        let readers = match keys {
            Keys::Stream => vec![Reader::of_stream(&server, &name)],
            Keys::List => vec![Reader::of_list(&server, &name)],
            Keys::Marks => {
                ["default", "busy", "other"].map(|mark| Reader::of_stream(&server, &format!("{name}:{mark}"))).into()
            }
        };
        let rig = Rigged { keys, gate, name, readers, flapping: None, server };
        rig.allow("*");
        rig
    }

    /// Gives the user the right to write to keys that go on like this.
    fn allow(&self, pattern: &str) {
        let Rigged { server, name, .. } = self;
        server.ctl(&format!("ACL SETUSER {name} reset on >{SECRET} +@all ~{name}{pattern}"));
    }
}

/// How many commands of this user Redis has refused.
fn denied(connection: &mut Connection, name: &str) -> u64 {
    let log: Vec<HashMap<String, Value>> =
        from_redis_value(execute(connection, &["ACL", "LOG", "128"])).expect("what was refused");
    let of_user = log.into_iter().filter(|entry| entry["username"] == Value::BulkString(name.as_bytes().to_vec()));
    of_user.map(|mut entry| from_redis_value::<u64>(entry.remove("count").expect("a number")).expect("a number")).sum()
}

impl Rig for Rigged {
    /// A command that fails does not hold those behind it.
    const LEAPS: Leaps = Leaps::SentAgain;
    const TROUBLES: &'static [Cause] = &[Cause::Partial, Cause::Down, Cause::Slow, Cause::Silent];
    const REFUSAL: &'static str = "";
    const SECRETS: &'static [&'static str] = &[SECRET];

    fn variables(&self) -> Vec<(&'static str, String)> {
        let Rigged { keys, name, gate, .. } = self;
        vec![
            ("SINK_TYPE", "redis".into()),
            ("SINK_REDIS_URL", format!("redis://{name}:{SECRET}@{}/0", gate.addr())),
            ("SINK_REDIS_KEY", if *keys == Keys::Marks { format!("{name}:{{TriggeredBy}}") } else { name.clone() }),
            ("SINK_REDIS_MODE", if *keys == Keys::List { "list".into() } else { "stream".into() }),
        ]
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.gate)
    }

    async fn received(&mut self) -> Vec<String> {
        self.readers.iter_mut().flat_map(Reader::bodies).collect()
    }

    async fn suffer(&mut self, cause: Cause) {
        match (cause, self.keys) {
            (Cause::Partial, Keys::Marks) => self.allow(":default"),
            // In the midst of what is pipelined: it fails for certain at first.
            (Cause::Partial, _) => {
                let (mut connection, name) = (self.server.connect(), self.name.clone());
                let before = denied(&mut connection, &name);
                execute(&mut connection, &["ACL", "SETUSER", &name, "-@write"]);
                self.flapping = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                    while denied(&mut connection, &name) == before {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    for rights in ["+@write", "-@write"].into_iter().cycle() {
                        execute(&mut connection, &["ACL", "SETUSER", &name, rights]);
                        tokio::time::sleep(Duration::from_micros(500)).await;
                    }
                })));
            }
            (cause, _) => suffer_at(&self.gate, cause),
        }
    }

    async fn recover(&mut self) {
        self.gate.open();
        if let Some(flapping) = self.flapping.take() {
            flapping.abort();
            // It has ended once it is gone.
            flapping.await.expect_err("it only ends like this");
        }
        self.allow("*");
    }
}

mod stream {
    suite! {
        super::Rigged::start(super::Keys::Stream).await;
        order_per_key: passes,
        partial_failure: "one key takes all marks or none: see marks",
        unknown_outcome: passes,
        reject_with_stop: "it refuses as data only what is larger than proto-max-bulk-len, 1 MiB at least: see tests/sink_redis.rs",
        reject_to_file: "it refuses as data only what is larger than proto-max-bulk-len, 1 MiB at least: see tests/sink_redis.rs",
        drain_on_stop: passes,
        reconnect: passes,
        back_pressure: passes,
        bytes_in_flight: passes,
        secrets: passes,
        kill_in_mid_batch: passes,
    }
}

mod list {
    suite! {
        super::Rigged::start(super::Keys::List).await;
        order_per_key: passes,
        partial_failure: "one key takes all marks or none: see marks",
        unknown_outcome: passes,
        reject_with_stop: "it refuses as data only what is larger than proto-max-bulk-len, 1 MiB at least: see tests/sink_redis.rs",
        reject_to_file: "it refuses as data only what is larger than proto-max-bulk-len, 1 MiB at least: see tests/sink_redis.rs",
        drain_on_stop: passes,
        reconnect: passes,
        back_pressure: passes,
        bytes_in_flight: passes,
        secrets: "as with a stream",
        kill_in_mid_batch: passes,
    }
}

mod marks {
    suite! {
        super::Rigged::start(super::Keys::Marks).await;
        order_per_key: "a consumer of several streams sees no order between them",
        partial_failure: passes,
        unknown_outcome: "as with one stream",
        reject_with_stop: "as with one stream",
        reject_to_file: "as with one stream",
        drain_on_stop: "as with one stream",
        reconnect: "as with one stream",
        back_pressure: "as with one stream",
        bytes_in_flight: "as with one stream",
        secrets: "as with one stream",
        kill_in_mid_batch: "as with one stream",
    }
}
