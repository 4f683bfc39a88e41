//! Who a token is, and whether a namespace exists: this tells a refused client the reason.

use serde_json::json;

use super::list::namespace_object;
use super::request::Request;
use super::response::Response;
use super::{Context, lock, policy};

/// `GET /v1/acl/token/self`.
pub(super) fn token(context: &Context, request: &Request) -> Response {
    let acl = lock(&context.cluster.acl);
    if !acl.is_enabled() {
        return Response::text(400, "ACL support disabled");
    }
    if acl.is_expired(&request.token) {
        // Nomad 2.0.5 has no other status for it here; everything else is denied.
        return Response::text(500, "ACL token expired");
    }
    let Some(policy) = acl.resolve(&request.token) else { return Response::text(403, "ACL token not found") };
    let (accessor, name, policies) = match (request.token.is_empty(), policy.management) {
        (true, _) => ("anonymous", "Anonymous Token", json!(["anonymous"])),
        (false, true) => ("accessor", "Bootstrap Token", json!(null)),
        (false, false) => ("accessor", "sim", json!(["sim"])),
    };
    let kind = if policy.management { "management" } else { "client" };
    Response::json(
        json!({"AccessorID": accessor, "Name": name, "Type": kind, "Policies": policies, "Roles": null, "ExpirationTime": null})
            .to_string(),
    )
}

/// `GET /v1/namespace/NAME`.
pub(super) fn namespace(context: &Context, request: &Request, name: &str) -> Response {
    if context.cluster.is_old() {
        return Response::text(501, "Nomad Enterprise only endpoint");
    }
    let policy = match policy(context, request) {
        Ok(policy) => policy,
        Err(denied) => return denied,
    };
    if !policy.reads_jobs(name) {
        return Response::denied();
    }
    let created = context.cluster.servers[0].read(|state| state.namespaces.created.get(name).copied());
    match created {
        Some(index) => Response::json(namespace_object(name, index).to_string()),
        None => Response::text(404, "Namespace not found"),
    }
}
