//! Answers that distinguish clusters: the regions that a server knows, the leader of each, and the keyring's public
//! keys. None of them needs a token.

use serde_json::json;

use super::request::Request;
use super::response::Response;
use super::{Context, lock};
use crate::cluster::Evidence;

/// `None` where the path is another one. A server that hangs never answers.
pub(super) async fn answer(context: &Context, path: &str) -> Option<Response> {
    let is_keys = path == "/.well-known/jwks.json";
    if !is_keys && !matches!(path, "/v1/regions" | "/v1/status/leader") {
        return None;
    }
    let state = *lock(&context.cluster.evidence);
    match state {
        Evidence::Readable => {}
        Evidence::Refused(status) => return Some(Response::text(status, "by order of the test")),
        Evidence::Hanging => std::future::pending().await,
    }
    Some(match path {
        "/v1/regions" => Response::json(json!(regions(context)).to_string()),
        "/v1/status/leader" => {
            let addr = context.cluster.servers[0].addr();
            // The port of its HTTP API distinguishes it from another cluster on this machine.
            Response::json(json!(format!("{}:{}", addr.ip(), addr.port())).to_string())
        }
        _ if context.cluster.is_old() => Response::text(404, "404 page not found"),
        _ => keys(context),
    })
}

/// The regions it knows, itself included, in their order.
fn regions(context: &Context) -> Vec<String> {
    let peers = lock(&context.cluster.peers);
    let others = peers.iter().filter_map(|peer| Some(peer.upgrade()?.region.clone()));
    let mut regions: Vec<_> = others.chain([context.cluster.region.clone()]).collect();
    regions.sort();
    regions
}

fn keys(context: &Context) -> Response {
    let (keys, max_age) = lock(&context.cluster.keys).clone();
    let keys: Vec<_> = keys
        .iter()
        .map(|id| json!({"use": "sig", "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": id, "x": "AA"}))
        .collect();
    let mut response = Response::json(json!({ "keys": keys }).to_string());
    if let Some(max_age) = max_age {
        response.headers.push(("Cache-Control", format!("max-age={}", max_age.as_secs())));
    }
    response
}

/// The cluster of the requested region, as federated servers forward a request.
///
/// # Errors
/// There is none.
pub(super) fn forward(context: &Context, request: &Request) -> Result<Context, Response> {
    let Some(region) = request.get("region").filter(|region| *region != context.cluster.region) else {
        return Ok(context.clone());
    };
    let peers = lock(&context.cluster.peers);
    let peer = peers.iter().filter_map(std::sync::Weak::upgrade).find(|peer| peer.region == region);
    match peer {
        Some(cluster) => Ok(Context { cluster, number: 0, ..context.clone() }),
        None => Err(Response::text(500, "No path to region")),
    }
}
