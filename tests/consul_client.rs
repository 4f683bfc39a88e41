//! The Consul client against a real Consul.

mod common;

use std::time::Duration;

use common::{
    Setup,
    consul::{Consul, Options},
};
use nomad_firehose::consul::{
    Client, Config, Entry, Error, Get, MAX_OPS, MAX_REQUEST_BYTES, ModifyIndex, Op, Read, Secret, Session, SessionId,
    Tls, TokenSource, Transaction,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::Method;
use serde_json::json;

/// Flags of a lock, as Consul's Go client writes them.
const LOCK: u64 = 0x2ddc_cbc0_58a5_0c18;

const DEADLINE: Duration = Duration::from_secs(120);

fn config(address: &str) -> Config {
    Config {
        address: address.parse().expect("an address"),
        token: TokenSource::None,
        basic_auth: None,
        namespace: None,
        partition: None,
        datacenter: None,
        tls: Tls::default(),
        folder: "nomad-firehose".to_owned(),
    }
}

fn client(address: &str) -> Client {
    Client::new(config(address)).expect("a plain configuration")
}

fn with_token(consul: &Consul, token: &str) -> Client {
    Client::new(Config { token: TokenSource::Fixed(Secret::new(token)), ..config(&consul.url()) }).expect("plain")
}

fn session() -> Session {
    Session {
        name: "nomad-firehose-jobs".to_owned(),
        ttl: Duration::from_secs(10),
        lock_delay: Duration::from_secs(15),
        node_checks: false,
    }
}

async fn create(client: &Client) -> SessionId {
    client.create_session(&session(), DEADLINE).await.expect("a session")
}

fn set(key: &str, value: &'static str) -> Op {
    Op::Set { key: key.to_owned(), value: value.into(), flags: 0 }
}

fn lock(key: &str, session: &SessionId) -> Op {
    Op::Lock { key: key.to_owned(), session: session.clone(), value: "holder".into(), flags: LOCK }
}

fn unlock(key: &str, session: &SessionId) -> Op {
    Op::Unlock { key: key.to_owned(), session: session.clone(), value: "".into(), flags: LOCK }
}

fn check_session(key: &str, session: &SessionId) -> Op {
    Op::CheckSession { key: key.to_owned(), session: session.clone() }
}

async fn done(client: &Client, ops: &[Op]) -> Vec<Entry> {
    match client.transact(ops, DEADLINE).await {
        Ok(Transaction::Done(entries)) => entries,
        other => panic!("{ops:?}: {other:?}"),
    }
}

/// The operations that were refused, with Consul's words.
async fn refused(client: &Client, ops: &[Op]) -> Vec<(usize, String)> {
    match client.transact(ops, DEADLINE).await {
        Ok(Transaction::Refused(refusals)) => refusals.into_iter().map(|refusal| (refusal.op, refusal.what)).collect(),
        other => panic!("{ops:?}: {other:?}"),
    }
}

async fn entry(client: &Client, key: &str) -> Option<Entry> {
    client.get(key, Get { consistent: true, ..Get::default() }, DEADLINE).await.expect("an answer").value
}

#[tokio::test]
async fn a_session_lives_as_it_was_asked_for() {
    let consul = Consul::start(Options::default()).await;
    let client = client(&consul.url());
    let bare = create(&client).await;
    let checked =
        client.create_session(&Session { node_checks: true, ..session() }, DEADLINE).await.expect("a session");
    for (id, checks) in [(&bare, json!([])), (&checked, json!(["serfHealth"]))] {
        let sessions = consul.sessions().await;
        let found = sessions.iter().find(|session| session["ID"] == id.as_str()).expect("it is there");
        assert_eq!(found["Name"], "nomad-firehose-jobs");
        assert_eq!(found["Behavior"], "release");
        assert_eq!(found["LockDelay"], 15_000_000_000_u64);
        assert_eq!(found["NodeChecks"], checks);
        assert_eq!(found["TTL"], "10000ms");
    }
    assert!(client.renew_session(&bare, DEADLINE).await.expect("an answer"));
    client.destroy_session(&bare, DEADLINE).await.expect("it ends");
    client.destroy_session(&bare, DEADLINE).await.expect("it has ended");
    assert!(!client.renew_session(&bare, DEADLINE).await.expect("an answer"));
    let short = Session { ttl: Duration::from_secs(1), ..session() };
    let error = client.create_session(&short, DEADLINE).await.expect_err("less than Consul takes");
    assert!(error.to_string().contains("must be between"), "{error}");
}

#[tokio::test]
async fn every_operation_of_a_transaction_does_what_it_says() {
    let consul = Consul::start(Options::default()).await;
    let client = client(&consul.url());
    let (mine, other) = (create(&client).await, create(&client).await);

    // What exists for the first time.
    let entries = done(
        &client,
        &[
            Op::CheckNotExists { key: "f/l".to_owned() },
            lock("f/l", &mine),
            check_session("f/l", &mine),
            Op::Set { key: "f/a/1".to_owned(), value: vec![0, 255, 1].into(), flags: u64::MAX },
            Op::Delete { key: "f/none".to_owned() },
            Op::DeleteTree { prefix: "f/none/".to_owned() },
            Op::GetTree { prefix: "f/".to_owned() },
        ],
    )
    .await;
    let shown: Vec<_> = entries.iter().map(|entry| (entry.key.as_str(), entry.value.len())).collect();
    assert_eq!(shown, [("f/l", 0), ("f/l", 0), ("f/a/1", 0), ("f/a/1", 3), ("f/l", 6)]);
    assert_eq!((&entries[3].value[..], entries[3].flags), (&[0, 255, 1][..], u64::MAX));
    assert_eq!((entries[4].session.as_ref(), entries[4].flags, entries[4].lock_index), (Some(&mine), LOCK, 1));

    // What is refused, all of it and with its reason.
    let index = entry(&client, "f/a/1").await.expect("it is there").modify_index;
    let stale = ModifyIndex(index.0 - 1);
    for (op, words) in [
        (check_session("f/l", &other), "failed session check"),
        (check_session("f/a/1", &mine), "failed session check"),
        (check_session("f/none", &mine), "doesn't exist"),
        (lock("f/l", &other), "already held"),
        (unlock("f/l", &other), "isn't held, or is held by another"),
        (lock("f/x", &SessionId::new("189297a0-1b61-674c-5675-da9f40fb8d22")), "invalid session"),
        (Op::CheckIndex { key: "f/a/1".to_owned(), index: stale }, "current modify index"),
        (Op::CheckNotExists { key: "f/l".to_owned() }, "exists"),
    ] {
        let refusals = refused(&client, &[set("f/a/1", "lost"), op]).await;
        assert_eq!(refusals.len(), 1);
        assert!(refusals[0].0 == 1 && refusals[0].1.contains(words), "{words}: {refusals:?}");
    }
    assert_eq!(entry(&client, "f/a/1").await.expect("it is there").modify_index, index);
    done(&client, &[Op::CheckIndex { key: "f/a/1".to_owned(), index }, set("f/a/1", "kept")]).await;

    // A lock is handed over at once, where an explicit end of the session starts its lock-delay.
    done(&client, &[unlock("f/l", &mine), lock("f/l", &other)]).await;
    assert_eq!(refused(&client, &[check_session("f/l", &mine), set("f/a/1", "late")]).await.len(), 1);
    client.destroy_session(&other, DEADLINE).await.expect("it ends");
    let refusals = refused(&client, &[lock("f/l", &mine)]).await;
    assert!(refusals[0].1.contains("lock delay"), "{refusals:?}");

    let entries =
        done(&client, &[Op::DeleteTree { prefix: "f/a".to_owned() }, Op::Delete { key: "f/l".to_owned() }]).await;
    assert_eq!(entries, []);
    assert_eq!(client.tree("f/", DEADLINE).await.expect("an answer").value, []);
}

#[tokio::test]
async fn keys_of_any_text_are_read_as_they_were_written() {
    let consul = Consul::start(Options::default()).await;
    let client = client(&consul.url());
    let keys = ["a b/c?d#e/%2F", "a b/é\"\\\u{1f525}", "a b/x+y&z=1;", "a b/…/~.-_"];
    for key in keys {
        done(&client, &[set(key, "v")]).await;
        let found = entry(&client, key).await.unwrap_or_else(|| panic!("{key} is there"));
        assert_eq!((found.key.as_str(), &found.value[..]), (key, &b"v"[..]));
    }
    let tree = client.tree("a b/", DEADLINE).await.expect("an answer");
    assert_eq!(tree.value.len(), keys.len());
    let look = client.look(&[Op::GetTree { prefix: "a b/".to_owned() }], DEADLINE).await.expect("an answer");
    assert_eq!(look, Transaction::Done(tree.value));
    let none = [Op::GetTree { prefix: "none/".to_owned() }, Op::CheckNotExists { key: "none".to_owned() }];
    assert_eq!(client.look(&none, DEADLINE).await.expect("an answer"), Transaction::Done(Vec::new()));
}

#[tokio::test]
async fn a_blocking_read_ends_with_the_change_or_with_its_wait() {
    let consul = Consul::start(Options::default()).await;
    let client = client(&consul.url());
    let missing = client.get("k", Get::default(), DEADLINE).await.expect("an answer");
    assert_eq!(missing.value, None);
    let blocking = |after| Get { consistent: true, after: Some(after), wait: Duration::from_secs(60) };
    let how = blocking(missing.index);
    let (read, ()) = tokio::join!(client.get("k", how, DEADLINE), consul.put("k", "1"));
    let read = read.expect("an answer");
    assert_eq!(read.value.map(|entry| entry.value), Some("1".into()));
    assert!(read.index > missing.index);
    // Nothing changes: the wait ends it, well before the deadline.
    let short = Get { wait: Duration::from_millis(100), ..blocking(read.index) };
    let Read { value, index } = client.get("k", short, DEADLINE).await.expect("an answer");
    assert!(value.is_some());
    assert_eq!(index, read.index);
    // An index of a Consul that was restored since: start again from zero, which answers at once.
    let ahead = client.get("k", Get { wait: Duration::from_millis(100), ..blocking(ModifyIndex(1 << 40)) }, DEADLINE);
    let ahead = ahead.await.expect("an answer");
    assert_eq!(ahead.index, ModifyIndex(0));
    let again = client.get("k", blocking(ahead.index), DEADLINE).await.expect("an answer");
    assert_eq!(again.index, read.index);
}

#[tokio::test]
async fn the_stated_limits_pass_and_more_is_refused_in_words() {
    let consul = Consul::start(Options::default()).await;
    let client = client(&consul.url());
    let many: Vec<_> = (0..MAX_OPS).map(|key| set(&format!("many/{key}"), "v")).collect();
    assert_eq!(done(&client, &many).await.len(), MAX_OPS);

    let large = |bytes: usize| vec![Op::Set { key: "large".to_owned(), value: vec![b'x'; bytes].into(), flags: 0 }];
    let bound = |ops: &[Op]| 2 + ops.iter().map(Op::wire_bytes).sum::<usize>();
    let mut bytes = MAX_REQUEST_BYTES / 4 * 3;
    while bound(&large(bytes)) > MAX_REQUEST_BYTES {
        bytes -= 1;
    }
    done(&client, &large(bytes)).await;
    let error = client.transact(&large(bytes + 1_000), DEADLINE).await.expect_err("too large");
    assert!(matches!(error, Error::TooLarge { .. }) && !error.is_passing(), "{error}");
    let found = entry(&client, "large").await.expect("it is there");
    assert_eq!(found.value.len(), bytes);
}

#[tokio::test]
async fn a_unix_socket_does_as_well() {
    let consul = Consul::start(Options { unix_socket: true, ..Options::default() }).await;
    let client = client(&consul.socket_url());
    done(&client, &[set("k", "v")]).await;
    assert_eq!(consul.get("k").await.as_deref(), Some(&b"v"[..]));
    assert_eq!(client.address(), consul.socket_url());
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides_does_as_well_and_is_refused_without() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
    let write = |name: &str, text: String| {
        std::fs::write(directory.path().join(name), text).expect("writable");
        directory.path().join(name)
    };
    let issue = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        (write(&format!("{name}.pem"), certificate.pem()), write(&format!("{name}.key"), key.serialize_pem()))
    };
    let authority = write("ca.pem", issuer.pem());
    let (certificate, key) = issue("server.dc1.consul");
    let (client_certificate, client_key) = issue("client.dc1.consul");
    let tls = Some([authority.clone(), certificate, key]);
    let consul = Consul::start(Options { tls, ..Options::default() }).await;
    consul.put("nomad-firehose/jobs.value", "7").await;
    let show = Setup::bare(&["state", "show"])
        .env("CONSUL_HTTP_ADDR", consul.https())
        .env("CONSUL_HTTP_SSL", "true")
        .env("CONSUL_CACERT", &authority)
        .env("CONSUL_TLS_SERVER_NAME", "server.dc1.consul");
    let (code, _, log) = show.output();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("CONSUL_CLIENT_CERT"), "{log}");
    let show = show.env("CONSUL_CLIENT_CERT", client_certificate).env("CONSUL_CLIENT_KEY", client_key);
    let (code, shown, log) = show.output();
    assert_eq!(code, Some(0), "{log}");
    assert!(shown.contains("jobs"), "{shown}");
    let (code, _, log) = show.env("CONSUL_TLS_SERVER_NAME", "server.dc2.consul").output();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("CONSUL_TLS_SERVER_NAME"), "{log}");
}

