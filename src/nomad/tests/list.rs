//! Tests lists and their refusals.

use axum::response::IntoResponse;

use super::*;
use crate::position::RaftIndex;

async fn elements(page: &mut Page) -> Result<Vec<Bytes>, Error> {
    let mut read = Vec::new();
    while let Some(element) = page.next().await? {
        read.push(element);
    }
    Ok(read)
}

#[tokio::test]
async fn pages_follow_each_other() {
    let server = serve(|path| async move {
        let headers = [("X-Nomad-Index", "12"), ("X-Nomad-KnownLeader", "true"), ("X-Nomad-LastContact", "15")];
        if path.contains("next_token") {
            (headers, "[{\"ID\":3}]").into_response()
        } else {
            (headers, [("X-Nomad-NextToken", "3.x")], "[{\"ID\":1},\n{\"ID\":2}]\n").into_response()
        }
    })
    .await;
    let client = client(&server.address);
    let query = ListQuery { per_page: 2, ..ListQuery::new(Table::Allocations, "*") };
    let mut page = client.list(&query).await.expect("a page");
    assert_eq!((page.index, page.known_leader, page.last_contact), (RaftIndex(12), true, Duration::from_millis(15)));
    assert_eq!(elements(&mut page).await.expect("whole"), ["{\"ID\":1}", "{\"ID\":2}"]);
    let token = page.next_token.expect("one more page");
    let query = ListQuery { next_token: Some(&token), stale: true, min_index: Some(RaftIndex(8)), ..query };
    let mut page = client.list(&query).await.expect("a page");
    assert_eq!(elements(&mut page).await.expect("whole"), ["{\"ID\":3}"]);
    assert_eq!((page.next_token.as_deref(), page.server()), (None, server.address.as_str()));
    assert_eq!(
        server.asked.paths(),
        [
            "/v1/allocations?namespace=*&per_page=2",
            "/v1/allocations?namespace=*&per_page=2&next_token=3.x&index=7&wait=30000ms&stale=true",
        ]
    );
}

#[tokio::test]
async fn the_index_of_a_table_takes_one_small_page_from_the_leader() {
    let server = serve(|_| async { indexed(77, "[{}]") }).await;
    let client = client(&server.address);
    assert_eq!(client.table_index(Table::Nodes, "*").await.expect("an index"), RaftIndex(77));
    assert_eq!(server.asked.paths(), ["/v1/nodes?per_page=1"]);
}

#[tokio::test]
async fn elements_come_before_the_page_is_whole() {
    let (sender, receiver) = mpsc::channel(1);
    let server = serve(move |_| {
        let (pieces, mut response) = pieces();
        response.headers_mut().insert("X-Nomad-Index", "1".parse().expect("a header"));
        sender.try_send(pieces).expect("one request");
        async { response }
    })
    .await;
    let mut receiver = receiver;
    let mut page = client(&server.address).list(&ListQuery::new(Table::Jobs, "*")).await.expect("a page");
    let pieces = receiver.recv().await.expect("asked");
    send(&pieces, "[{\"a\":1},{\"b\"").await;
    assert_eq!(page.next().await.expect("arrived"), Some(Bytes::from_static(b"{\"a\":1}")));
    send(&pieces, ":2}").await;
    assert_eq!(page.next().await.expect("arrived"), Some(Bytes::from_static(b"{\"b\":2}")));
    drop(pieces);
    let error = page.next().await.expect_err("the array has no end");
    assert!(matches!(&error, Error::Garbage { text, .. } if text.contains("middle")), "{error}");
    assert_eq!(page.next().await.expect("nothing more"), None);
}

