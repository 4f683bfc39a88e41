//! `/v1/vars`: the metadata of variables.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::list::meta;
use super::request::Request;
use super::response::Response;
use super::variable::{before, parameters, reader, shown};
use super::{Context, policy};
use crate::state::State;
use crate::variables::{Capability, Variable};

pub(super) async fn answer(context: &Context, request: &Request) -> Response {
    if context.cluster.is_old() {
        return Response::text(404, "404 page not found");
    }
    if let Some(refused) = before(context.server()).await {
        return refused;
    }
    let (wait, (server, known, contact), policy) =
        match (parameters(request), reader(context, request), policy(context, request)) {
            (Ok(wait), Ok(reader), Ok(policy)) => (wait, reader, policy),
            (Err(refused), _, _) | (_, Err(refused), _) | (_, _, Err(refused)) => return refused,
        };
    let per_page = match request.get("per_page").filter(|text| !text.is_empty()).map(str::parse::<usize>).transpose() {
        Ok(per_page) => per_page.unwrap_or(0),
        Err(_) => {
            let text = "Expect a number for `per_page` query string parameterfailed to parse parameters";
            return Response::text(400, text);
        }
    };
    let namespace = Some(request.namespace()).filter(|namespace| *namespace != "*");
    let prefix = request.get("prefix").unwrap_or_default();
    // Of other prefixes' writes a blocking query hears nothing, though the index that it waits on is the table's.
    let select = |state: &State| {
        (state.variables.index.max(1), state.variables.list(namespace, prefix).cloned().collect::<Vec<_>>())
    };
    let mut applied = server.applied.subscribe();
    applied.borrow_and_update();
    let (mut index, mut found) = server.read(select);
    let deadline = wait.deadline(Instant::now());
    while index <= wait.index() && wait.index() > 0 {
        if !matches!(timeout_at(deadline, applied.changed()).await, Ok(Ok(()))) {
            break;
        }
        applied.borrow_and_update();
        let (now, changed) = server.read(select);
        if !same(&found, &changed) {
            (index, found) = (now, changed);
        }
    }
    let seen = found.iter().filter(|v| policy.sees_variable(&v.namespace, &v.path, Capability::List));
    let from = request.get("next_token").unwrap_or_default();
    let token = |variable: &Variable| format!("{}.{}", variable.namespace, variable.path);
    let mut page: Vec<_> = seen.skip_while(|variable| token(variable).as_str() < from).collect();
    let next = (per_page > 0 && page.len() > per_page).then(|| token(page[per_page]));
    if per_page > 0 {
        page.truncate(per_page);
    }
    let body: Vec<_> = page.into_iter().map(|variable| shown(variable, &policy).without_items().json()).collect();
    let mut response = Response::json(format!("[{}]", body.join(",")));
    let mut headers = meta(index);
    (headers[1].1, headers[2].1) = (known.to_string(), contact.to_string());
    response.headers.extend(headers);
    if let Some(next) = next {
        response.headers.push(("X-Nomad-NextToken", next));
    }
    response
}

fn same(one: &[Arc<Variable>], other: &[Arc<Variable>]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| Arc::ptr_eq(a, b))
}