/// The rules that are shipped, each of which is a line.
fn shipped_policy() -> [String; 2] {
    let text = include_str!("../deploy/policies/consul.hcl");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned);
    lines.collect::<Vec<_>>().try_into().expect("a rule for keys and one for sessions")
}

#[tokio::test]
async fn the_shipped_policy_is_enough() {
    let consul = Consul::start(Options { acls: true, ..Options::default() }).await;
    let [keys, sessions] = shipped_policy();
    consul.set_policy("shipped", &format!("{keys}\n{sessions}")).await;
    consul.set_policy("one-node", &format!("{keys}\nsession \"consul\" {{ policy = \"write\" }}")).await;
    for policy in ["shipped", "one-node"] {
        let client = with_token(&consul, &consul.create_token(policy).await);
        let id = create(&client).await;
        let key = "nomad-firehose/jobs.lock";
        done(&client, &[lock(key, &id), check_session(key, &id), set("nomad-firehose/jobs.value", "7")]).await;
        assert_eq!(entry(&client, key).await.and_then(|entry| entry.session).as_ref(), Some(&id));
        assert_eq!(client.tree("nomad-firehose/jobs.", DEADLINE).await.expect("an answer").value.len(), 2);
        assert_eq!(client.tree("nomad-firehose/none", DEADLINE).await.expect("an answer").value.len(), 0);
        assert!(client.renew_session(&id, DEADLINE).await.expect("an answer"));
        done(&client, &[unlock(key, &id), Op::DeleteTree { prefix: "nomad-firehose/".to_owned() }]).await;
        client.destroy_session(&id, DEADLINE).await.expect("it ends");
        // Nothing else is open to it.
        let error = client.get("other/key", Get::default(), DEADLINE).await.expect_err("not ours");
        assert!(error.to_string().contains(r#"key_prefix "other/""#), "{error}");
    }
}

#[tokio::test]
async fn a_refused_call_names_the_line_that_the_policy_lacks() {
    let consul = Consul::start(Options { acls: true, ..Options::default() }).await;
    let shipped = shipped_policy();
    let [keys, sessions] = shipped.each_ref().map(String::as_str);
    consul.set_policy("keys", keys).await;
    consul.set_policy("sessions", sessions).await;
    let (keys_only, sessions_only) = (consul.create_token("keys").await, consul.create_token("sessions").await);
    let (keys_only, sessions_only) = (with_token(&consul, &keys_only), with_token(&consul, &sessions_only));

    let lacks_sessions = keys_only.create_session(&session(), DEADLINE).await.expect_err("no right to sessions");
    assert!(lacks_sessions.to_string().contains(sessions), "{lacks_sessions}");
    let id = create(&sessions_only).await;
    let mine = create(&with_token(&consul, consul.management().expect("a token"))).await;

    let key = "nomad-firehose/jobs.lock";
    let read = sessions_only.get(key, Get::default(), DEADLINE).await.map(drop);
    let tree = sessions_only.tree("nomad-firehose/jobs.state/", DEADLINE).await.map(drop);
    let look = [Op::GetTree { prefix: "nomad-firehose/jobs.".to_owned() }];
    let look = sessions_only.look(&look, DEADLINE).await.map(drop);
    let write = sessions_only.transact(&[lock(key, &id)], DEADLINE).await.map(drop);
    let check = sessions_only.transact(&[check_session(key, &id), set(key, "v")], DEADLINE).await.map(drop);
    for outcome in [read, tree, look, write, check] {
        let error = outcome.expect_err("no right to keys");
        let text = error.to_string();
        assert!(matches!(error, Error::Denied { token: true, .. }) && text.contains(keys), "{text}");
    }
    // A session is renewed and ended by the same right.
    for outcome in
        [keys_only.renew_session(&id, DEADLINE).await.map(drop), keys_only.destroy_session(&id, DEADLINE).await]
    {
        let error = outcome.expect_err("no right to sessions");
        assert!(error.to_string().contains(sessions), "{error}");
    }
    done(&keys_only, &[lock(key, &mine), check_session(key, &mine)]).await;

    let anonymous = client(&consul.url()).get(key, Get::default(), DEADLINE).await.expect_err("no token");
    assert!(anonymous.to_string().contains("no token was given (CONSUL_HTTP_TOKEN)"), "{anonymous}");
    let unknown = with_token(&consul, "189297a0-1b61-674c-5675-da9f40fb8d22");
    for outcome in [
        unknown.get(key, Get::default(), DEADLINE).await.map(drop),
        unknown.transact(&[set(key, "v")], DEADLINE).await.map(drop),
    ] {
        let error = outcome.expect_err("no such token");
        assert!(matches!(error, Error::BadToken { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_token_file_is_read_anew_for_each_request() {
    let consul = Consul::start(Options { acls: true, ..Options::default() }).await;
    let path = consul.directory().join("token");
    std::fs::write(&path, "189297a0-1b61-674c-5675-da9f40fb8d22\n").expect("writable");
    let client =
        Client::new(Config { token: TokenSource::File(path.clone()), ..config(&consul.url()) }).expect("plain");
    assert!(matches!(client.get("k", Get::default(), DEADLINE).await, Err(Error::BadToken { .. })));
    std::fs::write(&path, consul.management().expect("a token")).expect("writable");
    done(&client, &[set("k", "v")]).await;
    std::fs::remove_file(&path).expect("it was there");
    let error = client.get("k", Get::default(), DEADLINE).await.expect_err("no file");
    assert!(matches!(error, Error::File { variable: "CONSUL_HTTP_TOKEN_FILE", .. }), "{error}");
}

#[tokio::test]
async fn options_of_enterprise_and_unknown_datacenters_are_named() {
    let consul = Consul::start(Options::default()).await;
    let with = |change: &dyn Fn(&mut Config)| {
        let mut config = config(&consul.url());
        change(&mut config);
        Client::new(config).expect("plain")
    };
    let namespace = with(&|config| config.namespace = Some("team".to_owned()));
    for outcome in [
        namespace.get("k", Get::default(), DEADLINE).await.map(drop),
        namespace.create_session(&session(), DEADLINE).await.map(drop),
    ] {
        let error = outcome.expect_err("not in this edition");
        assert!(matches!(error, Error::Enterprise { variable: "CONSUL_NAMESPACE", .. }), "{error}");
    }
    let partition = with(&|config| config.partition = Some("part".to_owned()));
    let error = partition.transact(&[set("k", "v")], DEADLINE).await.expect_err("not in this edition");
    assert!(matches!(error, Error::Enterprise { variable: "CONSUL_PARTITION", .. }), "{error}");
    let elsewhere = with(&|config| config.datacenter = Some("mars".to_owned()));
    let error = elsewhere.get("k", Get::default(), DEADLINE).await.expect_err("no such datacenter");
    assert!(error.to_string().contains("\"mars\"") && !error.is_passing(), "{error}");
}

#[tokio::test]
async fn an_outage_ends_each_call_in_time_and_then_is_over() {
    let mut consul = Consul::start(Options::default()).await;
    let client = client(&consul.url());
    done(&client, &[set("k", "v")]).await;
    let id = create(&client).await;

    consul.pause();
    let short = Duration::from_millis(300);
    let error = client.get("k", Get::default(), short).await.expect_err("nobody answers");
    assert!(matches!(error, Error::Timeout { .. }) && error.is_passing() && error.may_have_happened(), "{error}");
    assert!(error.to_string().contains("CONSUL_HTTP_ADDR"), "{error}");
    consul.resume();
    done(&client, &[set("k", "v")]).await;

    consul.kill();
    // The connection that is still there may be found dead by the first call only.
    let error = client.transact(&[set("k", "w")], DEADLINE).await.expect_err("nobody listens");
    assert!(error.is_passing(), "{error}");
    let error = client.transact(&[set("k", "w")], DEADLINE).await.expect_err("nobody listens");
    assert!(matches!(error, Error::Connect { .. }) && error.is_passing() && !error.may_have_happened(), "{error}");
    // Until a leader is elected, every call ends in words that say it will pass.
    consul.spawn_again();
    let passing = async {
        loop {
            match client.transact(&[set("k", "w")], DEADLINE).await {
                Ok(outcome) => return outcome,
                Err(error) => assert!(error.is_passing(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let outcome = tokio::time::timeout(common::PATIENCE, passing).await.expect("it comes back");
    assert!(matches!(outcome, Transaction::Done(_)));
    consul.until_ready().await;
    // The data and the session were kept.
    assert!(client.renew_session(&id, DEADLINE).await.expect("an answer"));
    assert_eq!(consul.request(Method::GET, "kv/k?raw", "").await, (200, "w".to_owned()));
}