#[tokio::test]
async fn a_page_that_stops_coming_is_an_error() {
    for breaks in [true, false] {
        let (sender, mut receiver) = mpsc::channel(1);
        let server = serve(move |_| {
            let (pieces, mut response) = pieces();
            response.headers_mut().insert("X-Nomad-Index", "1".parse().expect("a header"));
            sender.try_send(pieces).expect("one request");
            async { response }
        })
        .await;
        let mut page = client(&server.address).list(&ListQuery::new(Table::Jobs, "*")).await.expect("a page");
        let pieces = receiver.recv().await.expect("asked");
        send(&pieces, "[1,").await;
        assert_eq!(page.next().await.expect("arrived"), Some(Bytes::from_static(b"1")));
        if breaks {
            pieces.send(Err(std::io::Error::other("cut"))).await.expect("the client still reads");
        } else {
            // Nothing more comes, so the clock runs to the deadline.
            tokio::time::pause();
        }
        let error = page.next().await.expect_err("no more comes");
        assert_eq!(matches!(error, Error::Broken { .. }), breaks, "{error}");
        assert_eq!(matches!(error, Error::Timeout { .. }), !breaks, "{error}");
    }
}

#[tokio::test]
async fn a_refused_list_names_the_missing_permission() {
    let server = serve(|path| async move {
        if path.starts_with("/v1/acl") { say(200, r#"{"Type":"client"}"#) } else { say(403, "Permission denied") }
    })
    .await;
    let with_token = Config { token: TokenSource::Fixed(Secret::new("t0ken")), ..config(&[&server.address]) };
    let error = Client::new(with_token).expect("plain").table_index(Table::Jobs, "team-a").await.expect_err("denied");
    assert!(matches!(error, Error::Denied { token: true, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(r#"namespace "team-a" { capabilities = ["list-jobs", "read-job"] }"#), "{text}");
    assert!(!text.contains("t0ken"), "{text}");

    let error = client(&server.address).node("n").await.expect_err("denied").to_string();
    assert!(error.contains("node { policy = \"read\" }") && error.contains("NOMAD_TOKEN"), "{error}");
}

#[tokio::test]
async fn an_unknown_token_is_told_from_a_missing_permission() {
    // Older servers say so at once. Newer ones deny the list, and only the request about the token itself shows why.
    for (list, own) in [("ACL token not found", ""), ("Permission denied", "Permission denied")] {
        let server =
            serve(move |path| async move { say(403, if path.starts_with("/v1/acl") { own } else { list }) }).await;
        let config = Config { token: TokenSource::Fixed(Secret::new("t0ken")), ..config(&[&server.address]) };
        let error = Client::new(config).expect("plain").table_index(Table::Jobs, "*").await.expect_err("denied");
        assert!(matches!(error, Error::BadToken { .. }), "{error}");
        assert!(!error.to_string().contains("t0ken"), "{error}");
    }
}

/// Answers of Nomad 2.0.5 about expired tokens and invalid identities.
#[tokio::test]
async fn an_expired_token_and_identity_are_told_from_a_missing_permission() {
    for (own, is_token) in [
        ("ACL token expired", true),
        ("rpc error: ACL token expired", true),
        ("failed to parse signed token: illegal base64 data at input byte 0", true),
        ("operation cancelled: no such key \"k\" in keyring", true),
        ("invalid claims: go-jose/go-jose/jwt: validation failed, token is expired (exp)", true),
        ("allocation is terminal", true),
        ("No cluster leader", false),
    ] {
        let answer = move |path: String| async move {
            if path.starts_with("/v1/acl") { say(500, own) } else { say(403, "Permission denied") }
        };
        let server = serve(answer).await;
        let config = Config { token: TokenSource::Fixed(Secret::new("t0ken")), ..config(&[&server.address]) };
        let error = Client::new(config).expect("plain").table_index(Table::Jobs, "*").await.expect_err("denied");
        assert_eq!(matches!(error, Error::BadToken { .. }), is_token, "{own}: {error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_nomads_is_told() {
    let server = serve(|_| async { say(200, "<html>") }).await;
    let error = client(&server.address).table_index(Table::Jobs, "*").await.expect_err("no list");
    assert!(matches!(&error, Error::Garbage { text, .. } if text.contains("X-Nomad-Index")), "{error}");
    let server = serve(|_| async { say(500, "No cluster leader") }).await;
    let error = client(&server.address).table_index(Table::Jobs, "*").await.expect_err("no list");
    assert!(error.is_retryable() && error.to_string().contains("No cluster leader"), "{error}");
}
